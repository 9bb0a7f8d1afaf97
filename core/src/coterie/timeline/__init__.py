"""Where the time of a run went: a tree of spans, built from its journal alone."""

from coterie.timeline.critical import critical_path
from coterie.timeline.document import document_of
from coterie.timeline.span import Span
from coterie.timeline.tree import Timeline, timeline_of

__all__ = ["Span", "Timeline", "critical_path", "document_of", "timeline_of"]
