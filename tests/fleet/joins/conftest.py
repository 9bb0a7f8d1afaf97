"""Fixtures of the joins' tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from coterie import sync
from coterie.policies import Policies
from coterie.protect import Protected


class Protect(Protocol):
    def __call__(self, policies: Policies | None = None, **settings: Any) -> Protected: ...


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    return f"sqlite://{tmp_path / 'state.db'}"


@pytest.fixture
def protect() -> Iterator[Protect]:
    """Makes `Protected` objects, and closes them."""
    made: list[Protected] = []

    def protect(policies: Policies | None = None, **settings: Any) -> Protected:
        settings = {"name": "svc", "store": "memory://", **settings}
        made.append(Protected(settings.pop("name"), policies or Policies(max_wait_s=0), **settings))
        return made[-1]

    yield protect
    for each in made:
        sync.run(each.home.aclose())
