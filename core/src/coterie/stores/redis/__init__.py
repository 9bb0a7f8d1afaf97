"""States and runs of a fleet, in Redis 6.2 or newer or in Valkey: one server, under sentinels, or a cluster."""

from __future__ import annotations

from coterie.stores.redis.journal import RedisJournalStore, open_redis_journal
from coterie.stores.redis.policy import RedisJournalPolicy, RedisPolicy
from coterie.stores.redis.store import RedisStateStore, open_redis

__all__ = [
    "RedisJournalPolicy",
    "RedisJournalStore",
    "RedisPolicy",
    "RedisStateStore",
    "open_redis",
    "open_redis_journal",
]
