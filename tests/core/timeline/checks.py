"""What holds of every timeline, whatever run it is of."""

from __future__ import annotations

from coterie.timeline import Timeline
from coterie.timeline.sums import time_of_path

__all__ = ["checked"]


def checked(timeline: Timeline) -> Timeline:
    """The same.

    Raises:
        AssertionError: a span lies outside of its parent, an id is there twice, or the critical path has a hole.
    """
    _check_nesting(timeline)
    _check_path(timeline)
    return timeline


def _check_nesting(timeline: Timeline) -> None:
    now_us = timeline.now_us
    seen = {timeline.root.id: timeline.root}
    assert timeline.root.parent is None
    for span in timeline.spans[1:]:
        # Also that parents come first.
        parent = seen[str(span.parent)]
        assert span.id not in seen, span
        assert parent.begun_us <= span.begun_us <= span.until_us(now_us) <= parent.until_us(now_us), (span, parent)
        assert parent.ended_us is None or span.ended_us is not None, (span, parent)
        seen[span.id] = span


def _check_path(timeline: Timeline) -> None:
    critical = timeline.critical_path()
    known = {span.id: span for span in timeline.spans}
    cursor_us = timeline.root.begun_us
    for piece in critical.pieces:
        assert piece.begun_us == cursor_us < piece.ended_us, piece
        assert piece.span in known
        cursor_us = piece.ended_us
    assert cursor_us == timeline.root.until_us(timeline.now_us)
    assert sum(time_of_path(critical.pieces).values()) == timeline.length_us
    for name in critical.spans:
        parent = known[name].parent
        assert parent is None or parent in critical.spans, name
    assert all(spare_us >= 0 for spare_us in critical.slack.values())
