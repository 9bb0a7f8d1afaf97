"""The report of a code review: merged and ranked once, then told as JSON, Markdown, HTML and SARIF.

Everything here is pure: JSON values in, text or JSON values out. No clock, no store, no engine.
"""

from __future__ import annotations

from coterie.teams.code_review.report.document import build_report, canonical_bytes, digest
from coterie.teams.code_review.report.html import to_html
from coterie.teams.code_review.report.markdown import to_markdown
from coterie.teams.code_review.report.sarif import to_sarif
from coterie.teams.code_review.report.shape import Inputs, ItemRecord, Report, TaskRecord

__all__ = [
    "Inputs",
    "ItemRecord",
    "Report",
    "TaskRecord",
    "build_report",
    "canonical_bytes",
    "digest",
    "to_html",
    "to_markdown",
    "to_sarif",
]
