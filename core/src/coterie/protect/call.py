"""One protected call, as the code that is called sees it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from coterie.errors import Misuse
from coterie.ids import AgentId, WorkflowId
from coterie.trail import Trail
from coterie.usage import Usage

__all__ = ["Call", "making", "this_call"]

_current: ContextVar[Call] = ContextVar("coterie_call")


class Call:
    """What a protected call was given, and what it reports.

    agent_id: which of the agents it is to use; of one that names none, the name of the `Protected`.
    token: grows with every call that is let through to the agent; hand it to services that refuse older ones.
    attempt: counts from 1.
    """

    def __init__(self, name: str, workflow_id: WorkflowId) -> None:
        self.task_id = name
        self.workflow_id = workflow_id
        self.attempt = 1
        self.agent_id: AgentId = ""
        self.token = 0
        self._used = Usage()
        # No journal has it, and no task.
        self.trail: Trail | None = None
        self._lock = threading.Lock()

    @property
    def usage(self) -> Usage:
        """What was reported so far: the sum over all attempts, the failed ones included."""
        return self._used

    def report_usage(
        self,
        usage: Usage | None = None,
        /,
        *,
        requests: int = 0,
        input_tokens: int = 0,
        output_tokens: int = 0,
        cost_micros: int = 0,
    ) -> None:
        """Add to what this call has used, as `TaskContext.report_usage` does. Any thread may call it.

        Budgets and token limits are settled by it; what reports nothing is charged its upper bound.

        Raises:
            Misuse: a number is negative, or not whole.
        """
        used = Usage(requests, input_tokens, output_tokens, cost_micros) + (usage or Usage())
        with self._lock:
            self._used += used

    def next_attempt(self) -> None:
        """Make ready for another attempt."""
        self.attempt += 1


def this_call() -> Call:
    """The protected call that the running code is part of: inside `Protected.call`, or a decorated function.

    Raises:
        Misuse: it is part of none.
    """
    try:
        return _current.get()
    except LookupError:
        raise Misuse("this code is not part of a protected call; run it by `protected.call`") from None


@contextmanager
def making(call: Call) -> Iterator[None]:
    """Be part of a call in this block."""
    token = _current.set(call)
    try:
        yield
    finally:
        _current.reset(token)
