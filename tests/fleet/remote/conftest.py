"""Fleets for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from coterie.artifacts import ArtifactStore
from tests.fleet.remote.fleet import Fleet
from tests.support.spans import spans

__all__ = ["spans"]


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    fleet = Fleet()
    async with fleet.held:
        yield fleet


@pytest.fixture
async def stored_fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    """With an artifact store."""
    fleet = Fleet(artifacts=ArtifactStore(f"file://{tmp_path}", namespace="default"))
    async with fleet.held:
        yield fleet
