"""The metrics of `instruments`, made with the OpenTelemetry API: counted under labels that stay bounded."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from opentelemetry.metrics import CallbackOptions, Counter, Histogram, Meter, MeterProvider, Observation, get_meter

from coterie.telemetry.instruments import INSTRUMENTS, SECONDS, Instrument
from coterie.telemetry.labels import LabelSets

__all__ = ["Meters", "Reading", "hindrance"]

# What a gauge shows, by the values of its labels.
Reading: TypeAlias = Mapping[tuple[str, ...], float]


def _sum(one: float, other: float) -> float:
    return one + other


def hindrance(state: float) -> tuple[bool, float]:
    """Orders states of breakers, as the metric has them: those that keep calls away, or let few through, are last."""
    return 1 <= state < 4, state


def _worse(one: float, other: float) -> float:
    return max(one, other, key=hindrance)


# Of what no longer fits, what is worst counts, where numbers are no amounts.
_JOINED: Mapping[str, Callable[[float, float], float]] = {
    "coterie.agent.healthy": min,
    "coterie.breaker.state": _worse,
}


class Meters:
    """All instruments on one provider.

    read: by a gauge's name, what it shows now. Called while metrics are collected, in the collector's thread.
    """

    def __init__(self, provider: MeterProvider, read: Mapping[str, Callable[[], Reading]]) -> None:
        meter = get_meter("coterie", meter_provider=provider)
        self._sets = {name: LabelSets(each.labels) for name, each in INSTRUMENTS.items()}
        self._counters: dict[str, Counter] = {}
        self._histograms: dict[str, Histogram] = {}
        for name, each in INSTRUMENTS.items():
            match each.kind:
                case "counter":
                    self._counters[name] = meter.create_counter(name, each.unit, each.description)
                case "histogram":
                    self._histograms[name] = meter.create_histogram(name, each.unit, each.description, **_bounds(meter))
                case "gauge":
                    self._observe(meter, each, read[name])

    def add(self, name: str, *labels: str, amount: float = 1) -> None:
        """Count. labels: the values of the instrument's labels, in their order."""
        self._counters[name].add(amount, self._sets[name].of(labels))

    def record(self, name: str, *labels: str, value: float) -> None:
        """Note one value of a distribution."""
        self._histograms[name].record(value, self._sets[name].of(labels))

    def _observe(self, meter: Meter, instrument: Instrument, read: Callable[[], Reading]) -> None:
        sets, joined = self._sets[instrument.name], _JOINED.get(instrument.name, _sum)

        def observed(_: CallbackOptions) -> Iterable[Observation]:
            # What no longer fits becomes one: a gauge has one value for each set.
            sums: dict[tuple[str, ...], float] = {}
            for values, value in read().items():
                labels = tuple(sets.of(values).values())
                sums[labels] = joined(sums[labels], value) if labels in sums else value
            return [Observation(value, dict(zip(sets.names, labels, strict=True))) for labels, value in sums.items()]

        meter.create_observable_gauge(instrument.name, [observed], instrument.unit, instrument.description)


def _bounds(meter: Meter) -> dict[str, Any]:
    """Older versions of the API cannot be told of buckets; whoever collects has a view then."""
    name = "explicit_bucket_boundaries_advisory"
    return {name: SECONDS} if name in inspect.signature(meter.create_histogram).parameters else {}
