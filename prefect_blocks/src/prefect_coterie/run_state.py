"""The state that a flow ends in whose run failed: its data stays JSON, and whoever calls the flow gets a typed error.

Prefect takes a failed state's data for the error, and raises a `TypeError` where it is none. In the process of the flow
this is asked instead; a state that is read from the server is Prefect's own.
"""

from __future__ import annotations

import inspect
from collections.abc import Coroutine, Mapping
from typing import Any, NoReturn

from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Failed

from coterie.errors import Final

__all__ = ["RunFailed", "cancelled", "failed"]


class RunFailed(Final):
    """The run of a plan or machine ended, and not well: raised by calls of a flow without `return_state=True`.

    data: the data of the flow run's state; None: not known.
    """

    def __init__(self, message: str, *, data: Mapping[str, Any] | None = None) -> None:
        self.data = data
        super().__init__(message)


def failed(data: Mapping[str, Any], message: str, *, name: str = "Failed") -> State[Any]:
    """A failed state with this data. data: JSON; its `workflow_id` and `status` go into the error."""
    return Failed(cls=_RunState, name=name, message=message, data=dict(data))


def cancelled(data: Mapping[str, Any], message: str) -> State[Any]:
    """As `failed`, of a run that was cancelled."""
    return Cancelled(cls=_RunState, message=message, data=dict(data))


class _RunState(State[Any]):
    # The arguments are Prefect's own, and so is that they may be positional.
    async def aresult(self, raise_on_failure: bool = True, retry_result_failure: bool = True) -> Any:  # noqa: FBT001, FBT002
        found = await super().aresult(raise_on_failure=False, retry_result_failure=retry_result_failure)
        return self._raised(found) if raise_on_failure else found

    def result(self, raise_on_failure: bool = True, retry_result_failure: bool = True, **how: Any) -> Any:  # noqa: FBT001, FBT002
        # A coroutine where an event loop runs.
        found: Any = super().result(raise_on_failure=False, retry_result_failure=retry_result_failure, **how)
        if not raise_on_failure:
            return found
        return self._raised_later(found) if inspect.iscoroutine(found) else self._raised(found)

    async def _raised_later(self, found: Coroutine[Any, Any, Any]) -> NoReturn:
        self._raised(await found)

    def _raised(self, found: object) -> NoReturn:
        if isinstance(found, BaseException):
            raise found
        data = found if isinstance(found, Mapping) else {}
        raise RunFailed(
            f"the run {data.get('workflow_id')!r} ended {data.get('status')}: {self.message}; "
            "with return_state=True the flow returns its state instead",
            data=data,
        )
