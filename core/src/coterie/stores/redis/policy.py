"""How long a Redis store waits for what."""

from __future__ import annotations

import math
from dataclasses import dataclass

from coterie.errors import PolicyError

__all__ = ["RedisJournalPolicy", "RedisPolicy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisPolicy:
    """Deadlines, in seconds.

    connect_timeout_s: to find a server, connect and log in, all together.
    op_timeout_s: for the answer to one command. A server that owes one for longer loses the connection.
    update_timeout_s: for one update that others keep crossing, all its tries together.
    ping_every_s: how often a silent subscription is checked.
    close_timeout_s: to end connections in good order; then they are cut.
    """

    connect_timeout_s: float = 5.0
    op_timeout_s: float = 5.0
    update_timeout_s: float = 15.0
    ping_every_s: float = 5.0
    close_timeout_s: float = 1.0

    def __post_init__(self) -> None:
        for name in RedisPolicy.__slots__:
            _check_time(name, getattr(self, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisJournalPolicy(RedisPolicy):
    """What a journal waits for besides, where it is strict.

    durable_timeout_s: for what was written to be on disk. A server that syncs every second takes up to two.
    replicas: how many replicas must have it on disk as well. With 0, a failover may lose what was acknowledged last.
    """

    durable_timeout_s: float = 10.0
    replicas: int = 0

    def __post_init__(self) -> None:
        RedisPolicy.__post_init__(self)
        _check_time("durable_timeout_s", self.durable_timeout_s)
        if isinstance(self.replicas, bool) or not isinstance(self.replicas, int) or self.replicas < 0:
            raise PolicyError(f"replicas={self.replicas!r} is no number of replicas; give 0 or more")


def _check_time(name: str, value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise PolicyError(f"{name}={value!r} is no time to wait; give seconds > 0")
