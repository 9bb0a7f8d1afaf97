"""Circuit breakers: stop calling what fails, for this process or the whole fleet, and try it again with a few calls."""

from __future__ import annotations

from coterie.breaker.circuit import BreakerPolicy, BreakerStatus, CircuitBreaker, Classifier, Guard, Pace

__all__ = ["BreakerPolicy", "BreakerStatus", "CircuitBreaker", "Classifier", "Guard", "Pace"]
