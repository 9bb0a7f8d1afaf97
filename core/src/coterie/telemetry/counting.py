"""Counting without being asked, where the process has a meter provider, as spans are made where it has tracers."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from coterie.events import Event, Listener
from coterie.ids import AgentType, TaskState

if TYPE_CHECKING:
    from coterie.telemetry.metrics import Metrics
    from coterie.telemetry.watched import Desk

__all__ = ["count_run", "count_task", "counted", "hide", "show"]

_NOTE_EVERY_S = 1.0

_known: tuple[object, Metrics | None] = (None, None)


def counted(on_event: Listener | None) -> Listener | None:
    """A listener that counts in this process's metrics too; the one given, where nobody collects any.

    What breakers and pools say is noted as things happen, at most once a second.
    """
    metrics = _metrics_here()
    if metrics is None:
        return on_event
    noted_s = time.monotonic()

    def listen(event: Event) -> None:
        nonlocal noted_s
        try:
            metrics(event)
            if time.monotonic() - noted_s >= _NOTE_EVERY_S:
                noted_s = time.monotonic()
                metrics.note()
        finally:
            if on_event is not None:
                on_event(event)

    return listen


def show(desk: Desk) -> None:
    """Show its agents in this process's metrics, and count their calls, as long as it is there."""
    metrics = _metrics_here()
    if metrics is not None:
        metrics.watch(desk)


def hide(desk: Desk) -> None:
    """Show it no more in this process's metrics: it is closed, and may be there for long."""
    metrics = _metrics_here()
    if metrics is not None:
        metrics.unwatch(desk)


def count_run(status: str, took_s: float) -> None:
    """Count a run whose tasks were performed by other processes: once, by who concludes it."""
    metrics = _metrics_here()
    if metrics is not None:
        metrics.count_run(status, took_s)


def count_task(agent_type: AgentType, outcome: TaskState, took_s: float | None) -> None:
    """Count a foreach whose items were performed by other processes: once, by who gathers them."""
    metrics = _metrics_here()
    if metrics is not None:
        metrics.count_task(agent_type, outcome, took_s)


def _metrics_here() -> Metrics | None:
    """Metrics of the provider that is set; None where none is, or nobody collects what it counts."""
    global _known  # noqa: PLW0603  # one a process, as the provider is
    # Whoever collects has loaded the SDK; without it, not even its interface is.
    if "opentelemetry.sdk.metrics" not in sys.modules:
        return None
    from opentelemetry.metrics import get_meter_provider
    from opentelemetry.sdk.metrics import MeterProvider

    provider = get_meter_provider()
    if _known[0] is not provider:
        from coterie.telemetry.metrics import Metrics

        _known = provider, Metrics(provider) if isinstance(provider, MeterProvider) else None
    return _known[1]
