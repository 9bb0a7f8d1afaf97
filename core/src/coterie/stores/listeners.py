"""Who listens on which channel of one store, in its event loop."""

from __future__ import annotations

import asyncio
from functools import partial

from coterie.ports import Notice

__all__ = ["Listeners"]


class Listeners:
    """Notices by channel. All calls are made in the event loop that the notices belong to."""

    def __init__(self) -> None:
        self._notices: dict[str, dict[Notice, None]] = {}

    def __contains__(self, channel: object) -> bool:
        return channel in self._notices

    def channels(self) -> list[str]:
        """All channels that somebody listens on."""
        return list(self._notices)

    def add(self, channel: str, notice: Notice) -> bool:
        """Have `notice` told; once, however often it is added. Answers whether it is the channel's first."""
        first = channel not in self._notices
        self._notices.setdefault(channel, {})[notice] = None
        return first

    def remove(self, channel: str, notice: Notice) -> bool:
        """Stop telling `notice`. Answers whether it was the channel's last."""
        notices = self._notices.get(channel)
        if notices is None or notice not in notices:
            return False
        del notices[notice]
        if notices:
            return False
        del self._notices[channel]
        return True

    def clear(self) -> None:
        """Tell nobody any more."""
        self._notices.clear()

    def tell(self, channel: str, message: str | None) -> None:
        """Call all who listen on the channel. What a notice raises goes to the loop's handler, and stops nobody."""
        for notice in tuple(self._notices.get(channel, ())):
            # An earlier one may have unsubscribed it.
            if notice in self._notices.get(channel, ()):
                _call(notice, message)

    def tell_soon(self, channel: str, message: str) -> None:
        """The same from the running event loop, never inside of the call that told."""
        if channel in self._notices:
            asyncio.get_running_loop().call_soon(partial(self.tell, channel, message))

    def tell_all_of_a_loss(self) -> None:
        """Messages may have been missed: all must look at the state again."""
        for channel in self.channels():
            self.tell(channel, None)


def _call(notice: Notice, message: str | None) -> None:
    try:
        notice(message)
    # A notice belongs to somebody else: the loop's exception handler hears of what it raises.
    except Exception as error:  # noqa: BLE001
        asyncio.get_running_loop().call_exception_handler(
            {"message": f"a notice raised {error!r}; it was given to a state store's subscribe()", "exception": error}
        )
