"""A team whose agents are told secrets, and tell them to whoever listens: logs, spans and errors, on purpose.

ASKED_AT: where its provider is. SPANS_FOLDER: where a process of its own writes its spans; there everything is logged,
too.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

from coterie import Command, HttpAgent, Plan, Retry, Task, TaskContext, Team
from tests.fleet.planted.secrets import BEARER, COMMANDS, STORE, TOKEN

FETCHES = str(Path(__file__).with_name("fetches.py"))
TYPES = ("asks", "refused", "fetches", "leaks")


async def leaks(task_input: dict[str, Any], ctx: TaskContext) -> None:
    """Say all it knows, then fail with the rest."""
    key, password = task_input["api_key"], os.environ["PROVIDER_PASSWORD"]
    store = os.environ.get("COTERIE_STORE", f"redis://fleet:{quote(STORE, safe='')}@cellar/0")
    ctx.logger.debug("calling with api_key=%s", key)
    logging.getLogger("library").debug("headers: {'Authorization': 'Bearer %s'}", BEARER)
    logging.getLogger("library").info("the store is %s", store)
    try:
        raise ValueError(f"{store} said no to {password}")
    except ValueError as error:
        error.add_note(f"Authorization: Bearer {BEARER}")
        raise RuntimeError(f"401: the key {key} is revoked; so are {password!r} and Bearer {BEARER}") from error


def team_at(provider: str) -> Team:
    """The agents themselves."""
    team = Team("told")
    token = quote(TOKEN, safe="")
    team.http("asks", HttpAgent(f"{provider}/ok?token={token}&page=2"))
    team.http("refused", HttpAgent(f"{provider}/no?code={token}"), retry=Retry(max_attempts=2, base_s=0.0))
    team.command("fetches", Command([sys.executable, FETCHES], env={"FETCH_TOKEN": COMMANDS}))
    team.agent("leaks", retry=Retry(max_attempts=2, base_s=0.0))(leaks)
    return team


plan = Plan(
    "loose",
    [
        Task("ask", "asks"),
        Task("refuse", "refused"),
        Task("fetch", "fetches"),
        Task("leak", "leaks", input={"api_key": {"$param": "api_key"}}),
    ],
    params={"api_key": ""},
)
told = team_at(os.environ.get("ASKED_AT", "http://127.0.0.1:1"))
afar = Team("afar")
for name in TYPES:
    afar.remote(name)


def record_spans(folder: Path) -> None:
    """Have this process write its spans there."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

    exporter = ConsoleSpanExporter(out=(folder / f"{os.getpid()}.json").open("a", encoding="utf-8"))
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)


if folder := os.environ.get("SPANS_FOLDER"):
    record_spans(Path(folder))
    logging.getLogger().setLevel(logging.DEBUG)
    logging.getLogger("coterie").setLevel(logging.DEBUG)
