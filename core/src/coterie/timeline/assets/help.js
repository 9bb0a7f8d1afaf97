// The sheet of keys and signs.

const KEYS_TOLD = [
  ["/", "search; Enter goes to the next match, Shift+Enter to the one before"],
  ["n  N", "next match, the one before"],
  ["f", "next failure"],
  ["c", "critical path alone, or all"],
  ["↑ ↓  PgUp PgDn  Home End", "move from row to row"],
  ["→ ←", "unfold or go in; fold or go out"],
  ["Enter  Esc", "show facts; put them away"],
  ["e  E", "unfold all; fold all"],
  ["z  r  0", "zoom to the selected row; the rows on the screen; the whole run"],
  ["+ −  Ctrl+wheel", "zoom at the selected row; at the pointer (on the ruler without Ctrl)"],
  ["Shift+← →  Shift+wheel", "move the window of time"],
  ["drag on the ruler or overview", "zoom to that time"],
  ["double click on a bar", "zoom to it"],
  ["click on the overview", "what the end waited for then"],
];

const SIGNS_TOLD = [
  ["✓", "succeeded"],
  ["✕", "failed"],
  ["⊘", "cancelled, or never begun after a failure"],
  ["◐", "partly succeeded"],
  ["▶", "at work"],
  ["…", "waiting or due"],
  ["⚡", "its process is gone"],
  ["fading bar", "still open"],
];

const SEARCH_TOLD = [
  ["kind:call", "kind of span, or what its time counts as"],
  ["state:failed", "state, or its beginning; state:open for what goes on"],
  ["task:name", "in tasks with that in their name"],
  ["agent:name", "agent or agent type"],
  ["over:5s", "lasted so long or longer (ms, s, min, h)"],
  ["-word", "without that; \"two words\" as they stand"],
];

const BARS_TOLD =
  "A bar has the colours of what happened in it: in each place that of which there was most. " +
  "The run's own bar, and the strip in the overview, show what its end waited for.";

function drawHelp(host) {
  const title = element("h2", "", "Keys and signs");
  title.id = "help-title";
  const columns = element(
    "div",
    "columns",
    element("section", "", element("h3", "", "Keys"), definitions(KEYS_TOLD)),
    element("section", "", element("h3", "", "Signs"), definitions(SIGNS_TOLD), ...searchTold()),
  );
  host.replaceChildren(closeButton(() => host.close()), title, columns, element("p", "fine", BARS_TOLD));
}

function searchTold() {
  return [element("h3", "", "Search"), definitions(SEARCH_TOLD)];
}
