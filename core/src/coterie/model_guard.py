"""Models of pydantic-ai behind the gate that tasks pass: every agent that uses one joins the fleet. Needs `llm`."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from coterie.agents.model_failure import translated
from coterie.errors import AgentUnavailable, Misuse, PolicyError, StepFailed
from coterie.protect import Protected, this_call
from coterie.usage import Price, Usage

try:
    from pydantic_ai import RunContext
    from pydantic_ai.capabilities import AbstractCapability
    from pydantic_ai.messages import ModelMessage, ModelResponse
    from pydantic_ai.models import KnownModelName, Model, ModelRequestContext, ModelRequestParameters, StreamedResponse
    from pydantic_ai.models.wrapper import WrapperModel
    from pydantic_ai.settings import ModelSettings
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"models need a package that is not installed ({error.name}): pip install 'coterie[llm]'", name=error.name
    ) from error

__all__ = ["ProtectModel", "ProtectedModel"]


class ProtectedModel(WrapperModel):
    """A model whose every request, streamed or not, goes through `protected`.

    wrapped: a model, or its name, such as `openai:gpt-5`. price: what tokens cost; without it, what pydantic-ai knows
    of it, in millionths of a US dollar, if anything.

    Usage is reported from each response. A 429 pauses the rate limit and does not count against the breaker where
    there is a limit; 5xx, time-outs and lost connections are failures, tried again as `protected` says, after the
    seconds that the service asked for; what the service refuses for good (a wrong key, a filter) counts neither way.
    Callers see pydantic-ai's own exceptions, or a `coterie.errors.Refused`: have a `FallbackModel` fall back on it too,
    by `fallback_on=(ModelAPIError, Refused)`.

    A streamed response holds its slot until the stream ends. Counting tokens and batches are not protected.

    Raises:
        PolicyError: the policies have a fallback (no value stands in for a model: use `FallbackModel`), or the price is
            none.
    """

    def __init__(
        self, wrapped: Model | KnownModelName | str, protected: Protected, *, price: Price | None = None
    ) -> None:
        _check(protected, price)
        super().__init__(wrapped)
        self._asked = protected.asking(meaning=translated)
        self._streamed = protected.asking(meaning=_of_stream)
        self._price = price

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        """Send a request when it may be sent, and again while that may help."""

        async def ask() -> ModelResponse:
            response = await self.wrapped.request(messages, model_settings, model_request_parameters)
            this_call().report_usage(self._used(response))
            return response

        return await self._asked.call(ask)

    async def compact_messages(
        self, request_context: ModelRequestContext, *, instructions: str | None = None
    ) -> ModelResponse:
        """As `request`: the service is asked to shorten the messages."""

        async def ask() -> ModelResponse:
            response = await self.wrapped.compact_messages(request_context, instructions=instructions)
            this_call().report_usage(self._used(response))
            return response

        return await self._asked.call(ask)

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,
    ) -> AsyncGenerator[StreamedResponse]:
        """As `request`; what fails before the stream begins is tried again, what fails later is raised."""

        @asynccontextmanager
        async def opened() -> AsyncGenerator[StreamedResponse]:
            call = this_call()
            asking = self.wrapped.request_stream(messages, model_settings, model_request_parameters, run_context)
            async with asking as stream:
                try:
                    yield stream
                finally:
                    call.report_usage(self._used(stream.get()))

        async with self._streamed.enter(opened) as stream:
            yield stream

    def _used(self, response: ModelResponse) -> Usage:
        usage = response.usage
        asked, written = usage.input_tokens, usage.output_tokens
        if self._price is not None:
            cost = self._price.cost_micros(input_tokens=asked, output_tokens=written)
        else:
            cost = _known_cost_micros(response)
        return Usage(1, asked, written, cost)


@dataclass
class ProtectModel(AbstractCapability[Any]):
    """A capability of pydantic-ai: whatever model serves an agent's requests becomes a `ProtectedModel`.

    For agents that get their model from elsewhere, such as Airflow's `AgentOperator(capabilities=[...])`.

    Raises:
        Misuse: the installed pydantic-ai would not ask it. PolicyError: as of `ProtectedModel`.
    """

    protected: Protected
    price: Price | None = None

    def __post_init__(self) -> None:
        _check(self.protected, self.price)
        if not hasattr(AbstractCapability, "get_wrapper_model"):
            raise Misuse("this pydantic-ai lets no capability wrap a model; upgrade it, or pass a ProtectedModel")

    def get_wrapper_model(self, model: Model) -> Model:
        """Wrap the model of one request."""
        return ProtectedModel(model, self.protected, price=self.price)


def _check(protected: object, price: object) -> None:
    if not isinstance(protected, Protected):
        raise PolicyError(f"{type(protected).__name__!r} protects nothing; pass a coterie.protect.Protected")
    if protected.policies.fallback:
        raise PolicyError(f"{protected.name!r} has a fallback, which cannot stand in for a model; use a FallbackModel")
    if price is not None and not isinstance(price, Price):
        raise PolicyError(f"price is {price!r}; pass a Price")


def _of_stream(error: Exception) -> Exception:
    """What it means that a stream, or the block that reads it, ended like this."""
    known = translated(error)
    if known is not None:
        return known
    if isinstance(error, OSError) or type(error).__module__.partition(".")[0] in _TRANSPORTS:
        return AgentUnavailable(f"the stream broke off ({type(error).__name__}); try again later")
    return StepFailed(f"the reader of the stream failed ({type(error).__name__}): the model did not")


_TRANSPORTS = frozenset({"anthropic", "botocore", "groq", "h11", "httpcore", "httpcore2", "httpx", "httpx2", "openai"})


def _known_cost_micros(response: ModelResponse) -> int:
    try:
        price = response.cost().total_price
    except (AssertionError, LookupError, ValueError):
        # A model, or a provider, whose prices nobody has written down.
        return 0
    return math.ceil(Fraction(price) * 1_000_000)
