"""Agents behind an HTTP endpoint: one JSON request, one JSON answer, typed failures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from coterie._json import JsonValue, canonical_bytes
from coterie.agents.answers import parse_json
from coterie.agents.endpoint import Endpoint, Secret
from coterie.errors import PolicyError

if TYPE_CHECKING:
    from coterie.context import TaskContext

__all__ = ["HttpAgent", "secrets_of"]


@dataclass(frozen=True, slots=True, repr=False)
class HttpAgent:
    """An agent's handler that POSTs the task to a fixed address and takes the JSON answer as the output.

    url: http or https, fixed when the team is written: no input ever becomes part of it.
    body: `envelope` sends `{"workflow_id", "task_id", "item_key", "attempt", "deadline", "input"}`; `input` the
        task's input alone. `deadline` is in seconds since the epoch, or null.
    headers: sent as they are. headers_env: header -> environment variable that holds its value.
    bearer_env: environment variable that holds a token; sent as `Authorization: Bearer …`.
    timeout_s: for the whole exchange; the task's own time-out holds besides. connect_timeout_s: to connect.
    answer_limit_bytes: reading stops, and the task fails, when the answer is longer.
    max_redirects: of 307 and 308 to the same scheme, host and port; any other redirect is a failure.

    Each request says in its headers: `Idempotency-Key` (equal in every attempt), `X-Request-Timeout` (seconds until
    nobody waits for the answer any more), and `traceparent` when there is a span.

    Raises:
        PolicyError: a setting that cannot work.
    """

    url: str
    _: KW_ONLY
    body: Literal["envelope", "input"] = "envelope"
    headers: Mapping[str, str] = field(default_factory=dict)
    headers_env: Mapping[str, str] = field(default_factory=dict)
    bearer_env: str | None = None
    timeout_s: float = 60.0
    connect_timeout_s: float = 10.0
    answer_limit_bytes: int = 10 * 2**20
    max_redirects: int = 3
    _endpoint: Endpoint = field(init=False, compare=False)

    def __post_init__(self) -> None:
        if self.body not in ("envelope", "input"):
            raise PolicyError(f"body is {self.body!r}; use 'envelope' or 'input'")
        endpoint = Endpoint(
            url=self.url,
            headers=self.headers,
            secrets=secrets_of(self.headers_env, self.bearer_env),
            timeout_s=self.timeout_s,
            connect_timeout_s=self.connect_timeout_s,
            answer_limit_bytes=self.answer_limit_bytes,
            max_redirects=self.max_redirects,
        )
        object.__setattr__(self, "_endpoint", endpoint)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._endpoint.shown!r}, body={self.body!r})"

    async def __call__(self, task_input: dict[str, JsonValue], ctx: TaskContext) -> JsonValue:
        """Ask once.

        Raises:
            AgentUnavailable: not reached, no answer in time, or status 408, 425 or 5xx; AgentThrottled: 429.
            BadAnswer: success without JSON.
            AgentRejected: any other status. StepFailed: a redirect elsewhere, or an answer that is too long.
        """
        document: Any = task_input if self.body == "input" else _envelope(task_input, ctx)
        answer, secrets = await self._endpoint.post(canonical_bytes(document), ctx)
        return parse_json(answer, repr(self._endpoint.shown), secrets=secrets)


def secrets_of(headers_env: Mapping[str, str], bearer_env: str | None) -> dict[str, Secret]:
    """The headers whose values come from the environment."""
    secrets = {name: Secret(variable) for name, variable in headers_env.items()}
    if bearer_env is not None:
        if any(str(name).lower() == "authorization" for name in secrets):
            raise PolicyError("both bearer_env and headers_env give the header Authorization; choose one")
        secrets["Authorization"] = Secret(bearer_env, "Bearer ")
    return secrets


def _envelope(task_input: dict[str, JsonValue], ctx: TaskContext) -> dict[str, JsonValue]:
    return {
        "workflow_id": ctx.workflow_id,
        "task_id": ctx.task_id,
        "item_key": ctx.item_key,
        "attempt": ctx.attempt,
        "deadline": ctx.deadline,
        "input": task_input,
    }
