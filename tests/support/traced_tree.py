"""A trace, drawn as text: one line a span, without what only chance decides, to be compared with what it should be."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import unified_diff

from coterie.telemetry import names
from tests.support.otlp import Received, Trace

__all__ = ["TREE", "difference", "drawn", "is_ours", "unlinked"]

# Of the run of `tests.support.traced_run`. `!`: it failed. `->`: it links to that.
TREE = """\
(in lost call of weigh) balance
dag_run.traced !
  task_run.list
    worker.list
      execute_task list (lister, succeeded, attempts 1)
        invoke_agent lister (lister, attempt 1)
  task_run.look.each[0]
    worker.look.each[0]
      execute_task look [0] (looker, succeeded, attempts 1)
        invoke_agent looker [client] (at porter)
          execute_task look [0] (looker, succeeded, attempts 1)
            invoke_agent looker (looker, attempt 1)
              glass
      execute_task look [1] (looker, succeeded, attempts 2)
        invoke_agent looker [client] (at porter)
          execute_task look [1] (looker, succeeded, attempts 2)
            backoff (attempt 1)
            invoke_agent looker (looker, attempt 1, ValueError) !
              glass !
            invoke_agent looker (looker, attempt 2)
              glass
      execute_task look [2] (looker, succeeded, attempts 1)
        invoke_agent looker [client] (at porter)
          execute_task look [2] (looker, succeeded, attempts 1)
            invoke_agent looker (looker, attempt 1)
              glass
  task_run.workflow_result !
    worker.workflow_result
      invoke_workflow traced (failed) !
        execute_task list (lister, succeeded, replayed) -> prefect task
        execute_task look [0] (looker, succeeded, replayed) -> prefect task
        execute_task look [1] (looker, succeeded, replayed) -> prefect task
        execute_task look [2] (looker, succeeded, replayed) -> prefect task
        execute_task report (reporter, succeeded, attempts 1, unfinished) -> lost report -> prefect task
          claim report (unfinished, taken over)
          invoke_agent reporter (reporter, attempt 1)
        execute_task send (sender, succeeded, attempts 1) -> prefect task
          invoke_agent sender [client] (at porter)
            execute_task send (sender, succeeded, attempts 1)
              invoke_agent sender (sender, attempt 1)
        execute_task weigh (weigher, succeeded, attempts 1, unfinished) -> lost weigh -> worker.weigh
          claim weigh (unfinished, taken over)
          invoke_agent weigher (weigher, attempt 1)
            balance
          lost scale-1 (at scale-1, lost)
          step left pan (replayed)
          step right pan
        execute_task weigh (weigher, succeeded, replayed) -> prefect task
        invoke_workflow traced (succeeded) -> prefect flow
"""

_OURS = frozenset(row.name.split()[0] for row in names.SPANS)
# Whether these are there is a matter of milliseconds; events are sent in batches.
_BY_CHANCE = frozenset({"queue", "limit", "wait", "read", "write", "publish"})
_SAID = {
    names.AGENT_TYPE: "",
    names.STATUS: "",
    names.STATE: "",
    names.ATTEMPT: "attempt ",
    names.ATTEMPTS: "attempts ",
    names.WORKER: "at ",
    names.WHY: "",
    names.ERROR_TYPE: "",
}
# Names who had the work before, a process.
_AFTER = names.FACT.format(fact="after")


def is_ours(span: Received) -> bool:
    """Whether coterie made it."""
    return span.name.split()[0] in _OURS


def drawn(trace: Trace, *, library: Iterable[str], known: Mapping[str, str], linked: bool = True) -> str:
    """The spans of coterie, and those that they lie in, as a tree.

    library: names of spans that agents make. known: what to call spans by their ids that are of other traces, or that
    nobody sent. linked: whether links are shown, and kinds, which not every backend keeps.
    """
    wanted, drawing = frozenset(library), _Drawing(trace, known, linked=linked)
    shown = {span.span_id for span in trace.spans if span.name in wanted or (is_ours(span) and not _is_chance(span))}
    ids = {span.span_id for span in trace.spans}
    tops = [span for span in trace.spans if span.parent_id not in ids]
    return "".join(f"{line}\n" for top in _sorted(tops, drawing) for line in drawing.lines(top, shown, 0))


def unlinked(tree: str) -> str:
    """The same as it is drawn where links and kinds are not shown."""
    return re.sub(r" \[client\]| ->.*", "", tree)


def difference(found: str, wanted: str) -> str:
    """What an assertion says of two trees that are not the same."""
    return "\n".join(["", *unified_diff(wanted.splitlines(), found.splitlines(), "wanted", "found", lineterm="", n=1)])


def _is_chance(span: Received) -> bool:
    kind = span.name.split()[0]
    # A claim that was waited for, not one that was taken over.
    return kind in _BY_CHANCE or (kind == "claim" and _AFTER not in span.attributes)


class _Drawing:
    def __init__(self, trace: Trace, known: Mapping[str, str], *, linked: bool) -> None:
        self._trace = trace
        self._known = known
        self._linked = linked

    def lines(self, span: Received, shown: set[str], depth: int) -> list[str]:
        """The span and what lies in it; nothing where nothing of it is shown."""
        below = _sorted(self._trace.under(span), self)
        inner = [line for each in below for line in self.lines(each, shown, depth + 1)]
        if span.span_id not in shown and not inner:
            return []
        lost = f"(in {self._known.get(span.parent_id, 'what nobody sent')}) " if depth == 0 and span.parent_id else ""
        return [f"{'  ' * depth}{lost}{self.label(span)}", *inner]

    def label(self, span: Received) -> str:
        """One line: what it is, and what it says."""
        failed = ["!"] if span.status == "error" else []
        if not is_ours(span):
            return " ".join([span.name, *failed])
        words = [span.name]
        if self._linked and span.kind != "internal":
            words.append(f"[{span.kind}]")
        if names.ITEM in span.attributes:
            words.append(str(span.attributes[names.ITEM]).split()[0])
        said = [f"{lead}{span.attributes[name]}" for name, lead in _SAID.items() if name in span.attributes]
        said += ["replayed"] * (span.attributes.get(names.REPLAYED) is True) + ["taken over"] * (
            _AFTER in span.attributes
        )
        if said:
            words.append(f"({', '.join(said)})")
        words += failed
        if self._linked:
            words.extend(f"-> {self._named(link.span_id)}" for link in span.links)
        return " ".join(words)

    def _named(self, span_id: str) -> str:
        span = self._trace.by_id(span_id)
        return self._known.get(span_id) or (span.name if span is not None else f"nobody knows {span_id}")


def _sorted(spans: Iterable[Received], drawing: _Drawing) -> list[Received]:
    return sorted(spans, key=drawing.label)
