"""The tests' own means: a clock that is set must be set, and only that one."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.fleet.faults.skewed import KEEPING, skewed_valkey
from tests.support.redis_servers import wait_until

pytestmark = pytest.mark.compiler


def test_the_clock_of_the_server_follows_the_skew_and_keeps_it_over_a_restart(tmp_path: Path):
    with skewed_valkey(tmp_path, arguments=KEEPING) as server, server.client() as client:

        def ahead_s() -> float:
            seconds, micros = client.eval("return redis.call('TIME')", 0)  # type: ignore[no-untyped-call]
            return int(seconds) + int(micros) / 1e6 - time.time()

        def follows(skew_s: float) -> bool:
            return abs(ahead_s() - skew_s) < 60

        assert follows(0)
        client.set("short", "lived", px=1_800_000)
        client.set("long", "lived", px=7_200_000)
        for skew_s in (3600.0, -3600.0):
            server.skew_s = skew_s
            # It looks at the clock once a turn of its loop.
            wait_until(lambda skew_s=skew_s: follows(skew_s), f"a clock that is {skew_s} s ahead")
            assert client.mget("short", "long") == [None, "lived"]
        server.restart()

        assert follows(-3600)
        assert client.get("long") == "lived"
