"""The page on logs names every logger that there is, and every field of a line."""

from __future__ import annotations

import ast
import json
import logging
import re

from coterie.telemetry.log_lines import JsonFormatter
from tests.docs.markdown import REPOSITORY, pages

PAGE = next(page for page in pages() if page.name == "docs/reference/logs.md")
NAME = re.compile(r"`([^`]+)`")
SOURCES = ["core/src", "airflow_provider/src", "prefect_blocks/src"]


def first_column(title: str) -> set[str]:
    (table,) = [table for table in PAGE.tables() if table[0][0] == title]
    return {name for row in table[1:] for name in NAME.findall(row[0])}


def test_every_logger_is_named():
    made = {
        name
        for folder in SOURCES
        for path in (REPOSITORY / folder).rglob("*.py")
        for name in re.findall(r"(?:getLogger|guarded|LogRecord)\(\s*\"(coterie\.[a-z_]+)\"", path.read_text("utf-8"))
    }

    assert first_column("logger") == made


LEVELS = {"warning", "error", "exception", "critical"}
# Made of parts where they are logged.
COMPOSED = {
    *("breaker.opened", "breaker.closed", "breaker.forced", "state.store_failed"),
    *("limiter.not_settled", "limiter.not_given_back"),
    *("events.store_failed", "events.lost", "events.dead", "events.expelled", "events.unreadable"),
    *("worker.store_away", "worker.store_back", "worker.not_heard", "worker.heard_again"),
    *("call.store_away", "call.store_back", "journal.store_away", "journal.store_back"),
}


def warnings_logged() -> set[str]:
    """The names that stand first in what is logged as wrong, as far as they are written out there."""
    trees = [ast.parse(path.read_text("utf-8")) for folder in SOURCES for path in (REPOSITORY / folder).rglob("*.py")]
    said = [
        node.args[0].value
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in LEVELS
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
    ]
    named = [re.match(r"[a-z]+\.[a-z_]+(?=[ :]|$)", text) for text in said]
    return {found[0] for found in named if found}


def test_every_warning_is_told_and_what_to_do():
    listed = {
        name for table in PAGE.tables() if table[0][0] == "event" for row in table[1:] for name in NAME.findall(row[0])
    }
    logged = warnings_logged()

    assert len(logged) > 60
    assert logged - listed == set()
    assert listed - logged - COMPOSED == set()


def test_every_field_of_a_line_is_named():
    record = logging.makeLogRecord({"name": "coterie.task", "msg": "task.x y", "levelno": 30, "levelname": "WARNING"})
    record.exc_info = (ValueError, ValueError("x"), None)
    record.note = "x"
    given = {"run", "task", "item", "attempt", "agent", "correlation_id", "trace_id", "span_id"}

    assert first_column("field") == set(json.loads(JsonFormatter().format(record))) | given
