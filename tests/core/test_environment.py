"""The environment that these tests run in is the one that the constraints describe."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from tests.environment import differences, requirements


def test_the_installed_versions_are_those_of_the_constraints():
    assert differences("core") == []


@pytest.mark.parametrize("scheduler", ["airflow", "prefect"])
def test_the_core_needs_no_scheduler(scheduler: str):
    assert find_spec(scheduler) is None


@pytest.mark.parametrize("environment", ["core", "airflow", "prefect"])
def test_every_environment_reviews_with_the_same_tools(environment: str):
    tools = {str(requirement) for requirement in requirements("analysis")}

    assert tools <= {str(requirement) for requirement in requirements(environment)}
