// The page comes to life: the toolbar is filled, everything is wired, the first picture is drawn.

// What the toolbar holds of the run.

function listKinds() {
  const counts = new Map();
  for (const { kind, time } of model.spans) {
    const seen = counts.get(kind) ?? { count: 0, time };
    seen.count += 1;
    counts.set(kind, seen);
  }
  for (const [kind, { count, time }] of [...counts].sort(([, one], [, other]) => other.count - one.count)) {
    const box = element("input");
    box.type = "checkbox";
    box.checked = true;
    box.value = kind;
    const label = element("label", "", box, swatch(time), kind, element("span", "value", counted(count)));
    byName("kind-list").append(element("li", "", label));
  }
}

function listTimes() {
  const times = new Set([...model.spans.map((span) => span.time), ...model.path.map((part) => part.time)]);
  for (const time of [...KNOWN_TIMES, ...times]) {
    if (!times.delete(time)) continue;
    const entry = element("li", "", swatch(time), shortly(time));
    entry.title = TIME_TOLD[time] ?? time;
    byName("legend").append(entry);
  }
  byName("legend").append(element("li", "", element("i", "diamond"), "on the critical path"));
}

// Wiring.

function wireTools() {
  const on = (id, event, action) => byName(id).addEventListener(event, action);
  on("search", "input", (event) => searchFor(event.target.value));
  on("search", "keydown", (event) => {
    if (event.key === "Enter") jump(event.shiftKey ? -1 : 1, isMatch);
    else if (event.key === "ArrowDown") byName("rows").focus();
  });
  on("previous", "click", () => jump(-1, isMatch));
  on("next", "click", () => jump(1, isMatch));
  on("critical", "click", () => setCriticalOnly(!state.criticalOnly));
  on("grouping", "change", (event) => {
    state.grouping = event.target.value;
    if (state.grouping === "kind") foldAll();
    schedule("rows");
  });
  on("kinds", "change", () => {
    const boxes = [...byName("kind-list").querySelectorAll("input")];
    setHidden(boxes.filter((box) => !box.checked).map((box) => box.value));
  });
  on("kinds", "click", (event) => {
    const which = event.target.dataset.kinds;
    if (which) setHidden(which === "none" ? model.spans.map((span) => span.kind) : []);
  });
  on("fold-all", "click", foldAll);
  on("fold-tasks", "click", foldTasks);
  on("fold-none", "click", foldNone);
  on("zoom-in", "click", () => view.zoom(0.5));
  on("zoom-out", "click", () => view.zoom(2));
  on("zoom-rows", "click", zoomToRows);
  on("zoom-whole", "click", view.whole);
  on("zoom-selection", "click", zoomToSelection);
  on("clear", "click", showEverything);
  on("help-open", "click", showHelp);
}

/**
 * Over the ruler the wheel zooms at the pointer; over the rows it scrolls as everywhere, and zooms with Ctrl (or a
 * pinch). With Shift, or sideways, it moves the window of time.
 */
function wheeled(event) {
  const box = byName("axis").getBoundingClientRect();
  if (event.clientX < box.left || event.clientX > box.right) return;
  const sideways = event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY);
  const onRuler = event.target.closest("#overview, #axis");
  if (event.ctrlKey || (onRuler && !sideways)) zoomAt(event, (event.clientX - box.left) / box.width);
  else if (sideways) view.pan((event.deltaX || event.deltaY) / box.width);
  else return;
  event.preventDefault();
}

function zoomAt({ deltaY, target }, part) {
  // The overview has the whole run, whatever the rows show.
  const anchor = target.closest("#overview") ? view.place(part * model.total) / 100 : part;
  view.zoom(Math.exp(Math.sign(deltaY) * Math.min(Math.abs(deltaY), 100) * 0.004), Math.min(1, Math.max(0, anchor)));
}

function paper() {
  const count = list.printed();
  byName("printed").hidden = count === list.rows.length;
  const told = `The first ${counted(count)} of ${counted(list.rows.length)} rows are printed`;
  byName("printed").textContent = `${told}; fold or search to print others.`;
}

function fromAddress() {
  const id = /^#span=(.+)$/.exec(location.hash)?.[1];
  if (!id) return;
  try {
    go(decodeURIComponent(id));
  } catch {
    // A mangled address is no address.
    return;
  }
}

function begin() {
  drawSummary(byName("masthead"), byName("summary"), model, go);
  byName("timeline").hidden = false;
  listKinds();
  listTimes();
  wireTools();
  byName("zoom-selection").disabled = true;
  onDrag(byName("axis"), { at: (part) => view.from + part * (view.to - view.from), range: view.show });
  byName("timeline").addEventListener("wheel", wheeled, { passive: false });
  addEventListener("scroll", () => schedule("scroll"), { passive: true });
  addEventListener("resize", () => schedule("view"));
  addEventListener("keydown", keyed);
  addEventListener("pointerdown", (event) => {
    if (!byName("kinds").contains(event.target)) byName("kinds").open = false;
  });
  addEventListener("hashchange", fromAddress);
  addEventListener("beforeprint", paper);
  addEventListener("afterprint", () => list.backFromPaper());
  if (model.spans.length > MANY) foldTasks();
  dirty.clear();
  drawRows();
  drawRuler();
  fromAddress();
}

begin();
