"""The run's identity, from Airflow's own."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from airflow_provider_coterie.identity import identity_of
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


@pytest.mark.parametrize("dag_id", ["d" * 250, "prüfung"])
def test_an_id_that_stores_cannot_name_is_hashed(dag_id):
    first, again = (identity_of(context("r" * 10, dag_id=dag_id)).workflow_id for _ in range(2))

    assert first == again
    assert len(first) == len("airflow.") + 32


@pytest.mark.parametrize("given", ["with space", 7, "x" * 251])
def test_an_unusable_id_of_one_s_own_is_refused(given):
    with pytest.raises(Misuse):
        identity_of(context(conf={"coterie_run_id": given}))
