"""Strike out of a text what looks like a credential: of URLs, headers, assignments, and keys of known shapes.

Pure. It is the last line, not the first: who makes a text leaves secrets out of it. What an agent's error says is its
own, though, and so are the URLs and answers that libraries quote. A secret without a shape or a name stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["STRUCK", "is_secret_name", "redacted"]

STRUCK = "***"

# A name that ends like this holds a secret: `api_key`, `OPENAI_API_KEY`, `X-Amz-Signature`; not `tokens`, nor `key`.
_NAME = (
    r"(?:[\w-]{0,60}[_-])?(?:api[_-]?key|access[_-]?key(?:[_-]?id)?|secret(?:[_-]?key)?|private[_-]?key|signing[_-]?keys?"
    r"|token|passwo?r?d|passwd|passphrase|signature|credentials?)"
)
_SECRET_NAME = re.compile(rf"(?:{_NAME}|apikey|pwd|sig|authorization|cookie)\Z", re.IGNORECASE)
# Shorter values are words, and would be struck out of everything.
_LEAST = 6

_USERINFO = re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.-]{0,30}://)[^\s/?#'\"<>]*@", re.IGNORECASE)
_BEARER = re.compile(r"\b(?P<kind>bearer|basic)\s+(?!\*\*\*)[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
# What stands behind a name whose value is quoted. Quotes within quotes have backslashes before them.
_GIVES = r"(?:\\*['\"]\s?:|(?:\\*['\"])?\s?=>?)\s?b?"


def _to_the(quote: str) -> str:
    """What is quoted, up to the quote of that group; one behind a backslash is it where something ends there."""
    return rf"(?:[^'\"\\\n]+|\\.|(?!(?P={quote}))['\"]|(?<=\\)['\"](?![,;:)}}\]]|\Z))+"


# `name=value` is one in any length, as in URLs; `name: value` may be a sentence, unless the value looks like none.
# Nothing has to match behind a value: so each is looked at once, however long it is.
_ASSIGNED = re.compile(
    rf"(?P<name>(?<![\w-])(?:{_NAME}|apikey|pwd|sig))"
    rf"(?:(?P<text>{_GIVES}(?P<quote>['\"])){_to_the('quote')}"
    rf"|(?P<within>{_GIVES}(?P<slashed>\\+(?P<mark>['\"])))"
    r"(?:[^'\"\\\n]+|(?!(?P=slashed))\\+['\"]?|(?!(?P=mark))['\"])+"
    r"|(?P<equals>['\"]?\s?=(?![=>])\s?b?['\"]?)(?!\\+['\"])[^\s'\"&,;)}\]]+"
    r"|(?P<number>\\*['\"]\s?:\s?)\d{6,}(?:\.\d+)?"
    rf"|(?P<quoted>\s?:\s?b?(?P<opening>['\"]))(?=(?:\\.|(?!(?P=opening))[^\\\n]){{8}}){_to_the('opening')}"
    r"|(?P<bare>\s?:\s?)(?=[^\s,;]{0,80}\d)[^\s'\",;)}\]]{12,})",
    re.IGNORECASE,
)
# Names that are secrets' where they stand in the query of a URL, and anything elsewhere.
_QUERY = re.compile(r"(?P<name>[?&](?:key|code)=)(?!\*\*\*)[^\s&#'\"<>]{6,}", re.IGNORECASE)
_SHAPES = re.compile(
    r"(?<![\w-])(?:sk-[\w-]{12,}|(?:AKIA|ASIA)[A-Z0-9]{16}\b|gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}"
    r"|xox[abeoprs]-[\w-]{10,}|AIza[\w-]{30,}|hf_[A-Za-z0-9]{20,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    re.DOTALL,
)
# Without one of these there is nothing to find; most texts have none.
_HINT = re.compile(
    r"://|bearer|basic|key|secret|token|pass|pwd|sig|credential|sk-|akia|asia|gh[pousr]_|github_pat|glpat-|xox|aiza|hf_|eyj|[?&]code=",
    re.IGNORECASE,
)


def is_secret_name(name: str) -> bool:
    """Whether what has this name is a secret: a field, a variable, a header."""
    return _SECRET_NAME.match(name) is not None


def redacted(text: str, secrets: Iterable[str] = ()) -> str:
    """The text, with `***` in place of what looks like a credential, and of the `secrets` themselves.

    A text without any comes back as it is.
    """
    # The longest first: another may be a part of it.
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _LEAST and secret in text:
            text = text.replace(secret, STRUCK)
    if _HINT.search(text) is None:
        return text
    text = _USERINFO.sub(_without_login, text)
    text = _BEARER.sub(rf"\g<kind> {STRUCK}", text)
    text = _ASSIGNED.sub(_without_value, text)
    text = _QUERY.sub(rf"\g<name>{STRUCK}", text)
    return _SHAPES.sub(STRUCK, text)


def _without_login(found: re.Match[str]) -> str:
    return f"{found['scheme']}{STRUCK}@"


def _without_value(found: re.Match[str]) -> str:
    names = ("text", "within", "equals", "number", "quoted", "bare")
    between = next(found[name] for name in names if found[name] is not None)
    return f"{found['name']}{between}{STRUCK}"
