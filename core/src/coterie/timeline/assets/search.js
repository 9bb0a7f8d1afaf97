// What a line of search means: words that must all be there; `kind:`, `state:`, `task:`, `agent:`, `over:`, and `-`.

const TERM = /(-?)(?:(kind|state|task|agent|over):)?(?:"([^"]*)"|(\S+))/gi;
const UNITS = {
  __proto__: null,
  ...{ us: 1, "µs": 1, ms: 1000, s: SECOND, "": SECOND },
  ...{ m: MINUTE, min: MINUTE, h: HOUR, d: DAY },
};

/** A function of a span, or null if the line says nothing. */
function matcherOf(line) {
  const terms = [...line.matchAll(TERM)].map(([, not, field, quoted, plain]) => {
    const test = termOf((field ?? "").toLowerCase(), (quoted ?? plain).toLowerCase());
    return not ? (span) => !test(span) : test;
  });
  return terms.length ? (span) => terms.every((test) => test(span)) : null;
}

function termOf(field, value) {
  switch (field) {
    case "kind":
      return (span) => span.kind.toLowerCase() === value || span.time === value;
    case "state":
      return (span) => (span.state ?? "").startsWith(value) || (value === "open" && span.open);
    case "task":
      return (span) => span.task.toLowerCase().includes(value);
    case "agent":
      return (span) =>
        ["agent_type", "agent_id", "agent", "type"].some((name) =>
          String(span.facts[name] ?? "").toLowerCase().includes(value),
        );
    case "over":
      return overOf(value);
    default:
      return (span) => textOf(span).includes(value);
  }
}

function overOf(value) {
  const [, number, unit] = /^([\d.]+)\s*(\D*)$/.exec(value) ?? [null, "NaN", ""];
  const least = Number(number) * (UNITS[unit] ?? NaN);
  return (span) => took(span) >= least;
}

/** All that is told of a span, made when it is first asked for and kept. */
function textOf(span) {
  if (span.text === null) {
    // Of what there are none of, nobody looks for the name: "failed" is not "0 failed items".
    const told = Object.entries(span.facts).filter(([, value]) => value !== 0);
    const facts = told.map(([name, value]) => `${name} ${value}`);
    span.text = [span.name, span.id, span.kind, span.state ?? "", ...facts].join("\n").toLowerCase();
  }
  return span.text;
}
