"""What is said beside a row: codes of the journal are words for people."""

from __future__ import annotations

import pytest

from coterie.cli.trace.notes import note_of
from coterie.timeline import Span
from coterie.timeline.span import Fact

CALL = f"call.{'de0416c3' * 5}.1"


@pytest.mark.parametrize(
    ("kind", "facts", "said"),
    [
        ("claim", {"why": "first"}, ""),
        (
            "claim",
            {"after": CALL, "why": "unfinished"},
            "taken over from call.de0416c3….1; begun before, and not finished",
        ),
        ("queue", {"priority": 0, "place": "local"}, "for a slot of its process"),
        ("wait", {"for": "refusal"}, "until it may be better"),
        ("step", {"name": "look", "replayed": False}, ""),
        ("step", {"name": "look", "replayed": True}, "replayed"),
        ("write", {"bytes": 20480}, "20,480 bytes"),
        ("refused", {"by": "breaker:writer", "retry_after_s": 30.0}, "breaker:writer"),
        ("of a newer coterie", {"what": "nobody knows"}, ""),
    ],
)
def test_the_facts_of_a_lap_are_told_in_words(kind: str, facts: dict[str, Fact], said: str):
    assert note_of(Span("task/a!0", "task/a", kind, kind, 0, 1, facts=facts)) == said
