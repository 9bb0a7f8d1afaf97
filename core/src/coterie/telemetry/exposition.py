"""This process's metrics as a page that Prometheus reads. Needs the extra `metrics`."""

from __future__ import annotations

import asyncio

from coterie.errors import Misuse
from coterie.telemetry.metrics import Metrics

__all__ = ["Exposition"]


class Exposition:
    """Metrics with a provider of their own, which nobody else's meters reach; close it when done.

    Raises:
        Misuse: the packages are not installed.
    """

    content_type = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self) -> None:
        try:
            from opentelemetry.exporter.prometheus import PrometheusMetricReader
            from opentelemetry.sdk.metrics import MeterProvider
            from prometheus_client import CollectorRegistry, ProcessCollector
        except ImportError as error:
            told = f"metrics need {error.name!r}, which is not installed; run: pip install 'coterie[metrics]'"
            raise Misuse(told) from error
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        reader = PrometheusMetricReader(disable_target_info=True, scope_info_enabled=False, registry=self._registry)
        self._provider = MeterProvider([reader], shutdown_on_exit=False)
        self.metrics = Metrics(self._provider)
        self._refreshing: asyncio.Task[None] | None = None

    async def page(self) -> bytes:
        """The metrics now, in Prometheus' text format."""
        from prometheus_client import generate_latest

        # Whoever asks at the same time is told the same: the store is asked once.
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.get_running_loop().create_task(self.metrics.refresh())
        await asyncio.shield(self._refreshing)
        return generate_latest(self._registry)

    def close(self) -> None:
        """Let go of what it holds."""
        self._provider.shutdown()
