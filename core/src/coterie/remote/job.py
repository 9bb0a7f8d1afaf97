"""One delivery of a call's message, while a worker is at it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from coterie._rules.log import Delivery
from coterie.remote.course import AtWork
from coterie.remote.outcome import Outcome
from coterie.remote.queue import Asking
from coterie.remote.taking import TypeQueue

__all__ = ["Job"]

Stop: TypeAlias = Literal["", "cancelled", "drained", "lost"]


@dataclass(eq=False, slots=True)
class Job:
    """One delivery at work.

    token: of its attempt, once it has begun. stop: why its agent is being ended, if it is. is_suspect: whether its call
    may have been cancelled just when it began. was_refused: whether nobody was called, since a policy said not now.
    course: what the call went through before, and goes through now.
    """

    queue: TypeQueue
    delivery: Delivery
    asking: Asking | None = None
    token: int = 0
    stop: Stop = ""
    is_suspect: bool = False
    was_refused: bool = False
    course: AtWork | None = None
    work: asyncio.Task[Outcome] | None = field(default=None, repr=False)

    @property
    def position(self) -> str:
        """Of its message."""
        return self.delivery.logged.position

    def end(self, why: Stop) -> None:
        """End its agent, for that reason; once: what it does to tidy up is left alone."""
        if self.stop:
            return
        self.stop = why
        if self.work is not None:
            self.work.cancel()
