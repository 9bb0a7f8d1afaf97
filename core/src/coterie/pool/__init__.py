"""Resource pools: slots of agents that all processes share, leased one at a time, in a fair order."""

from __future__ import annotations

from coterie._rules.aimd import Aimd
from coterie.pool.resource import Assignment, Lease, PooledAgent, PoolPolicy, PoolStatus, ResourcePool

__all__ = ["Aimd", "Assignment", "Lease", "PoolPolicy", "PoolStatus", "PooledAgent", "ResourcePool"]
