"""What is said beside the events, on standard error: what was passed over and why, and why there are none."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import suppress

from coterie._rules.log import TopicStatus
from coterie.cli.words import clipped, count_of
from coterie.errors import UntrustedEvent
from coterie.events import Event

__all__ = ["Notes", "none_of", "say"]

_LINE_CHARS = 600
_UNTRUSTED = UntrustedEvent.__name__


class Notes:
    """A bus's listener, for one who reads. at_once: say of the first that is passed over when it is, too."""

    def __init__(self, *, at_once: bool = False) -> None:
        self._at_once = at_once
        self._passed: Counter[bool] = Counter()
        self._firsts: dict[bool, str] = {}
        self._lost = 0

    def hear(self, event: Event) -> None:
        """Note it, if it is about what is read."""
        fields = event.fields
        if event.name == "events.lost":
            self._lost += int(fields["lost"])
        elif event.name == "events.unreadable":
            is_untrusted = fields["kind"] == _UNTRUSTED
            self._passed[is_untrusted] += 1
            if is_untrusted not in self._firsts:
                self._firsts[is_untrusted] = f"at {fields['position']}: {fields['error']}"
                if self._at_once:
                    say(f"passed over {self._firsts[is_untrusted]}; how many there are is said at the end")

    @property
    def are_none(self) -> bool:
        """Whether nothing is to be told."""
        return not self._passed and not self._lost

    def tell(self) -> None:
        """Say how many were passed over, in one line for each reason."""
        for is_untrusted, count in self._passed.items():
            why = "not signed as COTERIE_SIGNING_KEYS asks for" if is_untrusted else "no events"
            say(f"{count:,} passed over: {why}; the first {self._firsts[is_untrusted]}")
        if self._lost:
            say(f"{count_of(self._lost, 'event')} had been dropped by the retention before they were read")


def say(line: str) -> None:
    """One line; whoever read them may be gone: that ends nothing."""
    with suppress(OSError):
        sys.stderr.write(clipped(line, _LINE_CHARS) + "\n")
        sys.stderr.flush()


def none_of(status: TopicStatus | None, topic: str, url: str) -> str:
    """Why nothing was shown of a topic; status: None where there is no such topic."""
    if status is None or not status.messages:
        return f"no events of the topic {topic!r} in {url}"
    kept = count_of(status.messages, "event")
    return f"nothing of these types and times in the topic {topic!r} in {url}, which keeps {kept}"
