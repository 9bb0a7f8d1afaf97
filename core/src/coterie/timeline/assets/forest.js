// Which rows there are: the spans in the order of one of two trees, less what is folded, filtered or hidden.
//
// A forest is a list of nodes, each before all that lies in it; `last` is the place of the last node in it. So
// skipping what is folded is one jump, and a list of twenty thousand rows is made in one pass. `group`: no span, but
// all of a kind; `apart`: torn from what it lies in, so that its row has to tell where that is.

function byTask(model) {
  const nodes = [];
  const add = (span, above) => {
    const node = { span, above, last: 0, group: false, apart: false };
    const place = nodes.push(node) - 1;
    for (const child of span.children) add(child, place);
    node.last = nodes.length - 1;
  };
  for (const span of model.spans) if (!span.parent) add(span, -1);
  return nodes;
}

/** One group for each kind, the one with most time first; in it the longest spans first. */
function byKind(model) {
  const groups = new Map();
  for (const span of model.spans) {
    if (!groups.has(span.kind)) groups.set(span.kind, []);
    groups.get(span.kind).push(span);
  }
  const summed = [...groups].map(([kind, spans]) => [groupOf(kind, spans), spans]);
  summed.sort(([one], [other]) => other.sum - one.sum);
  const nodes = [];
  for (const [group, spans] of summed) {
    const place = nodes.push({ span: group, above: -1, last: 0, group: true, apart: false }) - 1;
    spans.sort((one, other) => took(other) - took(one) || one.index - other.index);
    for (const span of spans) nodes.push({ span, above: place, last: nodes.length, group: false, apart: true });
    nodes[place].last = nodes.length - 1;
  }
  return nodes;
}

function groupOf(kind, spans) {
  return {
    id: `kind/${kind}`,
    name: kind,
    kind,
    state: null,
    time: spans[0].time,
    facts: {},
    links: [],
    children: spans,
    parent: null,
    begun: spans.reduce((least, span) => Math.min(least, span.begun), Infinity),
    ended: spans.reduce((most, span) => Math.max(most, span.ended), 0),
    sum: spans.reduce((all, span) => all + took(span), 0),
    failed: false,
    critical: false,
    open: spans.some((span) => span.open),
    task: "",
    text: null,
    parts: null,
    colours: null,
  };
}

/**
 * The rows: {node, place, depth, matched, folded, leaf}. `matches(span)` and `hidden` (kinds) say what is wanted;
 * what lies above a wanted row is shown too, so that one sees where it is. Rows of hidden kinds give their place
 * to what is in them.
 */
function rowsOf(nodes, { folds, hidden, matches }) {
  const wanted = wantedIn(nodes, hidden, matches);
  const rows = [];
  const depths = new Int32Array(nodes.length);
  for (let place = 0; place < nodes.length; place += 1) {
    const node = nodes[place];
    if (!wanted.below[place]) {
      place = node.last;
      continue;
    }
    const shown = node.group || !hidden.has(node.span.kind);
    const depth = node.above < 0 ? 0 : depths[node.above];
    depths[place] = depth + (shown ? 1 : 0);
    if (!shown) continue;
    const leaf = node.last === place || wanted.inside[place] === 0;
    const folded = !leaf && folds.has(node.span.id);
    rows.push({ node, place, depth, leaf, folded, matched: wanted.itself[place] === 1 });
    if (folded) place = node.last;
  }
  return rows;
}

/** For each node: is it wanted itself, is it or something in it, how much in it. From the last to the first. */
function wantedIn(nodes, hidden, matches) {
  const itself = new Uint8Array(nodes.length);
  const below = new Uint8Array(nodes.length);
  const inside = new Int32Array(nodes.length);
  for (let place = nodes.length - 1; place >= 0; place -= 1) {
    const { span, above, group } = nodes[place];
    itself[place] = !group && !hidden.has(span.kind) && matches(span) ? 1 : 0;
    below[place] = itself[place] || inside[place] > 0 ? 1 : 0;
    if (above >= 0) inside[above] += inside[place] + itself[place];
  }
  return { itself, below, inside };
}
