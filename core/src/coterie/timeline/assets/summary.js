// What a person should know first, in words and bars: how it went, where time, money and tokens went, what failed.

const LISTED = 6;
const SPENDERS = 4;

/** `go(id)` shows a span in the timeline. */
function drawSummary(masthead, host, model, go) {
  const { run } = model.whole;
  const of = run.plan ? `Timeline of a run of the plan “${run.plan.name}”` : "Timeline of a run";
  masthead.append(
    element("p", "kicker", of, badge(run.scheduler && run.state === "interrupted" ? `left to ${run.scheduler}` : run.state)),
    element("h1", "", run.id),
    element("p", "about", aboutOf(model)),
  );
  host.append(storyOf(model, go), cardsOf(model, go));
}

function badge(state) {
  return element("span", `badge ${stateTone(state)}`, `${stateSign(state)} ${state}`);
}

function aboutOf({ whole: { run, spans } }) {
  const parts = [`begun ${instant(run.begun_us)}`];
  if (run.begun_by) parts.push(`by ${run.begun_by}`);
  if (run.ended_us === null) parts.push(`read ${instant(run.now_us)}, while it goes on`);
  else parts.push(`ended ${instant(run.ended_us)}`);
  parts.push(plural(spans.length, "span"));
  return parts.join(" · ");
}

// The story: one sentence for each thing that matters, the most urgent first.

function storyOf(model, go) {
  const makers = [lengthLine, leftLine, failureLine, waitedLine, triedLine, nowLine, aheadLine];
  const lines = makers.map((make) => make(model, go));
  const list = element("ul", "story", ...lines.filter(Boolean));
  for (const note of model.whole.notes ?? []) list.append(element("li", "fine", `Not told: ${note}`));
  return list;
}

function lengthLine({ whole: { run }, live }) {
  const { total, ended, failed, open } = run.tasks;
  const lasted = lasting((run.ended_us ?? run.now_us) - run.begun_us);
  const known = total !== null && total !== undefined;
  const tasks = [known ? `${counted(ended)} of ${plural(total, "task")} ended` : `${plural(ended, "task")} ended`];
  if (failed) tasks.push(`${counted(failed)} failed`);
  if (open) tasks.push(`${counted(open)} begun, or ready, and not ended`);
  const head = live ? "It has gone on for " : "It took ";
  return element("li", "", head, element("b", "", lasted), `: ${tasks.join(", ")}.`);
}

function leftLine({ whole: { run } }) {
  if (run.state !== "interrupted") return null;
  const resume = element("code", "", `coterie runs resume ${run.id}`);
  if (!run.scheduler) return element("li", "bad", "Nobody is at it. It goes on with: ", resume);
  const first = `its scheduler (${run.scheduler}) goes on with it, or has given up: look at it there`;
  return element("li", "", `Nobody is at it now; ${first}. If it has given up: `, resume);
}

function failureLine({ whole: { first_failure: failure }, origin, byId }, go) {
  if (!failure) return null;
  const type = failure.type ?? "no error is known";
  const said = failure.message ? `${type}: ${failure.message}` : type;
  const line = element("li", "bad", "What failed first: ");
  line.append(
    button(placeTold(failure, byId.get(failure.span)), () => go(failure.span), "go"),
    ` after ${lasting(failure.at_us - origin)}: `,
    element("code", "", said.length > 400 ? `${said.slice(0, 400)}…` : said),
  );
  if (failure.cause) line.append("; the last call before it: ", element("code", "", failure.cause));
  if (failure.blocked) line.append(` ${plural(failure.blocked, "task")} could not begin because of it.`);
  return line;
}

/** "check", or "check / file-7" where the failure is that of an item. */
function placeTold({ task, span }, found) {
  const name = found?.kind === "item" ? found.name : null;
  return [task ?? (name ? null : span), name].filter(Boolean).join(" / ");
}

function waitedLine({ whole: { where } }) {
  const sorted = sortedOf(where);
  if (!sorted.length) return null;
  const whole = sorted.reduce((sum, [, seconds]) => sum + seconds, 0);
  const much = sorted.filter(([, seconds], place) => place === 0 || seconds >= 0.01 * whole).slice(0, 4);
  const told = much.map(([time, seconds]) => `${share(seconds, whole)} ${shortly(time)}`);
  return element("li", "", `What its end waited for: ${told.join("; ")}.`);
}

function triedLine({ whole: { tried_again: tried } }) {
  const lost = sortedOf(tried?.lost ?? {});
  if (!tried || !(tried.attempts || tried.refusals || lost.length)) return null;
  const parts = [];
  const were = tried.attempts === 1 ? "was" : "were";
  const errors = sortedOf(tried.errors ?? {});
  const named = errors.slice(0, 2).map(([error, times]) => (times > 1 ? `${error} (${counted(times)} times)` : error));
  if (errors.length > 2) named.push(plural(errors.length - 2, "other error"));
  const why = named.length ? `: ${named.join(", ")}` : "";
  const refused = tried.given_up ?? 0;
  const next = refused && refused === tried.attempts ? "refusals alone" : refused ? "another or a refusal" : "another";
  if (tried.attempts) parts.push(`${plural(tried.attempts, "attempt")} failed and ${were} followed by ${next}${why}`);
  const by = sortedOf(tried.by ?? {}).slice(0, 4).map(([name, times]) => `${name} ${counted(times)}`);
  if (tried.refusals) parts.push(`${plural(tried.refusals, "refusal")}${by.length ? ` (${by.join(", ")})` : ""}`);
  const times = lost.reduce((sum, [, count]) => sum + count, 0);
  const workers = lost.slice(0, 4).map(([name]) => name).join(", ");
  if (times) parts.push(`${plural(times, "attempt")} lost with ${times === 1 ? "its worker" : "their workers"} (${workers})`);
  return element("li", "", `Tried again: ${parts.join("; ")}.`);
}

function nowLine({ whole: { now, run }, byId }, go) {
  if (!now?.length) return null;
  const isAsked = ({ span }) => byId.get(span)?.state === "asking";
  const line = element("li", "", now.every(isAsked) ? "Not ended: " : "Not ended, so waiting or at work: ");
  for (const [number, each] of now.slice(0, LISTED).entries()) {
    const since = lasting(Math.max(0, run.now_us - each.since_us));
    line.append(
      number ? "; " : "",
      button(byId.get(each.span)?.name ?? each.span, () => go(each.span), "go"),
      visible(` for ${since}${each.owner ? `, claimed by ${shortened(each.owner)}` : ""}`),
      isAsked(each) ? ` (${shortly("person")})` : "",
      each.held_by ? element("b", "", ` (held: ${each.held_by})`) : "",
    );
  }
  line.append(now.length > LISTED ? `; and ${counted(now.length - LISTED)} more.` : ".");
  return line;
}

function aheadLine({ whole: { ahead } }) {
  if (!ahead?.length) return null;
  const blocked = ahead.filter((task) => task.because).length;
  const because = blocked ? `, ${counted(blocked)} because of a failed one` : "";
  const list = element("ul");
  for (const task of ahead.slice(0, 200)) {
    list.append(element("li", "", element("b", "", task.task), ` ${whyNot(task)}`));
  }
  if (ahead.length > 200) list.append(element("li", "fine", `and ${counted(ahead.length - 200)} more`));
  const head = element("summary", "", `${plural(ahead.length, "task")} did not begin${because}.`);
  return element("li", "", element("details", "", head, list));
}

function whyNot(task) {
  if (task.because) return `because ${task.because} failed`;
  return task.for?.length ? `waits for ${task.for.slice(0, 5).join(", ")}` : "";
}

// The cards.

function cardsOf(model, go) {
  const { where, work, usage } = model.whole;
  return element(
    "div",
    "cards",
    timeCard("What the end waited for", "The critical path: shorten this, and the run is shorter.", where),
    timeCard("Where all time went", "The same of all that ran; what ran at once is added up.", work),
    waitsCard(model, go),
    usageCard(usage),
  );
}

function card(title, about, ...content) {
  const made = element("section", "card", element("h2", "", title), ...content);
  if (about) made.append(element("p", "fine", about));
  return made;
}

function sortedOf(amounts) {
  return Object.entries(amounts ?? {})
    .filter(([, amount]) => amount > 0)
    .sort(([one, a], [other, b]) => b - a || (one < other ? -1 : 1));
}

function timeCard(title, about, seconds) {
  const sorted = sortedOf(seconds);
  if (!sorted.length) return null;
  const whole = sorted.reduce((sum, [, each]) => sum + each, 0);
  const list = element("ul", "bars");
  for (const [time, each] of sorted) {
    const name = element("span", "what", swatch(time), element("span", "", shortly(time)));
    name.title = TIME_TOLD[time] ?? time;
    const told = `${lasting(each * SECOND)} · ${share(each, whole)}`;
    list.append(barLine(name, told, each / sorted[0][1], colour(time)));
  }
  return card(title, about, list);
}

function barLine(name, value, part, shade) {
  const bar = element("i", "amount");
  bar.style.width = `${Math.max(0.5, part * 100)}%`;
  bar.style.background = shade;
  return element("li", "", name, element("span", "value", value), element("span", "rail", bar));
}

/** The parts of the critical path, those of one task and kind added up: where to look first. */
function waitsCard({ path }, go) {
  const sums = new Map();
  for (const part of path) {
    const owner = ownerOf(part.span);
    const key = `${part.time}\n${owner?.id ?? ""}`;
    const seen = sums.get(key) ?? { time: part.time, owner, longest: part, sum: 0 };
    seen.sum += part.ended - part.begun;
    if (part.ended - part.begun > seen.longest.ended - seen.longest.begun) seen.longest = part;
    sums.set(key, seen);
  }
  const sorted = [...sums.values()].filter(({ sum }) => sum > 0).sort((one, other) => other.sum - one.sum);
  if (!sorted.length) return null;
  const whole = sorted.reduce((all, { sum }) => all + sum, 0);
  const list = element("ul", "bars");
  for (const { time, owner, longest, sum } of sorted.slice(0, LISTED)) {
    const name = owner && button(owner.name, () => go(longest.span.id), "go");
    const words = element("span", "", name, element("span", "", shortly(time)));
    const line = element("span", "what", swatch(time), words);
    list.append(barLine(line, `${lasting(sum)} · ${share(sum, whole)}`, sum / sorted[0].sum, colour(time)));
  }
  const rest = sorted.length > LISTED ? `, and ${counted(sorted.length - LISTED)} shorter parts` : "";
  return card("Longest on the critical path", `Tasks by what they were at${rest}.`, list);
}

/** The task that the span belongs to, else what stands right below the run; null for the run. */
function ownerOf(span) {
  if (!span?.parent) return null;
  const line = [...ancestorsOf(span), span];
  return line.findLast((each) => each.kind === "task") ?? line[1];
}

function usageCard(usage) {
  const total = usage?.total;
  const lists = [
    ...usageList("By agent type", total, usage?.by_agent_type),
    ...usageList("By task", total, usage?.by_task),
  ];
  if (!lists.length) return null;
  const whole = element("p", "", `In all ${usageTold(total)}`);
  const made = card("Money and tokens", "Money is in the unit of the team's prices.", whole, ...lists);
  made.classList.add("usage");
  return made;
}

function usageList(title, total, parts) {
  const spent = measureOf(total);
  const sorted = Object.entries(parts ?? {}).sort(([, one], [, other]) => spent(other) - spent(one));
  if (!sorted.length) return [];
  const most = spent(sorted[0][1]) || 1;
  const lines = sorted.slice(0, SPENDERS).map(([name, each]) => {
    const what = element("span", "what", element("span", "", name));
    return barLine(what, usageTold(each), spent(each) / most, "var(--accent)");
  });
  const rest = sorted.length - lines.length;
  const head = rest > 0 ? `${title}, and ${counted(rest)} more` : title;
  return [element("h3", "", head), element("ul", "bars", ...lines)];
}

/** Money, if there is a price for anything, else tokens, else requests. */
function measureOf(total) {
  if (total?.cost_micros) return (each) => each.cost_micros ?? 0;
  return tokensOf(total ?? {}) ? tokensOf : (each) => each.requests ?? 0;
}

function tokensOf(usage) {
  return (usage.input_tokens ?? 0) + (usage.output_tokens ?? 0);
}

function usageTold(usage) {
  const parts = [];
  if (usage.cost_micros) parts.push(money(usage.cost_micros));
  if (tokensOf(usage)) parts.push(`${counted(tokensOf(usage))} tokens`);
  if (!parts.length) parts.push(plural(usage.requests ?? 0, "request"));
  return parts.join(" · ");
}
