"""Which ends of calls are failures, and which say nothing."""

from __future__ import annotations

import asyncio

import pytest

from coterie.breaker import Classifier
from coterie.errors import BreakerOpen, Misuse, PolicyError, PoolBusy, StepFailed, TaskTimedOut


class ControlFlow(BaseException):
    """As schedulers raise to skip or defer a task."""


@pytest.mark.parametrize("error", [ValueError(), TimeoutError(), OSError(), StepFailed("x"), TaskTimedOut("x", 1.0)])
def test_every_exception_counts_by_default(error: Exception):
    assert Classifier().of_error(error) == "f"


@pytest.mark.parametrize(
    "error",
    [asyncio.CancelledError(), ControlFlow(), SystemExit(1), KeyboardInterrupt(), GeneratorExit()],
    ids=lambda error: type(error).__name__,
)
def test_what_is_no_exception_is_neutral_even_with_everything_counted(error: BaseException):
    assert Classifier(failures=(Exception,)).of_error(error) == "i"


@pytest.mark.parametrize("error", [Misuse("x"), BreakerOpen("a", retry_after_s=1), PoolBusy("x", retry_after_s=1)])
def test_the_callers_faults_and_refusals_are_neutral(error: Exception):
    assert Classifier(failures=(type(error),)).of_error(error) == "i"


def test_exceptions_that_are_not_listed_are_neutral():
    classifier = Classifier(failures=(OSError,), ignored=(FileNotFoundError,))

    assert classifier.of_error(ConnectionError()) == "f"
    assert classifier.of_error(FileNotFoundError()) == "i"
    assert classifier.of_error(ValueError()) == "i"


def test_a_predicate_ignores_what_would_count():
    classifier = Classifier(ignored_if=lambda error: "404" in str(error))

    assert classifier.of_error(OSError("404")) == "i"
    assert classifier.of_error(OSError("503")) == "f"


def test_a_result_may_be_a_failure():
    classifier = Classifier(failed_if=lambda result: result == 503)

    assert [classifier.of_result(status) for status in (200, 503)] == ["s", "f"]
    assert Classifier().of_result(None) == "s"


@pytest.mark.parametrize("kind", [asyncio.CancelledError, BaseException, "OSError", OSError()])
def test_what_could_never_be_classified_is_refused(kind: object):
    with pytest.raises(PolicyError, match="subclasses of Exception"):
        Classifier(ignored=(kind,))  # type: ignore[arg-type]  # what is under test
