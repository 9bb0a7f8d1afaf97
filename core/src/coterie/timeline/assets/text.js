// How quantities and times are told, and how elements are made: from text alone, never from markup.

const THIN = "\u202f";
const SECOND = 1e6;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** Three significant digits, without a tail of zeros. */
function three(value) {
  return String(Number(value.toPrecision(3)));
}

/** 1234567 -> "1 234 567". */
function counted(number) {
  return String(number).replace(/\B(?=(\d{3})+(?!\d))/g, THIN);
}

function plural(number, one, many = `${one}s`) {
  return `${counted(number)} ${number === 1 ? one : many}`;
}

/** Microseconds for people: "850 µs", "1.25 s", "2 min 05 s", "1 h 04 min", "3 d 02 h". */
function lasting(us) {
  if (us === 0) return `0${THIN}s`;
  const rounded = us < MINUTE ? us : Math.round(us / SECOND) * SECOND;
  if (us < 1000) return `${Math.round(us)}${THIN}µs`;
  if (us < SECOND) return `${three(us / 1000)}${THIN}ms`;
  if (rounded < MINUTE) return `${three(us / SECOND)}${THIN}s`;
  if (rounded < HOUR) return pair(rounded, MINUTE, "min", SECOND, "s");
  if (rounded < DAY) return pair(rounded, HOUR, "h", MINUTE, "min");
  return pair(rounded, DAY, "d", HOUR, "h");
}

function pair(us, large, largeName, small, smallName) {
  const rest = Math.floor((us % large) / small);
  const head = `${Math.floor(us / large)}${THIN}${largeName}`;
  return rest ? `${head} ${String(rest).padStart(2, "0")}${THIN}${smallName}` : head;
}

function share(part, whole) {
  if (!(whole > 0) || part <= 0) return `0${THIN}%`;
  const percent = (100 * part) / whole;
  return percent < 1 ? `<1${THIN}%` : `${Math.round(percent)}${THIN}%`;
}

/** Millionths of the team's currency as the currency, with two digits that say something. */
function money(micros) {
  const whole = micros / 1e6;
  const digits = Math.abs(whole) >= 1 || whole === 0 ? 2 : Math.min(6, 1 - Math.floor(Math.log10(Math.abs(whole))));
  const [head, tail] = whole.toFixed(digits).split(".");
  return `${counted(head)}.${tail}`;
}

function bytesTold(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const step = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(bytes, 1)) / 3)));
  return `${three(bytes / 1000 ** step)}${THIN}${units[step]}`;
}

/** An instant as the store's clock had it, in UTC. */
function instant(us) {
  const date = new Date(us / 1000);
  if (Number.isNaN(date.getTime())) return String(us);
  return `${date.toISOString().slice(0, 23).replace("T", " ")} UTC`;
}

// Elements.

// What would turn or hide the text around it: control signs, and those that set the direction of writing.
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g;

function visible(text) {
  return String(text).replace(UNSEEN, (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** `content`: elements, or texts, which are shown as they are. */
function element(tag, className = "", ...content) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  for (const part of content) {
    if (part instanceof Node) made.append(part);
    else if (part !== null && part !== undefined) made.append(visible(part));
  }
  return made;
}

function button(text, action, className = "") {
  const made = element("button", className, text);
  made.type = "button";
  made.addEventListener("click", action);
  return made;
}

function closeButton(close) {
  const made = button("✕", close, "close");
  made.setAttribute("aria-label", "Close (Escape)");
  return made;
}

/** Names come from the run: what is not a plain word becomes no class and no variable of the style sheet. */
const KNOWN_TIMES = new Set([
  ...["agent", "open", "queue", "limit", "backoff", "wait", "store", "lost", "artifact", "claim"],
  ...["person", "undo", "ready", "event", "closing", "coterie", "nobody"],
]);

function colour(time) {
  return `var(--t-${KNOWN_TIMES.has(time) ? time : "other"})`;
}

function swatch(time) {
  const made = element("i", "swatch");
  made.style.background = colour(time);
  return made;
}

// Tables are asked with names from the run: they know nothing that is not written in them. What stands before a
// colon is the short form, and the words of the command line.
const TIME_TOLD = {
  __proto__: null,
  agent: "agents at work: calls, steps, fallbacks",
  open: "not ended, so waiting or at work: which, the journal does not know before the end",
  queue: "waiting for a slot: or for the lease of an agent",
  limit: "held back by rate limits",
  backoff: "back-off between attempts",
  wait: "waiting after refusals",
  store: "waiting for the store: it was away, so that nothing could be taken, recorded or heard of",
  lost: "lost with a worker: it was killed, cut off or stopped before the end",
  artifact: "reading and writing artifacts",
  claim: "waiting for another process: it had the claim",
  person: "waiting for a person",
  undo: "undoing: compensations of what was done",
  ready: "ready, and not begun: no slot, or the scheduler had not got to it",
  event: "waiting for events",
  closing: "closing the run: after the last task",
  nobody: "nobody at it",
  coterie: "coterie itself: coordination beside the calls",
};

/** What time went to, in the words that all cards, sentences and legends share. */
function shortly(time) {
  return (TIME_TOLD[time] ?? time).split(":")[0];
}

/** Of names that hold long hexadecimal numbers, which nobody reads, their beginning. */
function shortened(name) {
  return String(name).replace(/\b([0-9a-f]{8})[0-9a-f]{16,}/g, "$1…");
}

/** Facts of laps that are codes, for people; the command line says the same. */
const FACTS_TOLD = {
  __proto__: null,
  "for=refusal": "until it may be better",
  "for=store": "for the store",
  "place=local": "for a slot of its process",
  "place=pool": "for one of the pool",
  "place=worker": "for a worker",
  "why=unfinished": "begun before, and not finished",
  "why=lost": "not heard of any more",
  "why=drained": "stopped before it was done",
  "why=goes_on": "it went on elsewhere",
  "why=changed": "asked with something else than before",
  "why=cleared": "cleared",
  "why=forced": "to be done again",
  "why=forgotten": "forgotten",
  "why=output_gone": "its output was gone",
};

const STATE_SIGNS = {
  __proto__: null,
  succeeded: "✓",
  failed: "✕",
  upstream_failed: "⊘",
  skipped: "↷",
  cancelled: "⊘",
  partial: "◐",
  running: "▶",
  waiting: "…",
  asking: "?",
  open: "?",
  due: "…",
  interrupted: "⚡",
  refused: "↻",
  lost: "⚡",
  expired: "⌛",
};

function stateSign(state) {
  return STATE_SIGNS[state] ?? (state ? "•" : "");
}

/** One of four tones, for the colour of a state's sign. */
function stateTone(state) {
  if (["failed", "lost", "interrupted", "expired"].includes(state)) return "bad";
  if (["upstream_failed", "partial", "cancelled", "refused"].includes(state)) return "warn";
  if (["running", "due", "asking", "open", "waiting"].includes(state)) return "live";
  return "calm";
}
