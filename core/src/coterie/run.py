"""What all tasks of one run share."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from coterie._json import JsonValue
from coterie.ids import TaskId, WorkflowId
from coterie.result import TaskResult

if TYPE_CHECKING:
    from coterie.artifacts import ArtifactStore
    from coterie.bus import EventBus
    from coterie.journal.book import Book
    from coterie.remote.calls import RemoteCalls
    from coterie.telemetry.tracing import RunTrace

__all__ = ["Run"]


@dataclass(slots=True, eq=False)
class Run:
    """What all tasks of one run share. `results` holds those that have ended.

    waits: whether refusals are waited for here, or left to the caller. patience_s: how long at most, if not as long as
    the policies say. place: how the caller names its place in a pool's queue.
    book: where what was finished is kept, if anywhere. output_lines: what fingerprints take in of outputs, as far as
    they are known.
    correlation_id: of all events of the run; by default its workflow id. remote: gives the way to workers, bus: the
    bus that tasks publish to, where there are any. nonce: sets calls of workers apart from those of other runs of this
    id, where no journal says what is finished.
    now: seconds since the epoch. trace: the spans of it that this process makes, if anybody records them. traceparent:
    the context that fixed its trace, where one did. was_concluded: whether it had ended before, and is gone on with, as
    far as anybody records spans. is_noted_elsewhere: whether who waits for it in another process
    reads what it goes through.
    """

    workflow_id: WorkflowId
    namespace: str = "default"
    artifacts: ArtifactStore | None = None
    params: Mapping[str, JsonValue] = field(default_factory=dict)
    results: Mapping[TaskId, TaskResult] = field(default_factory=dict)
    epoch: int = 0
    waits: bool = True
    patience_s: float | None = None
    place: str | None = None
    book: Book | None = None
    output_lines: dict[TaskId, bytes] = field(default_factory=dict)
    correlation_id: str = ""
    remote: Callable[[], RemoteCalls] | None = None
    bus: Callable[[], EventBus] | None = None
    nonce: str = ""
    now: Callable[[], float] = time.time
    trace: RunTrace | None = None
    traceparent: str | None = None
    was_concluded: bool = False
    is_noted_elsewhere: bool = False

    def __post_init__(self) -> None:
        if not self.correlation_id:
            self.correlation_id = self.workflow_id

    @property
    def is_followed(self) -> bool:
        """Whether anybody reads what its tasks go through: a journal, or whoever records spans."""
        return self.book is not None or self.trace is not None or self.is_noted_elsewhere
