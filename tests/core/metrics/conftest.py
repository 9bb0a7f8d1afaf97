"""One fleet for all tests that look at real processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.core.metrics.desk import Fleet, fleet_at_work


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet_at_work(tmp_path_factory.mktemp("fleet")) as fleet:
        yield fleet
