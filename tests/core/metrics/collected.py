"""Metrics of this process, collected where a test can read them."""

from __future__ import annotations

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader

from coterie.telemetry.metrics import Metrics

__all__ = ["Collected"]


class Collected:
    """`metrics`, and what they show."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self.provider = MeterProvider([self._reader], shutdown_on_exit=False)
        self.metrics = Metrics(self.provider)

    def points(self, name: str) -> dict[tuple[str, ...], float]:
        """The values of a metric by those of its labels, in the order of their names; of a histogram, how many."""
        return {
            tuple(str(point.attributes[key]) for key in sorted(point.attributes or {})): (
                point.count if isinstance(point, HistogramDataPoint) else point.value
            )
            for point in self._all().get(name, ())
        }

    def sums(self, name: str) -> dict[tuple[str, ...], float]:
        """Of a histogram, the sums."""
        return {tuple((point.attributes or {}).values()): point.sum for point in self._all().get(name, ())}

    def moved(self) -> set[str]:
        """The names of the metrics of which any value is not 0."""
        return {name for name in self._all() if any(self.points(name).values())}

    def texts(self) -> set[str]:
        """Every value of every label."""
        every = [point for points in self._all().values() for point in points]
        return {str(value) for point in every for value in (point.attributes or {}).values()}

    def most_sets(self) -> int:
        """The most label sets that one of the metrics has."""
        return max(map(len, self._all().values()))

    def _all(self) -> dict[str, list]:
        found = self._reader.get_metrics_data()
        return {
            metric.name: list(metric.data.data_points)
            for resource in (found.resource_metrics if found else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }
