"""Agents made with pydantic-ai as members of a team. Needs the extra `llm`."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import KW_ONLY, dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from coterie._json import JsonValue
from coterie.agent import to_json
from coterie.agents.prompt import Prompt
from coterie.errors import PolicyError, StepFailed
from coterie.usage import Price, Usage

if TYPE_CHECKING:
    from pydantic_ai.agent import AbstractAgent
    from pydantic_ai.usage import RunUsage, UsageLimits

    from coterie.context import TaskContext

__all__ = ["PydanticAgent"]


@dataclass(frozen=True, slots=True)
class PydanticAgent:
    """An agent's handler that runs a pydantic-ai `Agent` with its tools, and takes its output, as JSON, as the output.

    prompt: the user's message, with `${field}` for fields of the task's input; by default the input as JSON.
    deps: what the run is given as `deps`. make_deps: a function of (input, context) that makes it for each attempt.
    usage_limits: pydantic-ai's own, for one attempt.
    price: what tokens cost; without it, the cost that pydantic-ai knows, in millionths of a US dollar, if any.

    With `coterie.durability.CoterieDurability` among its capabilities, and a journal, what the model and the
    tools answered is not asked for again when the task is tried again.

    Usage is reported through `ctx.report_usage`, also of an attempt that fails. The messages are not returned. If its
    tools have effects, add it with `plannable=False`.

    Raises:
        PolicyError: a setting that cannot work.
    """

    agent: AbstractAgent[Any, Any]
    _: KW_ONLY
    prompt: str | None = None
    deps: Any = field(default=None, repr=False)
    make_deps: Callable[[dict[str, JsonValue], TaskContext], Any] | None = None
    usage_limits: UsageLimits | None = None
    price: Price | None = None
    _prompt: Prompt = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not callable(getattr(self.agent, "run", None)):
            raise PolicyError(f"{type(self.agent).__name__!r} is no pydantic-ai agent; pass a pydantic_ai.Agent")
        if self.deps is not None and self.make_deps is not None:
            raise PolicyError("both deps and make_deps are given; choose one")
        if self.price is not None and not isinstance(self.price, Price):
            raise PolicyError(f"price is {self.price!r}; pass a Price")
        object.__setattr__(self, "_prompt", Prompt(self.prompt))

    async def __call__(self, task_input: dict[str, JsonValue], ctx: TaskContext) -> JsonValue:
        """Run the agent once.

        Raises:
            AgentUnavailable, AgentThrottled: the model could not be reached, or said that it cannot now.
            AgentRejected: it refused the request. BadAnswer: it never answered in the form that was asked for.
            StepFailed: a usage limit, a filter, or a tool that waits for approval.
            Misuse: the agent or model is set up wrongly.
            Whatever a tool raises comes out as it is.
        """
        from pydantic_ai.usage import RunUsage

        from coterie.agents.model_failure import translated

        deps = self.make_deps(task_input, ctx) if self.make_deps is not None else self.deps
        used = RunUsage()
        spared: Callable[[], Usage] = Usage
        try:
            with _kept(ctx) as spared:
                result = await self.agent.run(
                    self._prompt.fill(task_input), deps=deps, usage=used, usage_limits=self.usage_limits
                )
        # Translated, or, being nobody's fault that we know, raised as it is.
        except Exception as error:
            known = translated(error)
            if known is None:
                raise
            raise known from error
        finally:
            ctx.report_usage(self._usage(used, spared()))
        return self._output(result.output)

    def _output(self, output: Any) -> JsonValue:
        from pydantic_ai import DeferredToolRequests

        if isinstance(output, DeferredToolRequests):
            raise StepFailed("the agent waits for tools that somebody else must approve or run; give it others")
        return to_json(output, "the agent's output")

    def _usage(self, used: RunUsage, spared: Usage) -> Usage:
        """What was used now: `spared` was before, by answers that were only read again."""
        asked = max(0, used.input_tokens - spared.input_tokens)
        written = max(0, used.output_tokens - spared.output_tokens)
        if self.price is not None:
            cost = self.price.cost_micros(input_tokens=asked, output_tokens=written)
        else:
            # Versions that know no prices have no such attribute.
            known = getattr(used, "cost", None)
            all_tokens = used.input_tokens + used.output_tokens
            share = Fraction(asked + written, all_tokens) if all_tokens else 1
            cost = 0 if known is None else math.ceil(Fraction(known) * share * 1_000_000)
        return Usage(max(0, used.requests - spared.requests), asked, written, cost)


def _kept(ctx: TaskContext) -> AbstractContextManager[Callable[[], Usage]]:
    """Let an agent with `CoterieDurability` keep what it does, where there is a journal; gives what that spared."""
    if ctx.unit is None:
        return nullcontext(Usage)
    try:
        from coterie.durability import durable
    except ImportError:
        # This version of pydantic-ai knows nothing of durable agents, so the agent is none.
        return nullcontext(Usage)
    return durable(ctx)
