// All that is known of the selected row.

/** `go(id)` shows another span, `close()` puts the panel away. */
function drawPanel(host, span, model, { go, close }) {
  host.replaceChildren(
    element("header", "", element("p", "trail", ...trailOf(span, go)), closeButton(close)),
    element("h2", "", span.name),
    element("p", "", swatch(span.time), ` ${span.kind} `, span.state && badge(span.state)),
    ...errorOf(span),
    ...timesOf(span, model),
    ...factsOf(span),
    ...linksOf(span, model, go),
    ...childrenOf(span, go),
    element("p", "fine id", span.id),
  );
  host.scrollTop = 0;
}

function trailOf(span, go) {
  return ancestorsOf(span).flatMap((above, number) => [
    number ? " › " : "",
    button(above.name, () => go(above.id), "go"),
  ]);
}

function errorOf({ facts, failed }) {
  const type = facts.error_type ?? facts.error;
  const message = facts.error_message ?? facts.message;
  if (!type && !(failed && message)) return [];
  return [element("div", "error", element("b", "", String(type ?? "error")), message ? `\n${message}` : "")];
}

function timesOf(span, model) {
  const whole = took(span);
  const rows = [
    ["took", `${lasting(whole)}${span.open ? ", still going on" : ""}`],
    ["of the run", share(whole, model.total)],
    ["own time", span.children.length && span.parent ? `${lasting(ownTime(span))}, counts as: ${shortly(span.time)}` : ""],
    ["begun", `+${lasting(span.begun)}`],
    ["", instant(span.begun + model.origin)],
    ["ended", span.open ? "not yet" : `+${lasting(span.ended)}`],
    ["", span.open ? "" : instant(span.ended + model.origin)],
    ["slack", slackOf(span, model)],
    ["critical path", span.critical ? "on it: the end waited for this" : ""],
  ];
  return [definitions(rows)];
}

function slackOf(span, { whole: { slack } }) {
  const left = slack?.[span.id];
  if (left === undefined) return "";
  return left > 0 ? `${lasting(left)}: so much later, and the run would have ended no later` : "";
}

function factsOf({ facts }) {
  const told = Object.entries(facts).filter(([name]) => !["error_type", "error_message", "error"].includes(name));
  if (!told.length) return [];
  const pairs = told.map(([name, value]) => [factName(name), factTold(name, value)]);
  return [element("h3", "", "Facts"), definitions(pairs)];
}

function factName(name) {
  return name.replace(/_(micros|s)$/, "").replaceAll("_", " ");
}

function factTold(name, value) {
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value !== "number") return value === null ? "none" : FACTS_TOLD[`${name}=${value}`] ?? shortened(value);
  if (name === "cost_micros") return money(value);
  if (name.endsWith("bytes")) return bytesTold(value);
  if (name.endsWith("_s")) return lasting(value * SECOND);
  return Number.isInteger(value) ? counted(value) : String(value);
}

/** [name, text] pairs as a list; those without a text are left out. */
function definitions(pairs) {
  const list = element("dl");
  for (const [name, text] of pairs) if (text !== "") list.append(element("dt", "", name), element("dd", "", text));
  return list;
}

function linksOf(span, { byId, spans }, go) {
  const found = [];
  const before = span.links.map((id) => byId.get(id) ?? id);
  if (before.length) found.push(element("h3", "", "Waited for"), spanList(before, go));
  const after = spans.filter((other) => other.links.includes(span.id));
  if (after.length) found.push(element("h3", "", "Waited for this"), spanList(after, go));
  return found;
}

function childrenOf(span, go) {
  if (!span.children.length) return [];
  const longest = [...span.children].sort((one, other) => took(other) - took(one));
  return [element("h3", "", `In it: ${plural(span.children.length, "span")}, longest first`), spanList(longest, go)];
}

function spanList(found, go) {
  const list = element("ul", "spans");
  for (const each of found.slice(0, 12)) {
    // A link may name what this document does not have.
    if (typeof each === "string") list.append(element("li", "", each));
    else list.append(spanLine(each, go));
  }
  if (found.length > 12) list.append(element("li", "fine", `and ${counted(found.length - 12)} more`));
  return list;
}

function spanLine(span, go) {
  const sign = element("span", `sign ${stateTone(span.state)}`, stateSign(span.state));
  const name = button(span.name, () => go(span.id), "go");
  return element("li", "", swatch(span.time), name, sign, element("span", "value", lasting(took(span))));
}
