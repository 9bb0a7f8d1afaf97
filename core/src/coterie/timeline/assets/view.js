// The window of time that is shown, and the ruler above it.

const LABEL = 110; // pixels that a tick and its text need
const LEAST_WINDOW = 20; // microseconds
const STEPS = [
  ...[1, 2, 5, 10, 20, 50, 100, 200, 500].map((us) => us),
  ...[1, 2, 5, 10, 20, 50, 100, 200, 500].map((ms) => ms * 1000),
  ...[1, 2, 5, 10, 15, 30].map((s) => s * SECOND),
  ...[1, 2, 5, 10, 15, 30].map((min) => min * MINUTE),
  ...[1, 2, 3, 6, 12].map((h) => h * HOUR),
  ...[1, 2, 5, 10, 20, 50, 100, 200, 500].map((d) => d * DAY),
];

/** `changed()` is called after each move of the window. */
function createView(total, changed) {
  const view = { from: 0, to: total, total };

  view.show = (from, to) => {
    const width = Math.min(total, Math.max(LEAST_WINDOW, to - from));
    const middle = (from + to) / 2;
    view.from = Math.min(total - width, Math.max(0, middle - width / 2));
    view.to = view.from + width;
    changed();
  };
  view.whole = () => view.show(0, total);
  /** `factor` < 1 goes nearer; what is at `anchor` (0 to 1 of the window) stays where it is. */
  view.zoom = (factor, anchor = 0.5) => {
    const width = view.to - view.from;
    const next = Math.min(total, Math.max(LEAST_WINDOW, width * factor));
    const fixed = view.from + anchor * width;
    view.show(fixed - anchor * next, fixed + (1 - anchor) * next);
  };
  view.pan = (part) => {
    const width = view.to - view.from;
    const from = Math.min(total - width, Math.max(0, view.from + part * width));
    view.show(from, from + width);
  };
  /** A little room on both sides, so that the ends are seen. */
  view.around = (begun, ended) => {
    const room = Math.max((ended - begun) * 0.06, LEAST_WINDOW);
    view.show(begun - room, ended + room);
  };
  /** Move the window, as wide as it is, if nothing of the span is in it. */
  view.follow = ({ begun, ended }) => {
    if (ended >= view.from && begun <= view.to) return;
    const from = begun - 0.2 * (view.to - view.from);
    view.show(from, from + view.to - view.from);
  };
  view.place = (at) => ((at - view.from) / (view.to - view.from)) * 100;
  return view;
}

/** Places of round times in the window, at least `apart` (0 to 1) of its width from each other. */
function ticksOf({ from, to }, apart) {
  const least = (to - from) * apart;
  const step = STEPS.find((each) => each >= least) ?? STEPS.at(-1);
  const ticks = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) ticks.push({ at, text: tickText(at, step) });
  return ticks;
}

/** Only as exact as the step needs: "2 min 30 s", "1.25 s". */
function tickText(at, step) {
  if (at === 0) return "0";
  if (step < 1000) return `${(at / 1000).toFixed(step < 10 ? 3 : step < 100 ? 2 : 1)}${THIN}ms`;
  if (step < SECOND) {
    const digits = step < 10_000 ? 3 : step < 100_000 ? 2 : 1;
    const head = at >= MINUTE ? `${Math.floor(at / MINUTE)}${THIN}min ` : "";
    return `${head}${((at % MINUTE) / SECOND).toFixed(digits)}${THIN}s`;
  }
  return lasting(at);
}

function drawAxis(axis, view) {
  const width = Math.max(axis.clientWidth, 300);
  const marks = ticksOf(view, LABEL / width).map(({ at, text }) => {
    // At the edge there is no room for the text.
    const fits = view.place(at) / 100 < 1 - (LABEL * 0.75) / width;
    const mark = element("span", "tick", fits ? text : "");
    mark.style.left = `${view.place(at)}%`;
    return mark;
  });
  axis.replaceChildren(...marks);
  return marks.map((mark) => mark.style.left);
}
