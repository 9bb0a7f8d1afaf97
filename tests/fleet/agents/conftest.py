"""A provider that misbehaves on command, and a context as an agent is given it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from coterie import Task, TaskContext
from coterie.context import Run
from tests.support.stub_provider import StubProvider, serving


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is on this machine, whatever proxy the machine uses."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def provider() -> Iterator[StubProvider]:
    with serving() as running:
        yield running


@pytest.fixture
def ctx() -> TaskContext:
    return context_of({})


def context_of(task_input: dict[str, Any]) -> TaskContext:
    return TaskContext(Run("run-1"), Task("t", "x", input=task_input), task_input)
