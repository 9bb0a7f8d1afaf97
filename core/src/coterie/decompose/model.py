"""Plans by a language model: asked through pydantic-ai, checked like any stranger's, corrected a few times."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from coterie._json import JsonValue
from coterie.command import Command
from coterie.decompose.limits import PlanLimits, admit
from coterie.decompose.prompt import correction, describe_agents, instructions, plan_shape, request
from coterie.errors import Misuse, PlanError, PlanRejected, PolicyError, Unavailable
from coterie.plan import Plan
from coterie.team import Team

if TYPE_CHECKING:
    from pydantic_ai import Agent
    from pydantic_ai.messages import ModelMessage
    from pydantic_ai.models import Model
    from pydantic_ai.settings import ModelSettings
    from pydantic_ai.usage import RunUsage

__all__ = ["Decomposition", "ModelDecomposer", "Usage"]

# Answers of the service that another try may change; every other 4xx says that the request itself is wrong.
_TRANSIENT_STATUS = frozenset({408, 409, 425, 429})


@dataclass(frozen=True, slots=True)
class Usage:
    """What the model was asked: answers received, and tokens as far as the service counted them."""

    requests: int
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Decomposition:
    """A plan, how often it had to be corrected, and what that cost.

    reasons: why each earlier answer was refused, so `corrections == len(reasons)`.
    """

    plan: Plan
    reasons: tuple[str, ...]
    usage: Usage

    @property
    def corrections(self) -> int:
        """How often the model was asked again."""
        return len(self.reasons)


class ModelDecomposer:
    """Asks a model for a plan and lets nothing pass that breaks the rules. Needs the extra `llm`.

    model: a name that pydantic-ai knows (`"openai:gpt-5"`), or one of its `Model` objects.
    max_corrections: how often an answer is refused with its reason and asked for again; 0 for one answer only.
    max_tasks, max_depth, max_fan_out, max_input_bytes, max_timeout_s: see `PlanLimits`.
    answer_timeout_s: seconds that one answer may take, the client's own retries included.
    settings: pydantic-ai's model settings, such as `{"temperature": 0}`.

    A plan may use only the team's plannable types, and never a type that a command serves.

    Raises:
        PolicyError: a limit that cannot work.
    """

    def __init__(
        self,
        model: Model | str,
        *,
        max_tasks: int = 50,
        max_depth: int = 10,
        max_fan_out: int = 20,
        max_input_bytes: int = 16_384,
        max_timeout_s: float = 3600.0,
        max_corrections: int = 2,
        answer_timeout_s: float = 120.0,
        settings: Mapping[str, JsonValue] | None = None,
    ) -> None:
        if max_corrections < 0 or not answer_timeout_s > 0:
            raise PolicyError(
                f"max_corrections is {max_corrections!r} and answer_timeout_s {answer_timeout_s!r}; "
                "give a count >= 0 and seconds > 0"
            )
        self.limits = PlanLimits(max_tasks, max_depth, max_fan_out, max_input_bytes, max_timeout_s)
        self._model = model
        self._max_corrections = max_corrections
        self._answer_timeout_s = answer_timeout_s
        self._settings = dict(settings or {})

    async def decompose(self, objective: str, context: Mapping[str, JsonValue], *, team: Team) -> Plan:
        """The model's plan; see `propose` for what it took and what is raised."""
        return (await self.propose(objective, context, team=team)).plan

    async def propose(self, objective: str, context: Mapping[str, JsonValue], *, team: Team) -> Decomposition:
        """Ask for a plan, at most `1 + max_corrections` times.

        Raises:
            PlanRejected: no answer was acceptable; `.reasons` holds why, one for each answer.
            Unavailable: the service could not be reached, failed, or was too slow.
            Misuse: no plannable type in the team, an unknown model, a refused key, or pydantic-ai is missing.
        """
        allowed = _allowed(team)
        conversation = _Conversation(
            self._agent(allowed, team), cast("ModelSettings", self._settings), self._answer_timeout_s
        )
        reasons: list[str] = []
        prompt = request(objective, context)
        while len(reasons) <= self._max_corrections:
            try:
                plan = admit(await conversation.ask(prompt), self.limits, allowed)
            except PlanError as error:
                reasons.append(str(error))
                prompt = correction(reasons[-1])
                continue
            return Decomposition(plan, tuple(reasons), conversation.spent())
        raise PlanRejected(
            f"the model's plan for {objective[:200]!r} was refused {len(reasons)} times, last because: "
            f"{reasons[-1]}; make the objective smaller or clearer, or choose another model",
            reasons=reasons,
        )

    def _agent(self, allowed: Sequence[str], team: Team) -> Agent[None, dict[str, Any]]:
        try:
            from pydantic_ai import Agent, StructuredDict
            from pydantic_ai.exceptions import UserError
            from pydantic_ai.models import infer_model
        except ImportError as error:
            raise Misuse(f"planning by a model needs pydantic-ai ({error}); run: pip install 'coterie[llm]'") from error
        try:
            model = infer_model(self._model)
        except (UserError, ImportError, ValueError) as error:
            raise Misuse(
                f"cannot use the model {self._model!r}: {error}; correct its name, key or installation"
            ) from error
        return Agent(
            model,
            output_type=StructuredDict(plan_shape(allowed, self.limits), name="plan"),
            instructions=instructions(describe_agents(team, allowed), self.limits),
            # An answer is refused by the rules here, so that each is counted once, whatever is wrong with it.
            retries=0,
        )


class _Conversation:
    """One model, asked again and again with its own earlier answers before it."""

    def __init__(self, agent: Agent[None, dict[str, Any]], settings: ModelSettings, timeout_s: float) -> None:
        from pydantic_ai.usage import RunUsage

        self._agent = agent
        self._settings = settings
        self._timeout_s = timeout_s
        self._history: list[ModelMessage] = []
        # Said, but not in the history, since nothing usable came back: said again before the next.
        self._unanswered: list[str] = []
        self._usage: RunUsage = RunUsage()

    def spent(self) -> Usage:
        """All answers so far."""
        return Usage(self._usage.requests, self._usage.input_tokens, self._usage.output_tokens)

    async def ask(self, prompt: str) -> object:
        """The document that the model answers with.

        Raises:
            PlanError: the answer holds no document. Unavailable, Misuse: as `propose` says.
        """
        from pydantic_ai.exceptions import UnexpectedModelBehavior, UsageLimitExceeded
        from pydantic_ai.usage import UsageLimits

        # One answer a question: where pydantic-ai would ask again by itself, the limit says no.
        limits = UsageLimits(request_limit=self._usage.requests + 1)
        self._unanswered.append(prompt)
        try:
            async with asyncio.timeout(self._timeout_s):
                result = await self._agent.run(
                    "\n\n".join(self._unanswered),
                    message_history=self._history,
                    model_settings=self._settings,
                    usage=self._usage,
                    usage_limits=limits,
                )
        except (UnexpectedModelBehavior, UsageLimitExceeded) as error:
            detail = f" ({str(error.__cause__)[:300]})" if error.__cause__ else ""
            raise PlanError(f"the answer holds no plan document{detail}; answer with one JSON object") from error
        # Everything else is translated, or, being nobody's fault that we know, raised as it is.
        except Exception as error:
            raise self._translated(error) from error
        self._history = result.all_messages()
        self._unanswered.clear()
        return dict(result.output)

    def _translated(self, error: Exception) -> Exception:
        from pydantic_ai.exceptions import ModelAPIError, ModelHTTPError, UserError

        if isinstance(error, ModelHTTPError):
            return _of_status(error.model_name, error.status_code)
        if isinstance(error, TimeoutError):
            return Unavailable(
                f"the model did not answer within {self._timeout_s:g} s; try again later, or raise answer_timeout_s"
            )
        if isinstance(error, (ModelAPIError, OSError)):
            return Unavailable(f"the model could not be reached: {error}; try again later")
        if isinstance(error, UserError):
            return Misuse(f"the model cannot be asked: {error}; correct the model or its settings")
        return error


def _of_status(model: str, status: int) -> Exception:
    said = f"the model {model!r} answered with HTTP status {status}"
    if 400 <= status < 500 and status not in _TRANSIENT_STATUS:
        return Misuse(f"{said}; check its name, the key and what the key may do")
    return Unavailable(f"{said}; try again later")


def _allowed(team: Team) -> tuple[str, ...]:
    allowed = tuple(
        name
        for name in team.plannable_types
        if not any(isinstance(agent.handler, Command) for agent in team.of_type(name))
    )
    if not allowed:
        raise Misuse(
            f"the team {team.name!r} has no agent type that a model's plan may use; "
            "give it an agent with plannable=True"
        )
    return allowed
