"""coterie as a subject of `points`: recorded is what its journal has, and what it has acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from coterie.ids import item_keys
from coterie.journal.place import place_of, unit_name
from coterie.stores.opening import open_journal_store
from tests.journal.crash.layered import STEPS, layered_plan, units_of
from tests.journal.crash.victim import NAMESPACE

__all__ = ["VICTIM", "Coterie"]

VICTIM = "tests.journal.crash.victim:main"


class Coterie:
    """journal: the URL of its store. revive: starts what was killed beside a process."""

    def __init__(
        self, journal: str, folder: Path, *, size: int, engine: str = "whole", revive: Callable[[], None] | None = None
    ) -> None:
        self._journal = journal
        self._folder = folder
        self._size = size
        self._engine = engine
        self._revive = revive
        self._plan = layered_plan(size)

    def settings(self, run: str) -> dict[str, Any]:
        # Of its own: what lies there already is not written again.
        artifacts = f"file://{self._folder}/artifacts/{run}"
        more = {"artifacts": artifacts, "acknowledged": str(self._acknowledged(run))}
        return {"journal": self._journal, "size": self._size, "engine": self._engine, **more}

    def recorded(self, run: str) -> set[str]:
        acknowledged = self._acknowledged(run)
        told = acknowledged.read_text().split("\n")[:-1] if acknowledged.exists() else []
        return asyncio.run(self._recorded(run)) | set(told)

    def revive(self) -> None:
        if self._revive is not None:
            self._revive()

    def _acknowledged(self, run: str) -> Path:
        return self._folder / f"acknowledged-{run}"

    async def _recorded(self, run: str) -> set[str]:
        store = open_journal_store(self._journal, NAMESPACE)
        found: set[str] = set()
        try:
            texts = await store.read(run)
            for task_id, units in units_of(self._plan).items():
                if place_of(task_id).record in texts:
                    found.update(units)
                elif "/" in units[0]:
                    steps = await store.read(run, unit_name(task_id))
                    found.update(f"{task_id}/{step}" for step in STEPS if step in steps)
                elif "[" in units[0]:
                    found.update(unit for unit, place in _items(task_id, units) if place in texts)
        finally:
            await store.aclose()
        return found


def _items(task_id: str, units: list[str]) -> list[tuple[str, str]]:
    keys = item_keys(list(range(len(units))))
    return [(unit, place_of(task_id, key).record) for unit, key in zip(units, keys, strict=True)]
