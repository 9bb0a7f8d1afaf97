"""Protect any code as tasks are protected: breaker, pool, limits, budgets, retries; without a plan or a task."""

from __future__ import annotations

from coterie.protect.blocking import BlockingProtected
from coterie.protect.call import Call, this_call
from coterie.protect.protected import Protected

__all__ = ["BlockingProtected", "Call", "Protected", "this_call"]
