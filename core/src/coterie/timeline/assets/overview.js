// The whole run at a glance: what went on at once, the critical path, and which part of it the rows show.

const SVG = "http://www.w3.org/2000/svg";
const COLUMNS = 400;
const HEIGHT = 40;
const LEAST_DRAG = 4; // pixels; less is a click

function drawn(tag, attributes, ...content) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.append(...content);
  return made;
}

/** `asked.range(from, to)` zooms, `asked.instant(at)` wants what the end waited for then. */
function createOverview(host, { model, view, asked }) {
  const working = model.spans.filter((span) => span.parent).flatMap(gapsOf);
  const areas = areasOf(sumsOf(working, 0, model.total, COLUMNS));
  const shades = [element("div", "shade"), element("div", "shade")];
  const frame = element("div", "frame");
  const box = { viewBox: `0 0 ${COLUMNS} ${HEIGHT}`, preserveAspectRatio: "none" };
  host.append(
    drawn("svg", { class: "areas", "aria-hidden": true, ...box }, ...areas.paths),
    element("div", "most", `at most ${counted(Math.round(areas.most))} at once`),
    stripOf(model),
    failuresOf(model),
    ...shades,
    frame,
  );
  onDrag(host, {
    at: (part) => part * model.total,
    range: asked.range,
    click: asked.instant,
  });
  return {
    redraw() {
      const [from, to] = [view.from / model.total, view.to / model.total].map((part) => part * 100);
      shades[0].style.width = `${from}%`;
      shades[1].style.left = `${to}%`;
      frame.style.left = `${from}%`;
      frame.style.width = `${to - from}%`;
      frame.hidden = to - from > 99.9;
    },
  };
}

/** One area for each kind of time, one on top of the other; the highest pile fills the height. */
function areasOf(sums) {
  const floor = new Float64Array(COLUMNS);
  for (const sum of sums.values()) sum.forEach((value, column) => (floor[column] += value));
  const most = Math.max(1, floor.reduce((one, other) => Math.max(one, other), 0));
  floor.fill(0);
  const paths = [...sums].map(([time, sum]) => {
    const path = drawn("path", { d: areaOf(sum, floor, HEIGHT / most) });
    path.style.fill = colour(time);
    return path;
  });
  return { paths, most };
}

/** `floor` rises by what was drawn. */
function areaOf(sum, floor, scale) {
  const there = [];
  const back = [];
  for (let column = 0; column < COLUMNS; column += 1) {
    const [low, high] = [floor[column], floor[column] + sum[column]];
    floor[column] = high;
    there.push(`V${(HEIGHT - high * scale).toFixed(2)}H${column + 1}`);
    back.push(`V${(HEIGHT - low * scale).toFixed(2)}H${column}`);
  }
  return `M0 ${HEIGHT}${there.join("")}${back.reverse().join("")}Z`;
}

function stripOf(model) {
  const strip = element("div", "strip");
  if (!model.path.length) return strip;
  const stops = stripesOf(model.path, 0, model.total, 2 * COLUMNS).map(
    ({ time, from, to }) =>
      `${shadeOf(time)} ${(from * 100).toFixed(3)}% ${(to * 100).toFixed(3)}%`,
  );
  strip.style.background = `linear-gradient(90deg, ${stops.join(", ")})`;
  return strip;
}

/** A mark where something failed; at most one in each column. */
function failuresOf(model) {
  const marks = element("div", "failures");
  const columns = new Set();
  for (const span of model.spans) {
    if (isCause(span)) columns.add(Math.min(COLUMNS - 1, Math.floor((span.ended / model.total) * COLUMNS)));
  }
  for (const column of columns) marks.append(withLeft(element("i"), `${(column / COLUMNS) * 100}%`));
  return marks;
}

/** `at(part)`: the instant at that part (0 to 1) of the element's width. */
function onDrag(host, { at, range, click }) {
  const brush = element("div", "brush");
  brush.hidden = true;
  host.append(brush);
  let begin = null;
  const partAt = (event) => {
    const box = host.getBoundingClientRect();
    return Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
  };
  const far = (event) => Math.abs(event.clientX - begin.x) >= LEAST_DRAG;
  host.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    begin = { x: event.clientX, part: partAt(event) };
    host.setPointerCapture(event.pointerId);
  });
  host.addEventListener("pointermove", (event) => {
    if (begin === null) return;
    const [from, to] = [begin.part, partAt(event)].sort((one, other) => one - other);
    brush.hidden = !far(event);
    brush.style.left = `${from * 100}%`;
    brush.style.width = `${(to - from) * 100}%`;
  });
  host.addEventListener("pointerup", (event) => {
    if (begin === null) return;
    const [from, to] = [begin.part, partAt(event)].sort((one, other) => one - other);
    const dragged = far(event);
    begin = null;
    brush.hidden = true;
    if (dragged) range(at(from), at(to));
    else click?.(at(from));
  });
  host.addEventListener("pointercancel", () => {
    begin = null;
    brush.hidden = true;
  });
}
