"""Agents behind the chat completions format of OpenAI, which most model servers and gateways speak."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast
from urllib.parse import urlsplit, urlunsplit

from coterie._json import JsonValue, canonical_bytes, require_json
from coterie.agents.answers import parse_json
from coterie.agents.endpoint import Endpoint
from coterie.agents.http import secrets_of
from coterie.agents.prompt import Prompt
from coterie.errors import BadAnswer, PolicyError, StepFailed
from coterie.usage import Price

if TYPE_CHECKING:
    from coterie.context import TaskContext

__all__ = ["ChatAgent"]

_OWN_FIELDS = frozenset({"messages", "model", "n", "stream"})


@dataclass(frozen=True, slots=True, repr=False)
class ChatAgent:
    """An agent's handler that asks a model once, without streaming, and takes its text, or JSON, as the output.

    base_url: up to and with the version, such as `https://api.openai.com/v1`; `/chat/completions` is added to its path.
    prompt: the user's message, with `${field}` for fields of the task's input; by default the input as JSON.
    system: the system's message, sent as it is.
    response_format: `json` asks for a JSON object, which becomes the output; `text` makes the text the output.
    settings: more fields of the request, such as `{"seed": 1}`.
    api_key_env: environment variable that holds the key; sent as `Authorization: Bearer …`.
    price: what tokens cost; reported with their number through `ctx.report_usage`, also when the attempt then fails.
    The rest is as in `HttpAgent`. What a model writes never becomes part of an address or a header.

    Raises:
        PolicyError: a setting that cannot work.
    """

    base_url: str
    model: str
    _: KW_ONLY
    prompt: str | None = None
    system: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    response_format: Literal["text", "json"] = "text"
    settings: Mapping[str, JsonValue] = field(default_factory=dict)
    api_key_env: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    headers_env: Mapping[str, str] = field(default_factory=dict)
    price: Price | None = None
    timeout_s: float = 120.0
    connect_timeout_s: float = 10.0
    answer_limit_bytes: int = 10 * 2**20
    max_redirects: int = 3
    _endpoint: Endpoint = field(init=False, compare=False)
    _prompt: Prompt = field(init=False, compare=False)

    def __post_init__(self) -> None:
        self._check()
        endpoint = Endpoint(
            url=_completions(self.base_url),
            headers=self.headers,
            secrets=secrets_of(self.headers_env, self.api_key_env),
            timeout_s=self.timeout_s,
            connect_timeout_s=self.connect_timeout_s,
            answer_limit_bytes=self.answer_limit_bytes,
            max_redirects=self.max_redirects,
        )
        object.__setattr__(self, "_endpoint", endpoint)
        object.__setattr__(self, "_prompt", Prompt(self.prompt))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._endpoint.shown!r}, {self.model!r})"

    async def __call__(self, task_input: dict[str, JsonValue], ctx: TaskContext) -> JsonValue:
        """Ask once.

        Raises:
            AgentUnavailable, AgentThrottled, AgentRejected, BadAnswer: as `HttpAgent`.
            BadAnswer: the answer holds no text, or no JSON where that was asked for.
            StepFailed: the answer was cut at its limit of tokens, or withheld by a filter. Misuse: no such field.
        """
        answer, secrets = await self._endpoint.post(canonical_bytes(self._request(task_input)), ctx)
        document = parse_json(answer, self._named, secrets=secrets)
        self._report(document, ctx)
        return self._output(document)

    @property
    def _named(self) -> str:
        return f"the model {self.model[:80]!r} at {self._endpoint.shown!r}"

    def _check(self) -> None:
        if not isinstance(self.model, str) or not self.model:
            raise PolicyError(f"the model is {self.model!r}; give its name")
        if self.system is not None and not isinstance(self.system, str):
            raise PolicyError(f"system is {self.system!r:.200}; give a text")
        if self.response_format not in ("text", "json"):
            raise PolicyError(f"response_format is {self.response_format!r}; use 'text' or 'json'")
        if self.max_tokens is not None and (type(self.max_tokens) is not int or self.max_tokens < 1):
            raise PolicyError(f"max_tokens is {self.max_tokens!r}; give a whole number >= 1")
        heat = self.temperature
        if heat is not None and not (type(heat) in (int, float) and 0 <= heat < float("inf")):
            raise PolicyError(f"temperature is {heat!r}; give a number >= 0")
        if self.price is not None and not isinstance(self.price, Price):
            raise PolicyError(f"price is {self.price!r}; pass a Price")
        require_json(dict(self.settings), "settings")
        taken = sorted(_OWN_FIELDS & self.settings.keys())
        if taken:
            raise PolicyError(f"settings sets {taken[0]!r}, which the agent itself sets; leave it out")

    def _request(self, task_input: dict[str, JsonValue]) -> dict[str, Any]:
        messages = [{"role": "system", "content": self.system}] if self.system is not None else []
        request: dict[str, Any] = {
            **self.settings,
            "model": self.model,
            "messages": [*messages, {"role": "user", "content": self._prompt.fill(task_input)}],
            "stream": False,
        }
        if self.max_tokens is not None:
            request["max_tokens"] = self.max_tokens
        if self.temperature is not None:
            request["temperature"] = self.temperature
        if self.response_format == "json":
            request["response_format"] = {"type": "json_object"}
        return request

    def _report(self, document: JsonValue, ctx: TaskContext) -> None:
        usage = document.get("usage") if isinstance(document, dict) else None
        counted = usage if isinstance(usage, dict) else {}
        asked, written = (_count(counted.get(name)) for name in ("prompt_tokens", "completion_tokens"))
        cost = self.price.cost_micros(input_tokens=asked, output_tokens=written) if self.price else 0
        ctx.report_usage(requests=1, input_tokens=asked, output_tokens=written, cost_micros=cost)

    def _output(self, document: JsonValue) -> JsonValue:
        try:
            choice = cast("Any", document)["choices"][0]
            text, ended = choice["message"]["content"], choice.get("finish_reason")
        except (LookupError, TypeError, AttributeError) as error:
            raise BadAnswer(f"{self._named} gave no choice with a message; is it a chat completions server?") from error
        if ended == "length":
            raise StepFailed(f"{self._named} was cut at its limit of tokens; raise max_tokens, or ask for less")
        if ended == "content_filter":
            raise StepFailed(f"{self._named} withheld its answer (content filter); change the prompt or the input")
        if not isinstance(text, str):
            raise BadAnswer(f"{self._named} answered without text; try again, or change the prompt")
        if self.response_format == "text":
            return text
        try:
            value: JsonValue = require_json(json.loads(text), "the model's answer")
        except (ValueError, RecursionError) as error:
            raise BadAnswer(f"{self._named} wrote no JSON; try again, or ask for JSON in the prompt") from error
        return value


def _completions(base_url: object) -> str:
    """The address that completions are asked of; a query stays where it was."""
    if not isinstance(base_url, str):
        raise PolicyError(f"base_url is {base_url!r}; give http://host:port/v1")
    try:
        parts = urlsplit(base_url)
    except ValueError:
        return base_url
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/chat/completions"))


def _count(value: object) -> int:
    """A number of tokens as the service gives it; 0 where it gives none that can be."""
    return value if type(value) is int and value >= 0 else 0
