"""The page that lists runs: plain HTML without a script, which quotes whatever a run is called."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Sequence
from html import escape
from typing import NamedTuple
from urllib.parse import quote

from coterie._rules.timeline import SECOND
from coterie.cli.fleet.times import clock_time, instant
from coterie.cli.runs.documents import money
from coterie.cli.trace.words import took
from coterie.cli.words import count_of
from coterie.journal.view import RunView
from coterie.usage import Usage

__all__ = ["Listed", "list_page", "list_policy"]

_STYLE = """
:root { color-scheme: light dark; --soft: #635e57; --line: #e2ddd3; --bad: #b3261e; --warn: #96590a; --live: #1f5fa8; }
@media (prefers-color-scheme: dark) {
  :root { --soft: #a9a49a; --line: #34363a; --bad: #f2887f; --warn: #e0a656; --live: #8ab8f0; }
}
body { max-width: 75rem; margin: 0 auto; padding: 1.5rem; font: 0.9375rem/1.45 system-ui, sans-serif; }
h1 { margin: 0; font: 600 1.75rem/1.2 ui-serif, Georgia, serif; }
p { margin: 0.5rem 0; color: var(--soft); overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { width: 100%; margin: 1rem 0; border-collapse: collapse; }
th { text-align: left; font-weight: 600; color: var(--soft); }
th, td { padding: 0.375rem 0.75rem 0.375rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td:first-child { min-width: 14rem; overflow-wrap: anywhere; }
td:nth-child(n + 4), th:nth-child(n + 4) { white-space: nowrap; font-variant-numeric: tabular-nums; }
td:nth-child(n + 5), th:nth-child(n + 5) { text-align: right; }
.failed, .lost, .interrupted { color: var(--bad); font-weight: 600; }
.partial, .cancelled { color: var(--warn); }
.running, .waiting, .open { color: var(--live); }
"""
_TITLES = ("run", "plan", "state", "began", "took", "cost")


class Listed(NamedTuple):
    """A run, and what it has used."""

    view: RunView
    usage: Usage


def list_policy() -> str:
    """The content security policy of the page: its own style, and nothing else."""
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def list_page(runs: Sequence[Listed], *, where: tuple[str, str], more: str | None, refresh_s: int | None) -> str:
    """The page. where: the journal's URL, and the namespace. more: the cursor behind the last, if there are more.

    refresh_s: after how many seconds it is loaded again; None: it is not.
    """
    url, namespace = where
    again = f"; a run goes on, so this is loaded again every {refresh_s} s" if refresh_s else ""
    rows = "\n".join(map(_row, runs))
    heads = "".join(f"<th scope=col>{title}</th>" for title in _TITLES)
    table = f"<div class=wide><table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table></div>"
    older = f'<p><a href="/?after={quote(more, safe="")}">Those that were begun before</a></p>' if more else ""
    return f"""<!doctype html>
<html lang=en>
<head>
<meta charset=utf-8>
<meta name=viewport content="width=device-width, initial-scale=1">
<title>Runs in {escape(namespace)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>Runs</h1>
<p>In {escape(url)}, namespace {escape(namespace)}; the one begun last first{again}.</p>
{table if runs else "<p>There are none here.</p>"}
{older}
</body>
</html>
"""


def _row(run: Listed) -> str:
    view, header = run.view, run.view.header
    link = f'<a href="/runs/{_quoted(view.workflow_id)}">{escape(view.workflow_id)}</a>'
    left = f", {count_of(view.saga.left, 'task')} not undone" if view.saga is not None and view.saga.left else ""
    state = f"<span class={view.state}>{view.state}</span>{escape(left)}"
    if view.state == "interrupted" and view.claim is None and header.scheduler is not None:
        # Between two of its tasks nobody is at it, and nothing is wrong.
        state = f"<span class=waiting>left to {escape(header.scheduler)}</span>{escape(left)}"
    cells = (link, escape(header.plan_name or ""), state, _began(view), _took(view), _cost(run.usage))
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _quoted(run: str) -> str:
    """A run's name in an address; one that ends like a document is not to be taken for that of another run."""
    name = quote(run, safe="")
    return f"{name.removesuffix('.json')}%2Ejson" if name.endswith(".json") else name


def _began(view: RunView) -> str:
    at_us = round(view.header.begun_at * SECOND)
    return f'<time datetime="{instant(at_us)}">{clock_time(at_us)}</time>' if at_us else "?"


def _took(view: RunView) -> str:
    begun_at = view.header.begun_at
    if not begun_at:
        return "?"
    ended_at = view.ended_at
    if view.state == "open":
        # Nobody is at it, and only its scheduler knows whether more is to come.
        ended_at = max((unit.ended_at for unit in view.units if unit.ended_at is not None), default=None)
    if ended_at is not None:
        return took(round((ended_at - begun_at) * SECOND))
    return f"{took(round((time.time() - begun_at) * SECOND))} so far"


def _cost(usage: Usage) -> str:
    return money(usage.cost_micros) if usage.cost_micros else ""
