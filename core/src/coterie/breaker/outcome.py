"""How a call's end is classified: it failed, it succeeded, or it says nothing about who was called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from coterie.errors import BudgetExhausted, Misuse, PolicyError, Refused

__all__ = ["NEUTRAL", "Classifier", "Outcome"]

# success, failure, slow success, slow failure, ignored: as they travel to the rule.
Outcome = Literal["s", "f", "t", "g", "i"]

# Never an answer of the one that was called: the caller's fault or lack of money, or no call at all.
NEUTRAL = (Misuse, Refused, BudgetExhausted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Classifier:
    """Which ends count as failures; by default every `Exception` but those of `ignored` and coterie's own refusals.

    failures: exception types that count as failures. Others are neutral, like ignored ones.
    ignored: exceptions out of `failures` that are neutral all the same.
    ignored_if: asked about each exception that would count; true makes it neutral (a 404 among HTTP errors).
    failed_if: asked about each result; true makes a failure of a call that returned.

    Neutral ends count neither way while a breaker is closed, and give a half-open breaker its permit back. Always
    neutral are `coterie.errors.Misuse`, `Refused` and `BudgetExhausted`, and every BaseException that is no Exception:
    a cancellation (also by an `asyncio.timeout` *around* the breaker; one inside it raises TimeoutError, which counts),
    SystemExit, and the schedulers' control-flow exceptions.

    Raises:
        PolicyError: something other than exception types is listed.
    """

    failures: tuple[type[Exception], ...] = (Exception,)
    ignored: tuple[type[Exception], ...] = ()
    ignored_if: Callable[[Exception], bool] | None = None
    failed_if: Callable[[Any], bool] | None = None

    def __post_init__(self) -> None:
        for kind in (*self.failures, *self.ignored):
            if not (isinstance(kind, type) and issubclass(kind, Exception)):
                raise PolicyError(
                    f"{kind!r} cannot be classified; list subclasses of Exception (others, such as "
                    "asyncio.CancelledError, are always neutral)"
                )

    def of_error(self, error: BaseException) -> Literal["f", "i"]:
        """Whether a call that raised `error` failed, or is neutral. What `ignored_if` raises is raised here."""
        if not isinstance(error, self.failures) or isinstance(error, (*NEUTRAL, *self.ignored)):
            return "i"
        return "i" if self.ignored_if is not None and self.ignored_if(error) else "f"

    def of_result(self, result: object) -> Literal["s", "f"]:
        """Whether a call that returned `result` succeeded. What `failed_if` raises is raised here."""
        return "f" if self.failed_if is not None and self.failed_if(result) else "s"
