"""Where an agent is reached, and how: address, headers, limits; and one JSON request to it."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from coterie.agents.address import check_url, resolved, same_origin, secrets_of_query, shown
from coterie.agents.answers import Answer, excerpt, failure
from coterie.agents.clients import borrow_client, import_httpx
from coterie.clock import SystemClock
from coterie.errors import AgentUnavailable, Misuse, PolicyError, StepFailed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import httpx

    from coterie.context import TaskContext

__all__ = ["Endpoint", "Secret"]

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VALUE = re.compile(r"[\x20-\x7e]*")
# Written by this module or by HTTP itself.
_OURS = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "content-type",
        "host",
        "idempotency-key",
        "te",
        "traceparent",
        "tracestate",
        "transfer-encoding",
        "upgrade",
        "x-request-timeout",
    }
)
# They keep method and body; every other redirect turns a POST into something else.
_REPEATED = frozenset({307, 308})
_ERROR_BYTES = 8192


@dataclass(frozen=True, slots=True)
class Secret:
    """A header whose value is read from an environment variable at every call. `prefix` comes before it."""

    variable: str
    prefix: str = ""

    def read(self) -> str:
        """The value, without the spaces and line ends around it.

        Raises:
            Misuse: the variable is not set, or holds what no header can.
        """
        value = os.environ.get(self.variable, "").strip()
        if not value:
            raise Misuse(f"the environment variable {self.variable!r} is not set; set it where the agent is called")
        if not _VALUE.fullmatch(value):
            raise Misuse(f"the environment variable {self.variable!r} holds more than printable ASCII; correct it")
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One fixed address with its headers and limits; makes JSON requests to it.

    Raises:
        PolicyError: a part that cannot work. No message repeats a header's value.
    """

    url: str
    headers: Mapping[str, str] = field(repr=False)
    secrets: Mapping[str, Secret] = field(repr=False)
    timeout_s: float
    connect_timeout_s: float
    answer_limit_bytes: int
    max_redirects: int

    def __post_init__(self) -> None:
        check_url(self.url)
        self._check_headers()
        for what, seconds in (("timeout_s", self.timeout_s), ("connect_timeout_s", self.connect_timeout_s)):
            if not isinstance(seconds, (int, float)) or isinstance(seconds, bool) or not 0 < seconds < float("inf"):
                raise PolicyError(f"{what} is {seconds!r}; give seconds > 0")
        if type(self.answer_limit_bytes) is not int or self.answer_limit_bytes < 1:
            raise PolicyError(f"answer_limit_bytes is {self.answer_limit_bytes!r}; give a whole number >= 1")
        if type(self.max_redirects) is not int or self.max_redirects < 0:
            raise PolicyError(f"max_redirects is {self.max_redirects!r}; give a whole number >= 0")

    def _check_headers(self) -> None:
        for name in [*self.headers, *self.secrets]:
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                raise PolicyError(f"the header {name!r} is no header's name; use letters, digits and '-'")
            if name.lower() in _OURS:
                raise PolicyError(f"the header {name!r} is written by coterie itself; leave it out")
        for name, value in self.headers.items():
            if not isinstance(value, str) or not _VALUE.fullmatch(value) or value != value.strip():
                # The name alone: the value may be secret.
                raise PolicyError(f"the header {name!r} has a value that is no line of printable ASCII; correct it")
        for name, secret in self.secrets.items():
            if not isinstance(secret.variable, str) or not secret.variable:
                raise PolicyError(f"the header {name!r} needs the name of an environment variable")

    @property
    def shown(self) -> str:
        """The address for people: without its query, bounded."""
        return shown(self.url)

    async def post(self, content: bytes, ctx: TaskContext) -> tuple[Answer, Collection[str]]:
        """POST a JSON document and read the answer; also what must not be repeated from it.

        Redirects (307, 308) are followed within the same scheme, host and port, at most `max_redirects` of them.

        Raises:
            AgentUnavailable, AgentThrottled: no answer within `timeout_s`, or one that says later.
            AgentRejected: an answer that says no.
            StepFailed: more than `answer_limit_bytes`, or a redirect elsewhere. Misuse: a secret is not set.
        """
        found = {name: (secret.prefix, secret.read()) for name, secret in self.secrets.items()}
        kept = [*self.headers.values(), *(value for _, value in found.values()), *secrets_of_query(self.url)]
        headers = {
            "accept": "application/json",
            **self.headers,
            **{name: prefix + value for name, (prefix, value) in found.items()},
            # Compressed, a small answer could be a large one.
            "accept-encoding": "identity",
            "content-type": "application/json",
            **self._about(ctx),
        }
        httpx = import_httpx()
        try:
            async with asyncio.timeout(self.timeout_s):
                answer = await self._exchange(content, headers)
        except TimeoutError as error:
            raise AgentUnavailable(
                f"{self.shown!r} did not answer within {self.timeout_s:g} s; try again later, or raise timeout_s"
            ) from error
        # `str` of httpx's errors repeats neither headers nor bodies.
        except (httpx.TransportError, httpx.InvalidURL, httpx.StreamError) as error:
            why = excerpt(Answer(0, {}, ": ".join(filter(None, (type(error).__name__, str(error)))).encode()), kept)
            raise AgentUnavailable(f"{self.shown!r} could not be reached: {why}; try again later") from error
        if not 200 <= answer.status < 300:
            raise failure(answer, repr(self.shown), secrets=kept, now=SystemClock.now())
        return answer, kept

    def _about(self, ctx: TaskContext) -> dict[str, str]:
        """What the agent is told about the task besides its input."""
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        about: dict[str, str] = {"idempotency-key": ctx.idempotency_key}
        left_s = self.timeout_s
        if ctx.deadline is not None:
            left_s = min(left_s, max(0.0, ctx.deadline - SystemClock.now()))
        about["x-request-timeout"] = f"{left_s:.3f}"
        # Writes nothing when there is no span.
        TraceContextTextMapPropagator().inject(about)
        return about

    async def _exchange(self, content: bytes, headers: Mapping[str, str]) -> Answer:
        httpx = import_httpx()
        limits = httpx.Timeout(self.timeout_s, connect=self.connect_timeout_s)
        url = self.url
        async with borrow_client() as client:
            for _ in range(self.max_redirects + 1):
                async with client.stream("POST", url, content=content, headers=headers, timeout=limits) as response:
                    if not 300 <= response.status_code < 400:
                        return await self._read(response)
                    url = self._next_url(url, response)
        raise StepFailed(f"{self.shown!r} redirects more than {self.max_redirects} times; give its final address")

    def _next_url(self, url: str, response: httpx.Response) -> str:
        status = response.status_code
        if status not in _REPEATED:
            raise StepFailed(f"{self.shown!r} redirects with status {status}; give the address that it redirects to")
        location = response.headers.get("location", "")
        target = resolved(url, location)
        if not target or not same_origin(target, self.url):
            raise StepFailed(
                f"{self.shown!r} redirects to {shown(target or location)!r}, which is not followed: "
                "not the same scheme, host and port; give the agent's final address"
            )
        return target

    async def _read(self, response: httpx.Response) -> Answer:
        """The answer, of a failure its beginning; the connection is dropped where reading stops early."""
        ok = response.is_success
        limit = self.answer_limit_bytes if ok else _ERROR_BYTES
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        body, cut = bytearray(), False
        # An asynchronous generator, which its type does not say.
        chunks = cast("AsyncGenerator[bytes, None]", response.aiter_raw())
        async with aclosing(chunks):
            async for chunk in chunks:
                body += chunk
                if cut := len(body) > limit:
                    break
        if ok and cut:
            raise StepFailed(
                f"{self.shown!r} answered with more than {limit} bytes; let it answer less, or raise answer_limit_bytes"
            )
        if encoding not in ("", "identity"):
            if ok:
                raise StepFailed(
                    f"{self.shown!r} answered with the content encoding {encoding[:20]!r}, which was not asked for; "
                    "let it answer uncompressed"
                )
            body.clear()
        return Answer(response.status_code, dict(response.headers), bytes(body[:limit]), cut)
