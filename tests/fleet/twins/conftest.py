"""One Valkey for all differential tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fleet.twins.harness import ScriptRunner
from tests.support.redis_servers import valkey


@pytest.fixture(scope="session")
def runner() -> Iterator[ScriptRunner]:
    with valkey() as server, ScriptRunner(server) as running:
        yield running
