"""The route to whatever a URL names: one server, the primary that sentinels name, or the nodes of a cluster."""

from __future__ import annotations

from coterie.errors import Misuse
from coterie.stores.redis.address import Address
from coterie.stores.redis.cluster import ClusterRoute
from coterie.stores.redis.policy import RedisPolicy
from coterie.stores.redis.route import Inspector, Route, server_route
from coterie.stores.redis.sentinel import SentinelRoute

__all__ = ["check_driver", "open_route"]


def check_driver() -> None:
    """Do nothing where the driver is there.

    Raises:
        Misuse: it is not installed.
    """
    try:
        import hiredis  # noqa: F401
    except ImportError as error:
        raise Misuse("no driver for a Redis store is installed: pip install 'coterie[redis]'") from error


def open_route(address: Address, policy: RedisPolicy, *, inspector: Inspector | None = None) -> Route:
    """The route that an address asks for; it connects when first used."""
    if address.kind == "cluster":
        return ClusterRoute(address, policy, inspector=inspector)
    if address.kind == "sentinel":
        return SentinelRoute(address, policy, inspector=inspector)
    return server_route(address, policy, inspector=inspector)
