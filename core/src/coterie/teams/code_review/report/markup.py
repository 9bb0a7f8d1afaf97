"""Write text into HTML so that it stays text, whoever wrote it."""

from __future__ import annotations

import html

from coterie.teams.code_review.report.clean import visible
from coterie.teams.code_review.report.shape import Finding

__all__ = ["esc", "number", "path_html", "place_html", "rule_html"]


def esc(text: object) -> str:
    """`text` for an element's content or a quoted attribute; control characters are written out."""
    return html.escape(visible(str(text)), quote=True)


def number(value: float) -> str:
    """A number for people: thin groups of thousands, at most two decimals."""
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value):,}".replace(",", "\u202f")
    return f"{value:,.2f}".rstrip("0").replace(",", "\u202f")


def path_html(path: str) -> str:
    """A path that may break after each slash, its last part marked."""
    folder, slash, name = path.rpartition("/")
    return f"{esc(folder + slash).replace('/', '/<wbr>')}<b>{esc(name)}</b>"


def place_html(finding: Finding) -> str:
    """Where a finding is: path, line and column as far as they are known."""
    if finding["path"] is None:
        return "<i>whole tree</i>"
    spot = "".join(f":{finding[name]}" for name in ("line", "column") if finding[name] is not None)
    return f"<code>{path_html(finding['path'])}<span class=spot>{spot}</span></code>"


def rule_html(rule: str, help_uri: str | None) -> str:
    """A rule's name, linked to its explanation if there is one."""
    if help_uri is None:
        return f"<code>{esc(rule)}</code>"
    return f'<a href="{esc(help_uri)}" rel="noreferrer noopener"><code>{esc(rule)}</code></a>'
