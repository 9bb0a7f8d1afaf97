"""`coterie` on one store of events, and what it wrote."""

from __future__ import annotations

import json
from typing import Any

import pytest

from coterie import sync
from coterie.cli.app import run
from coterie.sync_bus import EventBus

__all__ = ["Command", "give_up"]


class Command:
    """Runs it on one store, and reads what it wrote."""

    def __init__(self, capsys: pytest.CaptureFixture[str], url: str, namespace: str) -> None:
        self._capsys = capsys
        self.place = ["--store", url, "--namespace", namespace]

    def __call__(self, *words: str, code: int = 0) -> str:
        assert run([*words, *self.place]) == code
        told = self._capsys.readouterr()
        return told.err if code else told.out

    def aside(self, *words: str) -> str:
        """What it says on standard error beside what it shows."""
        assert run([*words, *self.place]) == 0
        return self._capsys.readouterr().err

    def json(self, *words: str) -> Any:
        return json.loads(self(*words, "--json"))


def give_up(events: EventBus, count: int = 1, group: str = "billing") -> None:
    async def reject() -> None:
        async with events._wrapped.subscribe(group=group, begin="begin") as some:
            for _ in range(count):
                await (await anext(some)).reject("no such \x1b[31mcustomer")

    sync.run(reject())
