"""The report as one HTML page: no file beside it, nothing fetched, readable without scripts, printable.

A content security policy in the page allows exactly its own style sheet and its own script, by their hashes,
so that not even a hole in the escaping could run or load anything. The style sheet and the script are package
data in `assets/`.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from importlib import resources

from coterie.teams.code_review.report.document import digest
from coterie.teams.code_review.report.findings import findings_section
from coterie.teams.code_review.report.markup import esc
from coterie.teams.code_review.report.panels import panels_section
from coterie.teams.code_review.report.sections import (
    hotspots_section,
    made_section,
    masthead,
    missing_section,
    short_name,
)
from coterie.teams.code_review.report.shape import Report

__all__ = ["to_html"]


def to_html(report: Report) -> str:
    """Render `report`; the same report always gives the same page."""
    style, script = _asset("style.css"), _asset("filter.js")
    body = "".join(
        (
            masthead(report),
            "<main id=main>",
            missing_section(report),
            panels_section(report),
            hotspots_section(report),
            findings_section(report),
            made_section(report, digest(report)),
            "</main>",
        )
    )
    return (
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8>"
        f'<meta http-equiv=Content-Security-Policy content="{_policy(style, script)}">'
        '<meta name=viewport content="width=device-width, initial-scale=1">'
        '<meta name=color-scheme content="light dark"><meta name=referrer content=no-referrer>'
        f"<title>Code review of {esc(short_name(report))}</title>"
        f"<style>{style}</style></head>\n<body>"
        f"<a class=skip href=#findings>Skip to the findings</a>{body}<script>{script}</script></body></html>\n"
    )


def _policy(style: str, script: str) -> str:
    return (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@functools.cache
def _asset(name: str) -> str:
    return (resources.files(__package__) / "assets" / name).read_text(encoding="utf-8")
