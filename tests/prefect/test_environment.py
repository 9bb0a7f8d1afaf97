"""The environment that these tests run in is the one that the constraints describe."""

from __future__ import annotations

from importlib.util import find_spec

from tests.environment import differences


def test_the_installed_versions_are_those_of_the_constraints():
    assert differences("prefect") == []


def test_the_other_scheduler_is_not_needed():
    assert find_spec("airflow") is None
