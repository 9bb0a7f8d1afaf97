// The document as the page works with it: times relative to the run's begin, each span with its parent and task.

const FAILED = new Set(["failed", "interrupted", "lost"]);
const STRUCTURE = new Set(["run", "task", "item", "undo", "visit"]);

/** `whole`: the document. Spans keep the document's order: parents before their children. */
function modelOf(whole) {
  const origin = whole.run.begun_us;
  const now = whole.run.ended_us ?? whole.run.now_us;
  const critical = new Set(whole.critical);
  const byId = new Map();
  const spans = whole.spans.map((raw, index) => spanOf(raw, index, { origin, now, critical, byId }));
  const total = spans.reduce((most, span) => Math.max(most, span.ended), Math.max(now - origin, 1));
  const path = (whole.path ?? []).map((part) => ({
    span: byId.get(part.span) ?? null,
    time: part.kind,
    begun: part.begun_us - origin,
    ended: part.ended_us - origin,
  }));
  return { whole, spans, byId, origin, total, path, live: whole.run.ended_us === null };
}

function spanOf(raw, index, { origin, now, critical, byId }) {
  const parent = raw.parent === null ? null : byId.get(raw.parent) ?? null;
  const begun = raw.begun_us - origin;
  const open = raw.ended_us === null;
  const span = {
    id: raw.id,
    index,
    parent,
    children: [],
    name: raw.name,
    kind: raw.kind,
    state: raw.state ?? null,
    time: raw.time ?? raw.kind,
    facts: raw.facts ?? {},
    links: raw.links ?? [],
    begun,
    open,
    ended: Math.max(begun, (raw.ended_us ?? now) - origin),
    failed: FAILED.has(raw.state),
    critical: critical.has(raw.id),
    task: raw.kind === "task" ? raw.name : parent?.task ?? "",
    text: null, // for searches, see textOf
    parts: null, // see partsOf
    colours: null, // of its bar, see keptColours
  };
  parent?.children.push(span);
  byId.set(span.id, span);
  return span;
}

function took(span) {
  return span.ended - span.begun;
}

/** The parts of the span that no child of it covers: {begun, ended, time}. What it was at itself. */
function gapsOf(span) {
  const gaps = [];
  let until = span.begun;
  const gap = (ended) => ended > until && gaps.push({ begun: until, ended, time: span.time });
  // Children are in the order of their begin.
  for (const child of span.children) {
    gap(child.begun);
    until = Math.max(until, child.ended);
  }
  gap(span.ended);
  return gaps;
}

function ownTime(span) {
  return gapsOf(span).reduce((sum, gap) => sum + took(gap), 0);
}

function ancestorsOf(span) {
  const found = [];
  for (let above = span.parent; above; above = above.parent) found.unshift(above);
  return found;
}

/** Did it fail, and does nothing in it that could fail for itself explain it? Attempts are part of their task. */
function isCause(span) {
  const counts = ({ kind, failed }) => failed && STRUCTURE.has(kind);
  return counts(span) && span.parent !== null && !span.children.some(counts);
}

/** The one thing to know of a span beside its name: what went wrong, else what held it, else whose it is. */
function remark(span) {
  const { facts } = span;
  if (span.kind === "refused" && facts.by) return String(facts.by);
  const error = facts.error_type ?? facts.error;
  if (error) return facts.error_message ? `${error}: ${facts.error_message}` : String(error);
  for (const name of ["question", "by", "quota", "to", "of", "worker", "place", "after", "for", "choice"]) {
    const fact = facts[name];
    if (fact !== undefined && !STRUCTURE.has(span.kind)) return FACTS_TOLD[`${name}=${fact}`] ?? shortened(fact);
  }
  if (facts.failed_items) return `${facts.failed_items} of ${facts.items ?? "its"} items failed`;
  if (facts.attempt > 1) return `attempt ${facts.attempt}`;
  if (facts.attempts > 1) return `${facts.attempts} attempts`;
  return "";
}
