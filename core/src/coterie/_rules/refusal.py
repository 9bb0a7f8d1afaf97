"""How work was given up that nobody came to do: a text beside its record, for whoever looks at the run.

It is no end: nothing is replayed from it, and whoever asks next does the work. A coterie that does not know these texts
passes them over.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from coterie._rules.journal_text import Claim, Record, dumped, parsed
from coterie._rules.lap import Lap, laps_text
from coterie._rules.timeline import SECOND
from coterie.errors import StateFormatError

__all__ = ["KIND", "MOST_LAPS", "Refusal", "RefusalText", "refusal_text", "refused_path"]

KIND = "refused"
# Of all the times that it was given up, together.
MOST_LAPS = 100
# A record's instant is kept in whole milliseconds: it may lie after the begin of what came next.
_ROUNDED_US = 1_000


class Refusal(NamedTuple):
    """record: as if it had ended so. token: of the claim that it was given up under. whole: that was the run's.

    final: whether it failed of it; else it is its caller who waits.
    """

    record: Record
    token: int
    whole: bool
    final: bool

    @staticmethod
    def read(text: str, what: str) -> Refusal:
        """The refusal behind a text.

        Raises:
            StateFormatError: it is damaged, or a newer coterie wrote it.
        """
        record, found = Record.read(text, what), parsed(text, what)
        try:
            token, whole, final = found["c"]
            return Refusal(record, int(token), bool(whole), bool(final))
        except (KeyError, TypeError, ValueError) as error:
            raise StateFormatError(
                f"the journal's text {what!r} is not whole: {error!r}; look at it before it is used"
            ) from error

    def is_last_word(self, record: Record | None, held: Claim, whole: Claim) -> bool:
        """Whether nobody has begun the work since, or asked for it anew. record, held: the work's; whole: the run's."""
        if record is not None and record.at >= self.record.at:
            return False
        if max(held.epoch, whole.epoch if self.whole else 0) > self.record.epoch:
            return False
        return (not held.owner and whole.token == self.token) if self.whole else held.token == self.token

    def followed_by(self, record: Record) -> tuple[Lap, ...]:
        """The laps of a later end, after those that led to this refusal and the wait that it asked for.

        Only of work that is claimed by itself: whoever has the whole run waits in it, and begins nothing twice.
        """
        refused_us = round(self.record.at * SECOND)
        began_us = round((record.at - record.result.get("duration_s", 0.0)) * SECOND)
        began_us = min((lap.at_us for lap in record.laps), default=began_us)
        if self.whole or began_us < refused_us - _ROUNDED_US:
            return record.laps
        refused_us = min(refused_us, began_us)
        return (*self.record.laps, Lap("wait", refused_us, began_us - refused_us, {"for": "refusal"}), *record.laps)


class RefusalText(NamedTuple):
    """What is written, and where."""

    path: str
    text: str

    def after(self, before: str | None) -> str:
        """The text, which tells also what the work went through up to the refusal that it replaces.

        Of what cannot be read, nothing is taken over: it is the refusal that counts.
        """
        if before is None:
            return self.text
        try:
            earlier = Refusal.read(before, self.path)
        except StateFormatError:
            return self.text
        mine = Record.read(self.text, self.path)
        laps = earlier.followed_by(mine)
        if laps == mine.laps:
            return self.text
        kept = laps[-MOST_LAPS:]
        more = earlier.record.more + mine.more + len(laps) - len(kept)
        return dumped({**json.loads(self.text), "tl": laps_text(kept, more)})


def refused_path(name: str) -> str:
    """Where it lies. name: of the unit of work."""
    return f"{KIND}/{name}"


def refusal_text(name: str, refusal: Refusal) -> RefusalText:
    """What is stored. name: of the unit of work."""
    under = dumped([refusal.token, int(refusal.whole), int(refusal.final)])
    return RefusalText(refused_path(name), f'{refusal.record.text()[:-1]},"c":{under}}}')
