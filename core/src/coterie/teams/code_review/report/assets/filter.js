// Filter, sort and page the table of findings. Without this script the whole table is there, in rank order.
"use strict";
(() => {
  const table = document.getElementById("findings-table");
  if (!table) return;
  const PAGE = 100;
  const body = table.tBodies[0];
  const rows = Array.from(body.rows, (row, place) => ({
    row,
    place,
    severity: row.dataset.severity,
    agent: row.dataset.agent,
    text: row.textContent.toLowerCase(),
  }));
  const tools = document.getElementById("findings-tools");
  const search = document.getElementById("find-text");
  const agent = document.getElementById("find-agent");
  const boxes = Array.from(tools.querySelectorAll("input[type=checkbox]"));
  const status = document.getElementById("find-status");
  const more = document.getElementById("find-more");
  const heads = Array.from(table.querySelectorAll("thead button"));
  const file = /^#file=(.*)$/;
  const told = (count) => count.toLocaleString("en").replaceAll(",", "\u202f");
  let shown = PAGE;
  let printing = false;

  const matching = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const levels = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
    return rows.filter(
      (each) =>
        levels.has(each.severity) &&
        (!agent.value || agent.value === each.agent) &&
        words.every((word) => each.text.includes(word)),
    );
  };

  const draw = () => {
    const found = matching();
    const visible = new Set(printing ? found : found.slice(0, shown));
    for (const each of rows) each.row.hidden = !visible.has(each);
    const rest = found.length - visible.size;
    status.textContent =
      found.length === 0
        ? "No finding matches."
        : `${told(found.length)} of ${told(rows.length)} listed findings match` +
          (rest > 0 ? `, the first ${told(visible.size)} are shown.` : ".");
    more.hidden = rest <= 0;
    more.textContent = `Show ${told(Math.min(rest, PAGE * 5))} more`;
  };

  const refilter = () => {
    shown = PAGE;
    draw();
  };

  const sortBy = (button) => {
    const head = button.closest("th");
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of heads) other.closest("th").removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const column = head.cellIndex;
    const key = (each) => (column === 0 ? each.place : each.row.cells[column].textContent);
    const keys = new Map(rows.map((each) => [each, key(each)]));
    const order = new Intl.Collator("en", { numeric: true }).compare;
    rows.sort((a, b) => {
      const [x, y] = [keys.get(a), keys.get(b)];
      const by = column === 0 ? x - y : order(x, y);
      return (down ? -by : by) || a.place - b.place;
    });
    body.append(...rows.map((each) => each.row));
    draw();
  };

  const fromAddress = () => {
    const match = file.exec(location.hash);
    if (!match) return;
    search.value = decodeURIComponent(match[1]);
    refilter();
    document.getElementById("findings").scrollIntoView();
    search.focus({ preventScroll: true });
  };

  search.addEventListener("input", refilter);
  agent.addEventListener("change", refilter);
  for (const box of boxes) box.addEventListener("change", refilter);
  for (const button of heads) button.addEventListener("click", () => sortBy(button));
  more.addEventListener("click", () => {
    shown += PAGE * 5;
    draw();
  });
  tools.addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("find-reset").addEventListener("click", () => {
    search.value = "";
    agent.value = "";
    for (const box of boxes) box.checked = true;
    if (file.test(location.hash)) history.replaceState(null, "", "#findings");
    refilter();
  });
  const print = (now) => () => {
    printing = now;
    draw();
  };
  addEventListener("beforeprint", print(true));
  addEventListener("afterprint", print(false));
  addEventListener("hashchange", fromAddress);

  for (const button of heads) button.disabled = false;
  tools.hidden = false;
  draw();
  fromAddress();
})();
