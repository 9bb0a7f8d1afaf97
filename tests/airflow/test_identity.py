"""The run's identity, from Airflow's own."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from airflow_provider_coterie.identity import cleared_after, identity_of, unit_name
from coterie.errors import Misuse


def context(run_id="manual__2026-01-01T00:00:00+00:00", *, dag_id="review", conf=None, clear_number=0):
    return {"dag_run": SimpleNamespace(dag_id=dag_id, run_id=run_id, conf=conf, clear_number=clear_number)}


def test_it_is_made_of_the_dag_and_the_run():
    assert identity_of(context()).workflow_id == "airflow.review.manual__2026-01-01T00:00:00+00:00"


def test_an_id_of_one_s_own_takes_its_place():
    assert identity_of(context(conf={"coterie_run_id": "prefect.123"})).workflow_id == "prefect.123"


def test_a_task_group_has_an_identity_of_its_own():
    assert identity_of(context(conf={"coterie_run_id": "mine"}), "lint").workflow_id == "mine.lint"
    assert identity_of(context("r"), "lint").workflow_id == "airflow.review.r.lint"


def test_clearing_raises_the_epoch_alone():
    assert identity_of(context(clear_number=2)).epoch == 2
    assert identity_of(context(clear_number=2)).workflow_id == identity_of(context()).workflow_id


@pytest.mark.parametrize(
    ("max_tries", "retries", "after"),
    [(3, 3, 0), (0, 0, 0), (4, 3, 1), (2, 0, 2), (0, None, 0), (1, 3, 0)],
    ids=[
        "tries alone",
        "one try alone",
        "the first",
        "the second, of one without retries",
        "none known",
        "fewer since",
    ],
)
def test_which_try_was_cleared_shows_in_the_tries_that_are_granted(max_tries, retries, after):
    of_task = {"ti": SimpleNamespace(max_tries=max_tries), "task": SimpleNamespace(retries=retries)}

    assert cleared_after(of_task) == after


@pytest.mark.parametrize("dag_id", ["d" * 250, "prüfung"])
def test_an_id_that_stores_cannot_name_is_hashed(dag_id):
    first, again = (identity_of(context("r" * 10, dag_id=dag_id)).workflow_id for _ in range(2))

    assert first == again
    assert len(first) == len("airflow.") + 32


@pytest.mark.parametrize("given", ["with space", 7, "x" * 251])
def test_an_unusable_id_of_one_s_own_is_refused(given):
    with pytest.raises(Misuse):
        identity_of(context(conf={"coterie_run_id": given}))


def test_a_mapped_task_group_has_an_identity_for_each_copy():
    assert identity_of(context("r"), "lint", map_index=3).workflow_id == "airflow.review.r.lint+3"
    assert identity_of(context("r"), "lint", map_index=-1).workflow_id == "airflow.review.r.lint"
    assert identity_of(context("r"), map_index=3).workflow_id == "airflow.review.r"


def test_what_the_journal_is_asked_for_is_the_same_in_every_try():
    given = {"coterie_run_id": "mine", "coterie_force": "once more"}

    first, again = (identity_of(context("r", conf=given, clear_number=2), on_clear="replay").intent for _ in range(2))

    assert first == again
    assert (first.engine_run, first.demand, first.on_clear) == ("airflow.review.r", 2, "replay")
    assert first.force == "airflow.review.r=once more"


@pytest.mark.parametrize(
    ("given", "force"), [(True, "airflow.review.r=true"), (False, None), ("", None), ("false", None)]
)
def test_force_is_true_or_a_text(given, force):
    assert identity_of(context("r", conf={"coterie_force": given})).intent.force == force


def test_two_runs_that_force_ask_twice():
    forces = {identity_of(context(run, conf={"coterie_force": True})).intent.force for run in ("a", "b")}

    assert len(forces) == 2


def test_force_is_nothing_else():
    with pytest.raises(Misuse, match="coterie_force in the run's configuration is 7; give true, or a string"):
        identity_of(context(conf={"coterie_force": 7}))


def test_work_is_called_like_its_task_and_each_copy_of_it_apart():
    assert unit_name("ask") == unit_name("ask", -1) == "ask"
    assert unit_name("group.ask").startswith("group_ask-")
    names = {unit_name("ask", index) for index in range(3)} | {unit_name("ask-1"), unit_name("ask")}
    assert len(names) == 5
    assert all(name.startswith("ask") for name in names)
