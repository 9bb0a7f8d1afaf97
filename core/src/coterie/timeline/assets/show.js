// What is shown at the moment, and all that can be done with it; keys, buttons and the wheel call these.

const MANY = 150; // more spans than this begin folded to tasks
const byName = (id) => document.getElementById(id);
const model = modelOf(JSON.parse(byName("document").textContent));
const forests = { task: byTask(model), kind: null };

const state = {
  grouping: "task",
  folds: new Set(),
  searchFolds: new Set(), // a search unfolds what it finds, and leaves the other folds as they are
  hidden: new Set(), // kinds
  matcher: null,
  criticalOnly: false,
  selected: null,
};

const view = createView(model.total, () => schedule("view"));
const list = createRows(byName("rows"), {
  model,
  view,
  asked: {
    open: (place) => select(list.rows[place].node.span, { open: true }),
    fold: (place) => toggle(list.rows[place].node.span.id),
    zoom: (place) => view.around(list.rows[place].node.span.begun, list.rows[place].node.span.ended),
  },
});
const overview = createOverview(byName("overview"), {
  model,
  view,
  asked: { range: (from, to) => view.show(from, to), instant: showWaitedFor },
});

// Drawing: whatever changed, at most once in a frame.

const dirty = new Set();

function schedule(what) {
  if (!dirty.size) requestAnimationFrame(drawDirty);
  dirty.add(what);
}

function drawDirty() {
  const what = new Set(dirty);
  dirty.clear();
  if (what.has("rows")) drawRows();
  else if (what.has("view")) list.redraw();
  else if (what.has("scroll")) list.scrolled();
  if (what.has("view")) drawRuler();
}

function drawRuler() {
  list.gridAt(drawAxis(byName("axis"), view));
  overview.redraw();
  const whole = view.to - view.from >= model.total;
  byName("span-told").textContent = whole
    ? `the whole run, ${lasting(model.total)}`
    : `${lasting(view.to - view.from)} from +${lasting(view.from)}`;
}

function forest() {
  if (state.grouping === "kind") forests.kind ??= byKind(model);
  return forests[state.grouping];
}

function folds() {
  return state.matcher ? state.searchFolds : state.folds;
}

function drawRows() {
  const matches = (span) => (!state.criticalOnly || span.critical) && (!state.matcher || state.matcher(span));
  const rows = rowsOf(forest(), { folds: folds(), hidden: state.hidden, matches });
  list.show(rows, Boolean(state.matcher || state.criticalOnly));
  byName("nothing").hidden = rows.length > 0;
  tellFound(matches);
}

function tellFound(matches) {
  const found = model.spans.filter((span) => !state.hidden.has(span.kind) && matches(span)).length;
  const all = found === model.spans.length;
  const whole = plural(model.spans.length, "span");
  byName("found").textContent = all ? whole : `${counted(found)} of ${whole}`;
  for (const id of ["previous", "next"]) byName(id).hidden = all;
}

// Selection.

function select(span, { open = false } = {}) {
  state.selected = span;
  list.select(span.id);
  if (open || !byName("panel").hidden) openPanel(span);
  byName("zoom-selection").disabled = false;
  // Where a colleague finds the same row. Some browsers refuse it for files: the page works without.
  try {
    history.replaceState(null, "", `#span=${encodeURIComponent(span.id)}`);
  } catch {
    return;
  }
}

function openPanel(span) {
  byName("panel").hidden = false;
  byName("timeline").classList.add("with-panel");
  drawPanel(byName("panel"), span, model, { go, close: closePanel });
  schedule("view");
}

function closePanel() {
  byName("panel").hidden = true;
  byName("timeline").classList.remove("with-panel");
  byName("rows").focus({ preventScroll: true });
  schedule("view");
}

/** Show a span wherever it is: unfold what is above it, and drop filters that hide it. */
function go(id) {
  const span = model.byId.get(id);
  if (!span) return;
  unfoldTo(span);
  if (placeOf(span) < 0) {
    showEverything();
    // Without the search, other folds hold.
    unfoldTo(span);
  }
  reveal(span);
}

function unfoldTo(span) {
  if (state.grouping === "kind") folds().delete(`kind/${span.kind}`);
  for (const above of ancestorsOf(span)) folds().delete(above.id);
  drawRows();
}

function placeOf(span) {
  return list.rows.findIndex((row) => row.node.span === span);
}

function reveal(span) {
  if (placeOf(span) < 0) return;
  byName("rows").focus({ preventScroll: true });
  arriveAt(placeOf(span), { open: true });
}

/** Select a row and bring it into the window, and its bar into the window of time. */
function arriveAt(place, { open = false } = {}) {
  const { span } = list.rows[place].node;
  view.follow(span);
  select(span, { open });
  // Last, for a panel that opens takes room.
  list.reach(place, controlsHeight(), innerHeight - sheetHeight());
}

/** On a narrow screen the panel lies over the lower rows. */
function sheetHeight() {
  return getComputedStyle(byName("panel")).position === "fixed" ? byName("panel").offsetHeight : 0;
}

/** The controls stick to the window's upper edge and lie over the rows that are there. */
function controlsHeight() {
  return getComputedStyle(byName("controls")).position === "sticky" ? byName("controls").offsetHeight : 0;
}

function showWaitedFor(at) {
  const part = model.path.find((each) => each.begun <= at && at <= each.ended && each.span);
  if (part) go(part.span.id);
}

/** Move by so many rows; what is folded or filtered away is no row. */
function move(by) {
  if (!list.rows.length) return;
  const current = state.selected ? placeOf(state.selected) : -1;
  const place = Math.max(0, Math.min(list.rows.length - 1, current < 0 ? 0 : current + by));
  arriveAt(place);
}

/** To the next row (or the one before, `by` = -1) for which `wanted(row)`; from the end to the begin. */
function jump(by, wanted) {
  const { rows } = list;
  const current = state.selected ? placeOf(state.selected) : -1;
  for (let step = 1; step <= rows.length; step += 1) {
    const place = (((current < 0 && by < 0 ? 0 : current) + by * step) % rows.length + rows.length) % rows.length;
    if (!wanted(rows[place])) continue;
    arriveAt(place);
    return;
  }
}

/** The next failure, folded away or not. */
function nextFailure() {
  const failures = model.spans.filter(isCause);
  const after = failures.find((span) => span.index > (state.selected?.index ?? -1)) ?? failures[0];
  if (after) go(after.id);
}

// Folding and filtering.

function toggle(id) {
  if (!folds().delete(id)) folds().add(id);
  drawRows();
}

function foldWhere(wanted) {
  const set = folds();
  set.clear();
  for (const [place, node] of forest().entries()) if (node.last > place && wanted(node)) set.add(node.span.id);
  schedule("rows");
}

const foldAll = () => foldWhere((node) => node.above >= 0 || node.group);
const foldTasks = () => foldWhere((node) => node.group || !["run", "visit"].includes(node.span.kind));
const foldNone = () => foldWhere(() => false);

function searchFor(line) {
  state.matcher = matcherOf(line);
  state.searchFolds = new Set();
  // What is found is to be seen beside the words that found it.
  const below = byName("rows").getBoundingClientRect().top > innerHeight / 2;
  if (state.matcher && below) byName("timeline").scrollIntoView();
  schedule("rows");
}

function setCriticalOnly(only) {
  state.criticalOnly = only;
  byName("critical").setAttribute("aria-pressed", String(only));
  schedule("rows");
}

function showEverything() {
  byName("search").value = "";
  state.matcher = null;
  setCriticalOnly(false);
  setHidden([]);
  drawRows();
}

function setHidden(kinds) {
  state.hidden = new Set(kinds);
  for (const box of byName("kind-list").querySelectorAll("input")) box.checked = !state.hidden.has(box.value);
  byName("kinds").classList.toggle("some", state.hidden.size > 0);
  schedule("rows");
}

const isMatch = (row) => row.matched && !row.node.group;

function zoomToSelection() {
  if (state.selected) view.around(state.selected.begun, state.selected.ended);
}

/** To the time of the rows in the window, less what lasts as long as the run. */
function zoomToRows() {
  const seen = list.seen(controlsHeight()).filter((span) => took(span) < 0.9 * model.total);
  if (!seen.length) return;
  view.around(Math.min(...seen.map((span) => span.begun)), Math.max(...seen.map((span) => span.ended)));
}

function showHelp() {
  drawHelp(byName("help"));
  byName("help").showModal();
}
