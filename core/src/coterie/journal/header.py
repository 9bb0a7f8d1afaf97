"""How a run began: the first text of its book."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from coterie._json import JsonValue
from coterie._rules.journal_text import FORMAT, dumped, parsed
from coterie._rules.written import Changed
from coterie.errors import Misuse, PlanChanged
from coterie.ids import WorkflowId
from coterie.journal.intent import Intent

__all__ = ["Header", "check_header", "read_header"]

_SCHEDULERS = ("airflow", "prefect")


@dataclass(frozen=True, slots=True)
class Header:
    """What is to be done, and who began it.

    plan_name, plan_hash: None for tasks that belong to no plan. document: the plan as `Plan.to_dict` gives it, inline
    or as a reference's JSON form, so that the run can be resumed without the code that made it; `canonical`: the same
    as text, of a header that is only written. team: the path that `Team.load` takes, where it is known. begun_at:
    seconds since the epoch. traceparent: the context, as W3C Trace Context has it, whose trace is the run's; None: the
    run's trace id follows from its name.
    """

    plan_name: str | None = None
    plan_hash: str | None = None
    params: Mapping[str, JsonValue] = field(default_factory=dict)
    document: JsonValue = None
    team: str | None = None
    engine_run: str = "local"
    begun_at: float = 0.0
    canonical: str | None = None
    traceparent: str | None = None

    @property
    def scheduler(self) -> str | None:
        """The scheduler that began it, and has its tasks done one by one; None: no scheduler did."""
        engine = self.engine_run.partition(".")[0]
        return engine if engine in _SCHEDULERS else None

    def text(self) -> str:
        """What is stored.

        Raises:
            Misuse: the parameters cannot be.
        """
        document: dict[str, Any] = {"v": FORMAT, "at": round(self.begun_at, 3), "by": self.engine_run}
        if self.plan_hash is not None:
            document["plan"] = {"name": self.plan_name, "hash": self.plan_hash}
        more = {"params": dict(self.params), "document": self.document, "team": self.team, "tp": self.traceparent}
        try:
            text = dumped(document | {name: value for name, value in more.items() if value})
        # A number of more digits than Python converts.
        except ValueError as error:
            raise Misuse(f"a run's parameters cannot be written down: {error}; give plain values") from error
        return text if self.canonical is None else f'{text[:-1]},"document":{self.canonical}}}'


def read_header(text: str) -> Header:
    """The header behind a text."""
    found = parsed(text, "run")
    plan = found.get("plan", {})
    return Header(
        plan.get("name"),
        plan.get("hash"),
        found.get("params", {}),
        found.get("document"),
        found.get("team"),
        found["by"],
        found["at"],
        traceparent=found.get("tp"),
    )


def check_header(
    texts: Mapping[str, str | None], now: int, *, run: WorkflowId, given: Header, intent: Intent
) -> Changed[Header]:
    """A decision: keep the first header; where the plan may change, the newest. The trace stays that of the first.

    Raises:
        PlanChanged: it may not.
    """
    del now
    text = texts["run"]
    if text is None:
        return Changed({"run": given.text()}, given)
    known = read_header(text)
    if given.plan_hash is None or known.plan_hash == given.plan_hash:
        return Changed({}, known)
    if known.plan_hash is not None and not intent.allow_changes:
        raise PlanChanged(run, begun_with=_named(known), given=_named(given))
    given = replace(given, traceparent=known.traceparent)
    return Changed({"run": given.text()}, given)


def _named(header: Header) -> str:
    return f"{header.plan_name!r} ({str(header.plan_hash)[:12]})"
