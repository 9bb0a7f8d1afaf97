"""Carry events between a bus and the Prefect server, both ways, as long as it is wanted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from coterie.errors import Misuse
from coterie.ids import check_name
from prefect_coterie.bridge.inbound import Inbound
from prefect_coterie.bridge.outbound import Outbound
from prefect_coterie.bridge.server import Confirm

if TYPE_CHECKING:
    from coterie.bus import EventBus

__all__ = ["EventBridge"]

_log = logging.getLogger("coterie.bridge")


class EventBridge:
    """Forwards chosen events of a bus to Prefect, for automations to react to, and chosen ones of Prefect to the bus.

    bus: stays its owner's, who closes it.
    to_prefect: patterns of types, such as `task.failed` or `com.example.*`. from_prefect: patterns of names, such as
        `prefect.flow-run.*`. What came over a bridge is not sent back.
    name: bridges of one name go on where the last one was, and forward the same; by default one for each direction,
        topic and patterns. At most one of a name at a time should run that has `from_prefect`.
    begin: where the first one of that name begins on the bus: with what is there ("begin"), or with what comes ("end").
    confirm: as of `Handover`: when an event of the bus counts as delivered.

    At least once: an event is acknowledged once the other side has it. One that is sent again has the same id there, by
    which both sides know it: the bus within its retention's `dedup_s`, Prefect for as long as it keeps events.

    Raises:
        Misuse: there is nothing to forward, or the name, or a pattern, is none.
    """

    def __init__(
        self,
        bus: EventBus,
        *,
        to_prefect: Sequence[str] = (),
        from_prefect: Sequence[str] = (),
        name: str | None = None,
        begin: str = "end",
        confirm: Confirm = "accepted",
    ) -> None:
        if name is not None:
            check_name(name, "the name of a bridge")
        if isinstance(to_prefect, str) or isinstance(from_prefect, str) or not (to_prefect or from_prefect):
            raise Misuse(
                f"a bridge has to_prefect={to_prefect!r} and from_prefect={from_prefect!r}; give lists of "
                "patterns, such as to_prefect=['task.failed']"
            )
        self._out = Outbound(bus, to_prefect, name=name, begin=begin, confirm=confirm) if to_prefect else None
        self._in = Inbound(bus, from_prefect, name=name) if from_prefect else None

    async def run(self) -> None:
        """Forward until cancelled.

        While the store or the Prefect server is away, it waits and tries again.

        Raises:
            Misuse: the bus cannot be used like that, or a bridge of this name runs that forwards other events of it.
            NoAccess: the server does not let this process in.
        """
        work = [asyncio.ensure_future(side.run()) for side in (self._out, self._in) if side is not None]
        starting = asyncio.ensure_future(self.ready())
        starting.add_done_callback(partial(_tell_ready, self.names))
        try:
            await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in (starting, *work):
                one.cancel()
            await asyncio.wait([starting, *work])
        for one in work:
            if not one.cancelled() and (error := one.exception()) is not None:
                raise _innermost(error)

    @property
    def names(self) -> tuple[str, ...]:
        """What it is called to Prefect, and from there, as far as it goes: `bridge-<name>` is its group on the bus."""
        return tuple(side.name for side in (self._out, self._in) if side is not None)

    async def ready(self) -> None:
        """Return once nothing is missed that happens from then on."""
        await asyncio.gather(*(side.ready.wait() for side in (self._out, self._in) if side is not None))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Forward as long as the block lasts; it is entered once nothing is missed that happens from then on.

        Raises:
            Misuse, NoAccess: as `run`, where the block begins or ends.
        """
        work = asyncio.create_task(self.run())
        starting = asyncio.create_task(self.ready())
        try:
            await asyncio.wait([work, starting], return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
            yield
            if work.done():
                work.result()
        finally:
            starting.cancel()
            work.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(work, starting, return_exceptions=True)


def _tell_ready(names: Sequence[str], starting: asyncio.Future[None]) -> None:
    if not starting.cancelled():
        _log.info("bridge.ready: %s", ", ".join(dict.fromkeys(names)))


def _innermost(error: BaseException) -> BaseException:
    """What went wrong, without the groups around it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
