"""On whose behalf work is done, and what is to become of what is finished."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from coterie._rules.journal import OnClear
from coterie.errors import Misuse

__all__ = ["Intent", "OnClear"]


@dataclass(frozen=True, slots=True)
class Intent:
    """What an engine's run asks of the journal.

    engine_run: names the engine's own run, the same in all its retries: `airflow.<dag>.<run>`, `prefect.<flow run>`.
    demand: how often a person has asked that run to be done again, such as Airflow's `clear_number`.
    on_clear: what a cleared task does whose success the engine has seen: run again, or replay.
    force: names a demand to do everything anew, whoever finished it; the same name twice is one demand.
    goes_on: whether what failed is tried again: a person resumed the run.
    allow_changes: whether the run may go on with another plan than it began with.
    strict: whether an agent whose steps differ from those in the journal fails with `Diverged`.
    """

    engine_run: str = "local"
    demand: int = 0
    on_clear: OnClear = "run"
    force: str | None = None
    goes_on: bool = False
    allow_changes: bool = False
    strict: bool = False

    def __post_init__(self) -> None:
        if self.on_clear not in get_args(OnClear):
            raise Misuse(f"on_clear is {self.on_clear!r}; choose one of {', '.join(get_args(OnClear))}")
