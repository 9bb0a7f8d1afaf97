"""What an HTTP answer means: outcome by status, Retry-After, JSON, and an excerpt that is fit for a message.

Pure: callers pass the bytes, the headers and `now`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import NoReturn

from coterie._json import JsonValue
from coterie._rules.redaction import redacted
from coterie.errors import AgentRejected, AgentThrottled, AgentUnavailable, BadAnswer, CoterieError

__all__ = ["MAX_RETRY_AFTER_S", "Answer", "excerpt", "failure", "is_transient", "parse_json", "retry_after_s"]

# A longer wait is an outage, not a pause; no answer of a stranger parks a task for weeks.
MAX_RETRY_AFTER_S = 86_400.0
_EXCERPT_CHARS = 120
# Request time-out, too early, too many requests; beside every 5xx.
_TRANSIENT = frozenset({408, 425, 429})
_SECONDS = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,12})?")
_JSON_TYPE = re.compile(r"application/(?:[a-z0-9.+_-]*\+)?json", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it came. headers: with lower-case names. cut: whether more of the body was left unread."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    cut: bool = False


def is_transient(status: int) -> bool:
    """Whether a later try of the same request may end otherwise."""
    return status in _TRANSIENT or 500 <= status < 600


def failure(answer: Answer, where: str, *, secrets: Collection[str], now: float) -> CoterieError:
    """The error that an answer without success stands for. now: in seconds since the epoch."""
    said = excerpt(answer, secrets)
    what = f"{where} answered with HTTP status {answer.status}{f': {said!r}' if said else ''}"
    if not is_transient(answer.status):
        return AgentRejected(f"{what}; correct the request, its address or its credentials", status=answer.status)
    wait_s = retry_after_s(answer.headers, now)
    kind = AgentThrottled if answer.status == 429 else AgentUnavailable
    asked = "later" if wait_s is None else f"in {wait_s:.3g} s, as it asks"
    return kind(f"{what}; try again {asked}", status=answer.status, retry_after_s=wait_s)


def retry_after_s(headers: Mapping[str, str], now: float) -> float | None:
    """The wait that `Retry-After` asks for, in seconds or as an HTTP date; None if it says nothing readable.

    A date is compared with the answer's own `Date`, where there is one, so that clocks need not agree. At most
    `MAX_RETRY_AFTER_S`, at least 0.
    Source: RFC 9110, section 10.2.3.
    """
    given = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(given):
        return min(float(given), MAX_RETRY_AFTER_S)
    until = _instant(given)
    if until is None:
        return None
    sent = _instant(headers.get("date", "").strip())
    return min(max(0.0, until - (now if sent is None else sent)), MAX_RETRY_AFTER_S)


def parse_json(answer: Answer, where: str, *, secrets: Collection[str]) -> JsonValue:
    """The JSON value of a successful answer; None of one without content.

    Raises:
        BadAnswer: its content type is another, or the body is no JSON.
    """
    if answer.status in (204, 205) and not answer.body:
        return None
    media_type = answer.headers.get("content-type", "").partition(";")[0].strip()
    if not _JSON_TYPE.fullmatch(media_type):
        shown = _clean(media_type) or "no content type"
        raise BadAnswer(
            f"{where} answered with {shown!r}: {excerpt(answer, secrets)!r}; let it answer with application/json",
            status=answer.status,
        )
    try:
        value: JsonValue = json.loads(answer.body, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise BadAnswer(
            f"{where} did not answer with JSON ({type(error).__name__}): {excerpt(answer, secrets)!r}; "
            "let it answer with one JSON value",
            status=answer.status,
        ) from error
    return value


def excerpt(answer: Answer, secrets: Collection[str]) -> str:
    """The beginning of a body as one line without control characters, and without credentials."""
    text = answer.body.decode(errors="replace")
    forms = {form for secret in secrets if secret for form in _forms(secret)}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, "***")
    if answer.cut and forms:
        # The end may be the beginning of a secret.
        text = text[: -max(map(len, forms))]
    # What it says of others' credentials is none of ours to pass on.
    return _clean(redacted(text))


def _forms(secret: str) -> set[str]:
    """How a body may repeat a value: as it is, or inside a JSON string."""
    return {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1].replace("/", r"\/")}


def _clean(text: str) -> str:
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line if len(line) <= _EXCERPT_CHARS else f"{line[: _EXCERPT_CHARS - 1]}…"


def _instant(text: str) -> float | None:
    try:
        found: datetime = parsedate_to_datetime(text)
        return found.timestamp()
    except (ValueError, OverflowError):
        return None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)
