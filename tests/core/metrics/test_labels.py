"""Label sets stay bounded, whatever names come."""

from __future__ import annotations

from math import prod

from hypothesis import given, settings
from hypothesis import strategies as st

from coterie.events import Event
from coterie.telemetry.instruments import CLOSED, INSTRUMENTS
from coterie.telemetry.labels import MOST_SETS, OTHER, LabelSets
from tests.core.metrics.collected import Collected

LABELLED = st.sampled_from([each for each in INSTRUMENTS.values() if each.labels])
TEXT = st.text(max_size=300) | st.sampled_from([value for values in CLOSED.values() for value in values])


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_no_metric_gets_more_label_sets_than_the_bound_and_none_is_refused(data: st.DataObject):
    instrument = data.draw(LABELLED)
    sets = LabelSets(instrument.labels)
    ranges = [st.integers(0, 400).map(str) | TEXT for _ in instrument.labels]
    given_sets = data.draw(st.lists(st.tuples(*ranges), max_size=60))
    # And a flood, of which every name is new.
    flood = [tuple(f"{n}-{position}" for position, _ in enumerate(instrument.labels)) for n in range(500)]

    found = [sets.of(values) for values in [*given_sets, *flood]]

    assert len({tuple(labels.values()) for labels in found}) <= MOST_SETS
    assert all(tuple(labels) == instrument.labels for labels in found)
    for labels, values in zip(found, [*given_sets, *flood], strict=True):
        for (name, shown), value in zip(labels.items(), values, strict=True):
            closed = CLOSED.get(name)
            assert shown in {value[:128], OTHER} if closed is None else shown == (value if value in closed else OTHER)


@given(LABELLED, st.permutations(range(60)))
@settings(max_examples=50, deadline=None)
def test_names_that_had_room_once_keep_their_own_set(instrument, order):
    sets = LabelSets(instrument.labels)
    values = [tuple(CLOSED[name][0] if name in CLOSED else f"{n}" for name in instrument.labels) for n in range(60)]

    first = [sets.of(each) for each in values]
    for n in range(1000):
        sets.of(tuple(f"flood-{n}" for _ in instrument.labels))
    again = {n: sets.of(values[n]) for n in order}

    assert [again[n] for n in range(60)] == first


def test_every_metric_has_room_for_a_hundred_names_beside_its_fixed_values():
    for each in INSTRUMENTS.values():
        fixed = prod(len(CLOSED[name]) + 1 for name in each.labels if name in CLOSED)
        assert MOST_SETS - fixed >= 100, each.name


def test_a_flood_of_names_is_counted_whole_under_other():
    collected = Collected()

    for n in range(1000):
        collected.metrics(Event("task.started", f"run{n}", "t", {"agent_type": f"type{n}"}))
        fields = {"state": "succeeded", "attempt": 1, "duration_s": 0.5}
        collected.metrics(Event("task.finished", f"run{n}", "t", fields))
        collected.metrics(Event("breaker.opened", fields={"breaker": f"b{n}", "state": "open"}))
        collected.metrics(Event("events.lost", fields={"topic": f"topic{n}", "lost": 1}))

    for name in (
        "coterie.task.completed",
        "coterie.task.duration",
        "coterie.breaker.transitions",
        "coterie.events.lost",
    ):
        points = collected.points(name)
        assert len(points) <= MOST_SETS
        assert sum(points.values()) == 1000
        assert sum(count for labels, count in points.items() if OTHER in labels) > 700
    assert collected.most_sets() <= MOST_SETS
