"""What pydantic-ai's errors mean, in the words of this package. Needs the extra `llm`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from coterie.agents.answers import MAX_RETRY_AFTER_S, is_transient
from coterie.errors import AgentRejected, AgentThrottled, AgentUnavailable, BadAnswer, CoterieError, Misuse, StepFailed

__all__ = ["translated"]

_SHOWN_CHARS = 150


def translated(error: Exception) -> CoterieError | None:
    """The error to raise in its place, or None where it is not the model's (a tool's own, for one).

    Messages hold the model's name, the status and the service's own code, and nothing else that it sent.
    """
    from pydantic_ai import exceptions

    if isinstance(error, exceptions.ModelAPIError):
        return _of_service(error)
    if isinstance(error, exceptions.FallbackExceptionGroup):
        return _of_group(error)
    for names, make in _MEANINGS:
        if isinstance(error, _kinds(*names)):
            return make(error)
    return AgentUnavailable(f"{_late(error)}; try again later") if isinstance(error, TimeoutError) else None


def _late(error: Exception) -> str:
    return f"the model did not answer in time ({type(error).__name__})"


def _of_service(error: Any) -> CoterieError:
    status = getattr(error, "status_code", None)
    code = getattr(error, "provider_error_code", None)
    said = f" ({_shown(code)})" if code else ""
    how = f"answered with HTTP status {status}" if status is not None else f"failed with {type(error).__name__}"
    what = f"the model {_shown(error.model_name)!r} {how}{said}"
    wait_s = _wait_s(error)
    if isinstance(error, _kinds("ModelQuotaExceededError", "ModelRequestRejectedError")):
        return AgentRejected(f"{what}; correct the request, the account or the key", status=status)
    if status == 429 or isinstance(error, _kinds("ModelRateLimitError")):
        return AgentThrottled(f"{what}; try again later", status=status, retry_after_s=wait_s)
    if status is None or is_transient(status):
        return AgentUnavailable(f"{what}; try again later", status=status, retry_after_s=wait_s)
    return AgentRejected(f"{what}; check the model's name, the key and what the key may do", status=status)


def _of_group(group: ExceptionGroup[Any]) -> CoterieError:
    """Of several models that failed one after the other: unavailable if any of them may be asked again."""
    found = [known for error in group.exceptions if (known := translated(error)) is not None]
    what = f"every one of {len(group.exceptions)} models failed: {'; '.join(str(each) for each in found)[:150]}"
    later = [each for each in found if isinstance(each, AgentUnavailable)]
    if not later:
        return AgentRejected(f"{what}; correct the models or the request")
    waits = [each.retry_after_s for each in later]
    # One that names no wait may be asked at any time.
    wait_s = None if None in waits else min(wait for wait in waits if wait is not None)
    kind = AgentThrottled if all(isinstance(each, AgentThrottled) for each in later) else AgentUnavailable
    return kind(f"{what}; try again later", retry_after_s=wait_s)


def _wait_s(error: object) -> float | None:
    wait = getattr(error, "retry_after", None)
    return min(max(0.0, float(wait)), MAX_RETRY_AFTER_S) if isinstance(wait, (int, float)) else None


def _kinds(*names: str) -> tuple[type[Exception], ...]:
    """Those of pydantic-ai's exceptions that the installed version has."""
    from pydantic_ai import exceptions

    return tuple(getattr(exceptions, name) for name in names if hasattr(exceptions, name))


def _shown(text: object) -> str:
    return "".join(letter for letter in str(text) if letter.isprintable())[:_SHOWN_CHARS]


# The first that fits counts: kinds come before what they are kinds of.
_MEANINGS: tuple[tuple[tuple[str, ...], Callable[[Any], CoterieError]], ...] = (
    (
        ("UsageLimitExceeded",),
        lambda e: StepFailed(f"the agent used up its limits: {_shown(e)}; raise usage_limits, or ask for less"),
    ),
    (
        ("ContentFilterError", "OutputTokenLimitExceeded", "IncompleteToolCall"),
        lambda e: StepFailed(f"the answer was cut or withheld ({type(e).__name__}); change the prompt or the limits"),
    ),
    (
        ("UnexpectedModelBehavior",),
        lambda e: BadAnswer(f"the model did not answer as it should: {_shown(e.message)}; change the prompt"),
    ),
    (("UserError",), lambda e: Misuse(f"the agent cannot be run: {_shown(e)}; correct the agent or its model")),
    (("ConcurrencyLimitExceeded",), lambda e: AgentThrottled(f"{_late(e)}; try again later")),
)
