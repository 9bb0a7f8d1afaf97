"""What texts are, alike in every store: names that people are shown, and numbers that stand for places."""

from __future__ import annotations

import re

__all__ = ["NUMBER", "shown_name"]

# Of what is numbered from 1.
NUMBER = re.compile(r"[1-9][0-9]{0,17}\Z")


def shown_name(most_chars: int) -> re.Pattern[str]:
    """What matches names that people are shown, of 1 to so many characters.

    Control characters would end lines where names are shown; half characters cannot be stored.
    """
    return re.compile(rf"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{{1,{most_chars}}}\Z")
