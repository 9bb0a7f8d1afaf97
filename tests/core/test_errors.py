"""Errors travel between processes as they are."""

from __future__ import annotations

import pickle

import pytest

from coterie.errors import CoterieError, Misuse, TaskTimedOut, UnknownAgentType, UnknownRun

ERRORS = [
    Misuse("so not"),
    UnknownAgentType("nobody", ["worker"], task_id="t"),
    TaskTimedOut("t", 1.0),
    UnknownRun("r", "sqlite://"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_is_the_same_in_another_process(error: CoterieError):
    found = pickle.loads(pickle.dumps(error))

    assert type(found) is type(error)
    assert str(found) == str(error)
    assert vars(found) == vars(error)
