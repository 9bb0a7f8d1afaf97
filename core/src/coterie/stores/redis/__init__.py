"""States that a fleet shares, in Redis 6.2 or newer or in Valkey: one server, under sentinels, or a cluster."""

from __future__ import annotations

from coterie.stores.redis.policy import RedisPolicy
from coterie.stores.redis.store import RedisStateStore, open_redis

__all__ = ["RedisPolicy", "RedisStateStore", "open_redis"]
