"""A run that Airflow, workers and Prefect share is one trace: each process sends its spans, each span is in its place.

It begins on Airflow; a worker is killed at `weigh`, which another one does again; Airflow's own process is killed at
`report`, so that its run fails; a flow of Prefect goes on with it, and ends it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from coterie.telemetry import names
from tests.support import traced
from tests.support.otlp import Received, Trace, receiver
from tests.support.traced_run import Ended, Parts
from tests.support.traced_tree import TREE, difference, drawn

pytestmark = [pytest.mark.airflow, pytest.mark.prefect]


@dataclass(frozen=True, slots=True)
class Seen:
    """What was sent, and what `coterie trace show` says."""

    ended: Ended
    spans: list[Received]
    counts: Counter[tuple[str, ...]]
    shown: dict[str, Any]

    @property
    def ours(self) -> list[Received]:
        return [span for span in self.spans if span.scope == names.SCOPE]

    @property
    def trace(self) -> Trace:
        found = (span for span in self.spans if span.trace_id == self.shown["run"]["trace_id"])
        return Trace(tuple(sorted(found, key=lambda span: span.began_ns)))

    @property
    def known(self) -> dict[str, str]:
        """Of Prefect's spans, which have traces of their own, and of those that nobody sent."""
        prefect = {span.span_id: f"prefect {span.attributes['prefect.run.type']}" for span in self.of("prefect")}
        lost = self.ended.lost
        works = {spans["work"]: f"lost {task}" for task, spans in lost.items()}
        return prefect | works | {spans["call"]: f"lost call of {task}" for task, spans in lost.items()}

    def counted(self, metric: str) -> dict[tuple[str, ...], float]:
        """What all processes together counted, by labels; what nobody did is left out."""
        return {each[1:]: amount for each, amount in self.counts.items() if each[0] == metric and amount}

    def of(self, scope: str) -> list[Received]:
        return [span for span in self.spans if span.scope == scope]


@pytest.fixture(scope="module")
def seen(airflow_python: Path, prefect_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    with receiver() as received:
        parts = Parts(tmp_path_factory.mktemp("traced"), received.endpoint, airflow_python, prefect_python)
        ended = parts.perform()
    return Seen(ended, received.spans, received.counts, json.loads(parts.shown(ended.run_id)))


def test_the_run_fails_on_airflow_and_succeeds_on_prefect(seen: Seen):
    assert (seen.ended.on_airflow, seen.ended.status) == ("failed", "succeeded")


def test_every_span_of_every_process_is_of_the_dag_run_s_trace(seen: Seen):
    dag_run = next(span for span in seen.spans if span.name == "dag_run.traced")

    assert {span.trace_id for span in seen.ours + seen.of(traced.LIBRARY)} == {dag_run.trace_id}
    assert {span.service for span in seen.ours} == {"airflow", "porter", "scale-1", "scale-2", "prefect"}


def test_every_span_is_in_its_place(seen: Seen):
    tree = drawn(seen.trace, library={"glass", "balance"}, known=seen.known)

    assert tree == TREE, difference(tree, TREE)


def test_each_span_is_sent_once_and_lies_in_one_that_was_sent(seen: Seen):
    ids = Counter(span.span_id for span in seen.trace.spans)
    orphans = {(span.service, span.name) for span in seen.trace.orphans()}

    assert [seen.trace.named(span.name) for span in seen.trace.spans if ids[span.span_id] > 1] == []
    # That of the killed worker's library; and Airflow makes no span of a task that its triggerer ended.
    assert orphans == {("scale-1", "balance"), ("airflow", "worker.weigh"), ("airflow", "trigger.weigh")}


def test_work_of_a_killed_process_is_told_by_the_one_that_did_it_again(seen: Seen):
    calls = [span for span in seen.trace.named("invoke_agent weigher") if span.kind == "internal"]
    reports = seen.trace.named("execute_task report")

    assert [span.service for span in calls] == ["scale-2"]
    assert [span.service for span in reports] == ["prefect"]


def test_every_piece_of_work_names_the_run(seen: Seen):
    works = [span for span in seen.ours if span.name.startswith(("execute_task", "invoke_workflow"))]

    assert {span.attributes[names.RUN_ID] for span in works} == {seen.ended.run_id}
    performed = [span for span in works if names.REPLAYED not in span.attributes and names.STATE in span.attributes]
    assert all(span.attributes[names.IDEMPOTENCY_KEY] for span in performed)


def test_work_that_two_processes_speak_of_has_one_key(seen: Seen):
    pairs = [
        (seen.trace.parent(call), each)
        for call in seen.ours
        if call.kind == "client"
        for each in seen.trace.under(call)
        if each.name.startswith("execute_task")
    ]

    assert len(pairs) == 4
    for caller, worker in pairs:
        assert caller is not None
        assert caller.service != worker.service == "porter"
        assert caller.attributes[names.IDEMPOTENCY_KEY] == worker.attributes[names.IDEMPOTENCY_KEY]


def test_the_error_of_an_attempt_is_told_where_it_happened(seen: Seen):
    (failed,) = [span for span in seen.ours if span.status == "error" and span.name.startswith("invoke_agent")]

    assert failed.message == "ValueError: the glass is fogged"
    assert [(event.name, dict(event.attributes)) for event in failed.events] == [
        ("exception", {"exception.type": "ValueError", "exception.message": "the glass is fogged"})
    ]


def test_what_workers_tell_of_the_run_is_in_its_trace_and_what_of_themselves_nowhere(seen: Seen):
    published = {(span.service, span.name) for span in seen.ours if span.name.startswith("publish")}

    assert {("airflow", "publish task.created"), ("scale-1", "publish task.assigned")} <= published
    assert not [name for _, name in published if name.startswith("publish agent.")]


def test_every_process_counts_what_it_performs_and_who_concludes_the_run_counts_that(seen: Seen):
    """Of killed processes nothing is counted: they never sent it."""
    calls, runs = seen.counted("coterie.agent.calls"), seen.counted("coterie.run.completed")

    assert runs == {("failed",): 1, ("succeeded",): 1}
    assert calls == {
        ("lister", "succeeded"): 1,
        ("looker", "succeeded"): 3,
        ("looker", "failed"): 1,
        ("weigher", "succeeded"): 1,
        ("reporter", "succeeded"): 1,
        ("sender", "succeeded"): 1,
    }


def test_what_befell_an_item_and_how_its_foreach_ended_is_counted_under_its_type(seen: Seen):
    completed = seen.counted("coterie.task.completed")

    assert seen.counted("coterie.task.retries") == {("looker",): 1}
    # Three items, each by a worker, and the foreach, by who gathered it: Airflow, and the flow that went on.
    assert completed["looker", "succeeded"] == 3 + 2
    assert [labels for labels in seen.counts if "unknown" in labels] == []


def test_coterie_trace_show_says_the_same(seen: Seen):
    shown = seen.shown
    tasks = {span["name"]: span for span in shown["spans"] if span["kind"] == "task"}
    works = {
        span.attributes[names.TASK_ID]: span
        for span in seen.ours
        if span.name.startswith("execute_task") and names.ATTEMPTS in span.attributes
    }

    assert (shown["run"]["state"], shown["run"]["id"]) == (seen.ended.status, seen.ended.run_id)
    assert set(tasks) == set(works)
    for task in ("list", "weigh", "report", "send"):
        assert tasks[task]["facts"]["attempts"] == works[task].attributes[names.ATTEMPTS]
    items = [span["facts"]["attempts"] for span in shown["spans"] if span["kind"] == "item"]
    assert sorted(items) == [1, 1, 2]
    assert workers_shown(shown) == {"look": {"porter"}, "weigh": {"scale-1", "scale-2"}, "send": {"porter"}}


def workers_shown(shown: dict[str, Any]) -> dict[str, set[str]]:
    """Who performed each task, as far as workers did."""
    found: dict[str, set[str]] = {}
    for span in shown["spans"]:
        if "worker" in span.get("facts", {}):
            found.setdefault(span["id"].split("/")[1].split("!")[0], set()).add(span["facts"]["worker"])
    return found
