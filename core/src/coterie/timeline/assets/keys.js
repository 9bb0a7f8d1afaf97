// What each key does, on the rows, on the overview and elsewhere.

const KEYS = {
  "/": () => byName("search").focus(),
  "+": () => view.zoom(0.5, selectedAnchor()),
  "=": () => view.zoom(0.5, selectedAnchor()),
  "-": () => view.zoom(2, selectedAnchor()),
  0: view.whole,
  z: zoomToSelection,
  r: zoomToRows,
  c: () => setCriticalOnly(!state.criticalOnly),
  f: nextFailure,
  n: () => jump(1, isMatch),
  N: () => jump(-1, isMatch),
  e: foldNone,
  E: foldAll,
  "?": showHelp,
};

const ROW_KEYS = {
  ArrowDown: () => move(1),
  ArrowUp: () => move(-1),
  PageDown: () => move(20),
  PageUp: () => move(-20),
  Home: () => move(-list.rows.length),
  End: () => move(list.rows.length),
  ArrowRight: () => unfoldOrEnter(),
  ArrowLeft: () => foldOrLeave(),
  Enter: () => state.selected && openPanel(state.selected),
  " ": () => selectedRow()?.leaf === false && toggle(state.selected.id),
};

const OVERVIEW_KEYS = {
  ArrowLeft: () => view.pan(-0.1),
  ArrowRight: () => view.pan(0.1),
  ArrowUp: () => view.zoom(0.5),
  ArrowDown: () => view.zoom(2),
  Home: () => view.show(0, view.to - view.from),
  End: () => view.show(view.total - (view.to - view.from), view.total),
};

function keyed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || byName("help").open) return;
  if (event.key === "Escape") escaped(event);
  if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
  const action = ownKeys(event)?.[event.key] ?? KEYS[event.key];
  if (!action) return;
  event.preventDefault();
  action();
}

/** On the rows the arrows move through them, with Shift they move the window of time. */
function ownKeys({ target, key, shiftKey }) {
  if (target === byName("overview")) return OVERVIEW_KEYS;
  if (target !== byName("rows")) return null;
  return shiftKey && key in OVERVIEW_KEYS ? OVERVIEW_KEYS : ROW_KEYS;
}

function escaped({ target }) {
  byName("kinds").open = false;
  if (target === byName("search")) {
    // The browser empties it; from an empty one the way leads to the rows.
    if (!target.value) byName("rows").focus({ preventScroll: true });
    return;
  }
  if (!byName("panel").hidden) closePanel();
}

function selectedRow() {
  return state.selected ? list.rows[placeOf(state.selected)] : undefined;
}

function selectedAnchor() {
  const middle = state.selected ? view.place((state.selected.begun + state.selected.ended) / 2) / 100 : 0.5;
  return middle >= 0 && middle <= 1 ? middle : 0.5;
}

function unfoldOrEnter() {
  const row = selectedRow();
  if (!row || row.leaf) return;
  if (row.folded) toggle(state.selected.id);
  else move(1);
}

function foldOrLeave() {
  const row = selectedRow();
  if (!row) return;
  if (!row.leaf && !row.folded) toggle(state.selected.id);
  else {
    const place = placeOf(state.selected);
    const above = list.rows.slice(0, place).findLastIndex((each) => each.depth < row.depth);
    if (above >= 0) move(above - place);
  }
}
