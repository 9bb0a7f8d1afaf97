// The rows of the timeline. Only those near the window exist as elements; they are filled anew as one scrolls.

const ROW = 26; // pixels, as --row in the style sheet
const SPARE = 10; // rows beyond each edge
const STRIPES = 300; // at most so many places in a bar where its colour can change
const PRINTED = 400;

/** `asked`: {select(place), open(place), fold(place), zoom(place)}: what a person wants with a row. */
function createRows(host, { model, view, asked }) {
  const grid = element("div", "grid");
  grid.setAttribute("aria-hidden", "true");
  let rows = [];
  let slots = [];
  let selected = null;
  let dim = false;
  // What a slot shows is still right if neither its row nor the version changed.
  let version = 0;
  // On paper all rows are there, and resizing to its width must not bring back the few of the screen.
  let onPaper = false;

  const resize = () => {
    const needed = Math.ceil(innerHeight / ROW) + 2 * SPARE;
    if (slots.length === needed) return;
    slots = Array.from({ length: needed }, (_, number) => emptyRow(number));
    host.replaceChildren(grid, ...slots.map((slot) => slot.row));
  };

  const draw = () => {
    const above = Math.floor(-host.getBoundingClientRect().top / ROW) - SPARE;
    const first = Math.max(0, Math.min(above, rows.length - slots.length));
    let active = null;
    for (let place = first; place < first + slots.length; place += 1) {
      const slot = slots[place % slots.length];
      const row = rows[place];
      if (slot.place !== place || slot.version !== version) fill(slot, row, place);
      if (row && row.node.span.id === selected) active = slot.row.id;
    }
    if (active) host.setAttribute("aria-activedescendant", active);
    else host.removeAttribute("aria-activedescendant");
  };

  const fill = (slot, row, place) => {
    slot.place = place;
    slot.version = version;
    slot.row.hidden = !row;
    if (!row) return;
    slot.row.style.top = `${place * ROW}px`;
    fillRow(slot, row, place, { model, view, selected, dim: dim && !row.matched });
  };

  const placeOf = (event) => {
    const row = event.target.closest?.(".row");
    return row ? Number(row.dataset.place) : null;
  };
  host.addEventListener("click", (event) => {
    const place = placeOf(event);
    if (place === null) return;
    if (event.target.closest(".fold")) asked.fold(place);
    else asked.open(place);
  });
  host.addEventListener("dblclick", (event) => {
    const place = placeOf(event);
    if (place !== null && event.target.closest(".track")) asked.zoom(place);
  });

  return {
    get rows() {
      return rows;
    },
    /** `filtered`: rows that are there only for what is in them are told apart. */
    show(next, filtered) {
      rows = next;
      dim = filtered;
      host.style.height = `${rows.length * ROW}px`;
      host.setAttribute("aria-rowcount", String(rows.length));
      this.redraw();
    },
    select(id) {
      selected = id;
      this.redraw();
    },
    redraw() {
      if (onPaper) return;
      version += 1;
      resize();
      draw();
    },
    scrolled() {
      if (!onPaper) draw();
    },
    gridAt(lefts) {
      grid.replaceChildren(...lefts.map((left) => withLeft(element("i"), left)));
    },
    /** The spans of the rows between `top` and the window's end. */
    seen(top) {
      const edge = host.getBoundingClientRect().top;
      const first = Math.max(0, Math.floor((top - edge) / ROW));
      return rows.slice(first, Math.max(first, Math.ceil((innerHeight - edge) / ROW))).map((row) => row.node.span);
    },
    /** Scroll no further than needed for the row to be seen between `top` and `bottom` of the window. */
    reach(place, top, bottom) {
      const begin = host.getBoundingClientRect().top + place * ROW;
      if (begin < top) scrollBy(0, begin - top - ROW);
      else if (begin + 2 * ROW > bottom) scrollBy(0, begin + 3 * ROW - bottom);
      draw();
    },
    /** All rows one below the other, for paper. Gives back how many there are. */
    printed() {
      onPaper = true;
      const paper = rows.slice(0, PRINTED).map((row, place) => {
        const slot = emptyRow(`paper-${place}`);
        fillRow(slot, row, place, { model, view, selected: null, dim: dim && !row.matched });
        return slot.row;
      });
      host.style.height = "auto";
      host.replaceChildren(grid, ...paper);
      return paper.length;
    },
    backFromPaper() {
      onPaper = false;
      slots = [];
      this.show(rows, dim);
    },
  };
}

function withLeft(made, left) {
  made.style.left = left;
  return made;
}

function emptyRow(number) {
  const fold = element("span", "fold");
  const sign = element("span", "sign");
  const label = element("span", "label");
  const kind = element("span", "kind");
  const name = element("div", "name", fold, sign, label, kind);
  const time = element("span");
  const mark = element("i", "diamond");
  const length = element("div", "took", mark, time);
  const bar = element("div", "bar");
  const note = element("div", "note");
  const track = element("div", "track", bar, note);
  const row = element("div", "row", name, length, track);
  sign.setAttribute("role", "img");
  // The row itself says whether it is folded, and the cell of the bar what is on the critical path.
  for (const each of [fold, mark]) each.setAttribute("aria-hidden", "true");
  row.id = `row-${number}`;
  row.setAttribute("role", "row");
  for (const cell of [name, length, track]) cell.setAttribute("role", "gridcell");
  return { row, name, fold, sign, label, kind, mark, time, track, bar, note, place: -1, version: -1 };
}

function fillRow(slot, { node, depth, leaf, folded }, place, { model, view, selected, dim }) {
  const { span } = node;
  const { row } = slot;
  row.dataset.place = String(place);
  row.setAttribute("aria-rowindex", String(place + 1));
  row.setAttribute("aria-level", String(depth + 1));
  row.setAttribute("aria-selected", String(span.id === selected));
  if (leaf) row.removeAttribute("aria-expanded");
  else row.setAttribute("aria-expanded", String(!folded));
  const failure = span.failed && (isCause(span) ? "failed cause" : "failed");
  row.className = ["row", dim && "dim", failure, span.critical && "on-path", place % 2 && "odd"]
    .filter(Boolean)
    .join(" ");
  slot.name.style.paddingLeft = `${4 + Math.min(depth, 12) * 14}px`;
  slot.fold.textContent = leaf ? "" : folded ? "▸" : "▾";
  slot.sign.textContent = stateSign(span.state);
  slot.sign.className = `sign ${stateTone(span.state)}`;
  slot.sign.setAttribute("aria-label", visible(span.state ?? ""));
  slot.sign.setAttribute("aria-hidden", String(!span.state));
  slot.label.textContent = visible(span.name);
  slot.kind.textContent = visible(kindTold(node));
  slot.name.title = visible([span.name, span.kind, span.state].filter(Boolean).join(" · "));
  slot.mark.hidden = !span.critical;
  slot.time.textContent = node.group ? `Σ ${lasting(span.sum)}` : lasting(took(span));
  const told = `begins at ${lasting(span.begun)}${span.open ? ", still going on" : ""}`;
  slot.track.setAttribute("aria-label", [told, span.critical && "on the critical path"].filter(Boolean).join(", "));
  drawBar(slot, span, { model, view });
}

function kindTold({ span, group, apart }) {
  if (group) return plural(span.children.length, "span");
  if (apart) return ancestorsOf(span).slice(1).map((above) => above.name).join(" / ");
  return span.kind === span.name ? "" : span.kind;
}

function drawBar({ bar, note, track }, span, { model, view }) {
  const begun = Math.max(span.begun, view.from);
  const ended = Math.min(span.ended, view.to);
  const outside = span.begun > view.to ? "after" : span.ended < view.from ? "before" : "";
  track.dataset.outside = outside;
  bar.hidden = Boolean(outside);
  note.hidden = Boolean(outside);
  if (outside) return;
  const [left, right] = [view.place(begun), view.place(ended)];
  bar.className = ["bar", span.open && "open", took(span) === 0 && "instant"].filter(Boolean).join(" ");
  bar.style.left = `${left}%`;
  bar.style.width = `${right - left}%`;
  bar.style.background = keptColours(span, begun, ended, model);
  drawNote(note, remark(span), left, right);
}

/** Beside the bar, where there is room: after it, else before it, else nowhere (the panel has it). */
function drawNote(note, text, left, right) {
  const after = right < 78;
  note.hidden = !text || (!after && left < 22);
  if (note.hidden) return;
  note.textContent = visible(text);
  note.style.left = after ? `${right}%` : "0";
  note.style.right = after ? "0" : `${100 - left}%`;
  note.style.textAlign = after ? "left" : "right";
}

/** Whatever else of a row changes, its colours are the same as long as the same part of it is seen. */
function keptColours(span, begun, ended, model) {
  const kept = span.colours;
  if (kept?.begun === begun && kept.ended === ended) return kept.told;
  const told = coloursOf(span, begun, ended, model);
  span.colours = { begun, ended, told };
  return told;
}

/** A bar has the colours of what was in it; the run's those of what its end waited for. */
function coloursOf(span, begun, ended, model) {
  if (ended <= begun || (!span.children.length)) return colour(span.time);
  const parts = span === model.spans[0] && model.path.length ? model.path : (span.parts ??= partsOf(span));
  const stops = stripesOf(parts, begun, ended, STRIPES).map(
    ({ time, from, to }) => `${shadeOf(time)} ${(from * 100).toFixed(2)}% ${(to * 100).toFixed(2)}%`,
  );
  return `linear-gradient(90deg, ${stops.join(", ")})`;
}

function shadeOf(time) {
  return time === null ? "transparent" : colour(time);
}

/** What the span and those in it were at themselves, each instant of each of them once. */
function partsOf(span) {
  const parts = [];
  const left = [span];
  while (left.length) {
    const each = left.pop();
    // A group is no span: its time is that of its spans.
    if (each.sum === undefined) parts.push(...gapsOf(each));
    for (const child of each.children) left.push(child);
  }
  return parts;
}

/**
 * Runs of places of one colour, {time, from, to} in parts of the whole: in each of `count` places that kind of
 * time which there was most of, null where there was none.
 */
function stripesOf(parts, begun, ended, count) {
  const sums = sumsOf(parts, begun, ended, count);
  const stripes = [];
  for (let place = 0; place < count; place += 1) {
    let time = null;
    let most = 0;
    for (const [each, sum] of sums) {
      if (sum[place] > most) [time, most] = [each, sum[place]];
    }
    const last = stripes.at(-1);
    if (last && last.time === time) last.to = (place + 1) / count;
    else stripes.push({ time, from: place / count, to: (place + 1) / count });
  }
  return stripes;
}

/** Kind of time -> how much of it in each of `count` equal places from `begun` to `ended`; 1: one span all through. */
function sumsOf(parts, begun, ended, count) {
  const sums = new Map();
  const scale = count / (ended - begun);
  for (const part of parts) {
    const from = Math.max(0, (part.begun - begun) * scale);
    const to = Math.min(count, (part.ended - begun) * scale);
    if (to <= from) continue;
    let sum = sums.get(part.time);
    if (!sum) sums.set(part.time, (sum = new Float64Array(count)));
    for (let place = Math.floor(from); place < to; place += 1) {
      sum[place] += Math.min(to, place + 1) - Math.max(from, place);
    }
  }
  return sums;
}
