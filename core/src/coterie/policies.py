"""How the agents of one type are protected, together, wherever they are called: the settings of a team."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from typing import Any, Literal

from coterie._json import JsonValue, require_json
from coterie._rules.breaker_policy import BreakerPolicy
from coterie._rules.budget import Allowance, Window
from coterie._rules.pool_policy import PoolPolicy
from coterie._rules.quota import Quota
from coterie._rules.retry_budget import RetryAllowance
from coterie.budget import units, written
from coterie.errors import Misuse, PolicyError, UnknownAgent, UnknownAgentType
from coterie.ids import AgentId, AgentType, WorkflowId, check_name, content_hash

__all__ = ["Fallback", "Policies", "Spend", "check_names", "policies_from", "run_budget"]

_STRICT = {"extra": "forbid"}
_UNSET: JsonValue = "\0unset"
_DIMENSIONS = ("requests", "tokens")
_LONGEST_S = 7 * 86_400.0
_CHOICES = {"breaker_scope": ("agent", "type"), "on_store_failure": ("fail_open", "fail_closed")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """A budget that each call of the type is held against.

    name: all that name it share it, whatever their type. unit: what is counted, tokens or money.
    limit, per_call: whole tokens; or money as a text such as "12.50", or a Decimal. `per_call` is the most that one
    call uses.
    window: "hour", "day", "month" (UTC) or whole seconds; None: once and for all.
    per_run: each run has a budget of its own.

    Raises:
        PolicyError: a unit that nobody reports, an amount that is none.
    """

    __pydantic_config__ = _STRICT

    name: str
    limit: int | str
    per_call: int | str
    unit: Literal["tokens", "money"] = "tokens"
    window: Window | None = None
    per_run: bool = False

    def __post_init__(self) -> None:
        check_name(self.name, "the budget")
        if self.unit not in ("tokens", "money"):
            raise PolicyError(f"the budget {self.name!r} counts {self.unit!r}; use 'tokens' or 'money'")
        for name in ("limit", "per_call"):
            object.__setattr__(self, name, self._checked(name, getattr(self, name)))
        Allowance(limit=self.most, window=self.window)
        if not 0 < self.bound <= self.most:
            raise PolicyError(
                f"the budget {self.name!r} has per_call {self.per_call} and limit {self.limit}: "
                "no call could ever be made; give 0 < per_call <= limit"
            )

    @property
    def most(self) -> int:
        """The limit in whole units: tokens, or micros of money."""
        return units(self.limit)

    @property
    def bound(self) -> int:
        """What one call uses at most, in whole units."""
        return units(self.per_call)

    def _checked(self, name: str, amount: object) -> int | str:
        """An amount of the budget's own kind; of money, equal ones are equal texts."""
        which = f"the budget {self.name!r} counts {self.unit} and has {name} {amount!r}"
        if self.unit == "tokens":
            if type(amount) is int:
                return amount
            raise PolicyError(f"{which}; give whole tokens, or say unit='money' if it is money")
        if not isinstance(amount, (str, Decimal)):
            raise PolicyError(f"{which}; give money as a text such as '12.50'")
        try:
            return written(units(amount), "money").replace(",", "")
        except Misuse as error:
            raise PolicyError(f"{which}: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallback:
    """What stands in when a task's agents have failed for good: exactly one of these.

    agent_type: agents of another type, under that type's own policies. agent: one agent of the team.
    cached_s: the last output that the type gave for the same input, if it is at most so many seconds old.
    value: this JSON value.

    Raises:
        PolicyError: none of them, or several.
    """

    __pydantic_config__ = _STRICT

    agent_type: AgentType | None = None
    agent: AgentId | None = None
    cached_s: float | None = None
    value: JsonValue = _UNSET

    def __post_init__(self) -> None:
        given = [name for name in ("agent_type", "agent", "cached_s") if getattr(self, name) is not None]
        if self.has_value:
            given.append("value")
            require_json(self.value, "the fallback's value")
        if len(given) != 1:
            raise PolicyError(f"a fallback is one of agent_type, agent, cached_s and value, got {given or 'none'}")
        for name in (self.agent_type, self.agent):
            if name is not None:
                check_name(name, "the fallback")
        if self.cached_s is not None and not 0 < self.cached_s <= _LONGEST_S:
            raise PolicyError(f"a fallback has cached_s {self.cached_s!r}; give seconds up to {_LONGEST_S:.0f}")

    @property
    def has_value(self) -> bool:
        """Whether it is a value, `null` included."""
        return self.value is not _UNSET and self.value != _UNSET

    def __str__(self) -> str:
        if self.agent_type is not None:
            return f"agents of the type {self.agent_type!r}"
        if self.agent is not None:
            return f"the agent {self.agent!r}"
        return "the last output" if self.cached_s is not None else "a value"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """What stands between the tasks of one agent type and its agents. Shared by all that share the runtime's store.

    breaker: when an agent is no longer called. breaker_scope: one breaker for each agent, or one for the type.
    pool: the agents' capacity is the whole fleet's; without it, each process has it for itself.
    limits: quotas of `requests` and `tokens`, for the type. tokens_per_call: what a call is
    taken to need, until it reports.
    budgets: what calls are held against, in this order. retries: how many retries the fleet may make.
    fallback: what stands in after the last attempt, in this order.
    max_wait_s: how long a task waits in all while it is refused. max_hold_s: how long of it with a slot in its hands.
    on_store_failure: while the store does not answer, "fail_open" goes by what this process alone knows of breakers,
        limits and retries; "fail_closed" fails. Pools and budgets always need their store.

    Raises:
        PolicyError: settings that cannot work together.
    """

    __pydantic_config__ = _STRICT

    breaker: BreakerPolicy | None = None
    breaker_scope: Literal["agent", "type"] = "agent"
    pool: PoolPolicy | None = None
    limits: Mapping[str, Quota] = field(default_factory=dict)
    tokens_per_call: int = 0
    budgets: Sequence[Spend] = ()
    retries: RetryAllowance | None = None
    fallback: Sequence[Fallback] = ()
    max_wait_s: float = 300.0
    max_hold_s: float = 1.0
    on_store_failure: Literal["fail_open", "fail_closed"] = "fail_open"

    def __post_init__(self) -> None:
        for name, kind in (("breaker", BreakerPolicy), ("pool", PoolPolicy), ("retries", RetryAllowance)):
            value = getattr(self, name)
            if not (value is None or isinstance(value, kind)):
                raise PolicyError(
                    f"{name} is {value!r:.200}; give a {kind.__name__}, such as {kind.__name__}(), or None"
                )
        self._take_several("budgets", Spend)
        self._take_several("fallback", Fallback)
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise PolicyError(f"{name} is {getattr(self, name)!r}; use {' or '.join(map(repr, choices))}")
        if not (isinstance(self.limits, Mapping) and all(isinstance(one, Quota) for one in self.limits.values())):
            raise PolicyError(f"limits is {self.limits!r:.200}; give quotas by name, such as {{'requests': Quota(…)}}")
        unknown = sorted(set(self.limits) - set(_DIMENSIONS))
        if unknown:
            raise PolicyError(f"limits has {unknown[0]!r}; agents report {' and '.join(_DIMENSIONS)}")
        self._check_tokens()
        for name in ("max_wait_s", "max_hold_s"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= _LONGEST_S:
                raise PolicyError(f"{name} is {value!r}; give seconds from 0 to {_LONGEST_S:.0f}")
        names = [spend.name for spend in self.budgets]
        if len(set(names)) < len(names):
            raise PolicyError(f"a budget is named twice in {names!r}; name each once")

    def _take_several(self, name: str, kind: type) -> None:
        given = getattr(self, name)
        if not isinstance(given, Sequence) or not all(isinstance(one, kind) for one in given):
            raise PolicyError(f"{name} is {given!r:.200}; give a list, such as [{kind.__name__}(…)]")
        object.__setattr__(self, name, tuple(given))

    def _check_tokens(self) -> None:
        tokens, limit = self.tokens_per_call, self.limits.get("tokens")
        if type(tokens) is not int or tokens < 0:
            raise PolicyError(f"tokens_per_call is {tokens!r}; give a whole number >= 0")
        if tokens and limit is None:
            raise PolicyError(
                f"tokens_per_call is {tokens}, and no tokens are limited: it would say nothing; limit 'tokens', or "
                "leave it out (what a budget reserves is its own per_call)"
            )
        if limit is not None and not 0 < tokens <= limit.burst:
            raise PolicyError(
                f"tokens are limited with a burst of {limit.burst}, and tokens_per_call is {tokens}: no call could be "
                "let through; give 0 < tokens_per_call <= burst"
            )


def run_budget(name: str, workflow_id: WorkflowId) -> str:
    """What the budget of a single run is called in the store, by the name that its policy has."""
    return f"{name}-{content_hash(workflow_id)[:16]}"


def check_names(
    policies: Mapping[AgentType, Policies], types: Collection[AgentType], agents: Collection[AgentId]
) -> None:
    """Refuse what would protect nobody, or have nobody stand in. types, agents: those that there are.

    Raises:
        UnknownAgentType: nobody is of a type that has policies, or that a fallback names.
        UnknownAgent: there is no agent that a fallback names.
    """
    for agent_type, each in policies.items():
        if agent_type not in types:
            raise UnknownAgentType(agent_type, types, named_by="the team's policies")
        for fallback in each.fallback:
            named_by = f"the fallback of {agent_type!r}"
            if fallback.agent_type is not None and fallback.agent_type not in types:
                raise UnknownAgentType(fallback.agent_type, types, named_by=named_by)
            if fallback.agent is not None and fallback.agent not in agents:
                raise UnknownAgent(fallback.agent, agents, named_by=named_by)


def policies_from(document: object, where: str) -> Policies:
    """Read policies from a document, as in a team's YAML file. `where`: how errors begin.

    A quota is `{rate_per_s, burst}`, or `{limit, window_s, burst}` for what no window of that length may exceed.

    Raises:
        Misuse: unknown fields, wrong types, or settings that cannot work, named by their place.
    """
    from pydantic import ValidationError

    if not isinstance(document, Mapping):
        raise Misuse(f"{where} is {document!r:.200}; give a mapping, such as breaker: {{failure_threshold: 5}}")
    _check_money(document, where)
    try:
        found: Policies = _adapter().validate_python(_with_quotas(document, where))
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False)[0]
        cause = detail.get("ctx", {}).get("error")
        place = "/".join(map(str, detail["loc"])) or "the document"
        raise Misuse(f"{where} is wrong at {place}: {cause or detail['msg']}") from error
    return found


def _check_money(document: Mapping[str, Any], where: str) -> None:
    budgets = document.get("budgets")
    for number, entry in enumerate(budgets if isinstance(budgets, list) else ()):
        for name in ("limit", "per_call"):
            amount = entry.get(name) if isinstance(entry, Mapping) else None
            if isinstance(amount, float):
                raise Misuse(
                    f"{where} is wrong at budgets/{number}/{name}: {amount!r} is not exact; give money as a text such "
                    "as '12.50', with the quotes, and tokens as a whole number"
                )


def _with_quotas(document: Mapping[str, Any], where: str) -> dict[str, Any]:
    limits = document.get("limits")
    if not isinstance(limits, Mapping):
        return dict(document)
    made: dict[str, object] = {}
    for name, entry in limits.items():
        if isinstance(entry, Mapping) and "window_s" in entry:
            if set(entry) != {"limit", "window_s", "burst"}:
                raise Misuse(f"{where} is wrong at limits/{name}: a window needs limit, window_s and burst")
            try:
                made[name] = Quota.per_window(entry["limit"], entry["window_s"], burst=entry["burst"])
            except PolicyError as error:
                raise Misuse(f"{where} is wrong at limits/{name}: {error}") from error
        else:
            made[name] = entry
    return {**document, "limits": made}


@cache
def _adapter() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(Policies)
