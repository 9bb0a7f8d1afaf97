"""Lua scripts by the name of the operation they are a twin of: text, and the digest the server knows them by."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

__all__ = ["Script", "as_twin", "group_script", "plain_script", "topic_script", "twin"]


@dataclass(frozen=True, slots=True)
class Script:
    """text: what SCRIPT LOAD takes. sha: what EVALSHA takes, 40 hex digits."""

    text: bytes
    sha: bytes


@cache
def twin(operation: str) -> Script | None:
    """The script of an operation, `limit.take` in `lua/limit_take.lua`; None if it has no twin."""
    body = _read(operation.replace(".", "_"))
    return None if body is None else as_twin(body)


def as_twin(body: str) -> Script:
    """The script around a `decide` written in Lua; `lua/prelude.lua` says what that function gets and gives."""
    return _script("\n".join([_required("prelude"), body, _required("epilogue")]))


@cache
def plain_script(name: str) -> Script:
    """A script of the store's own, from `lua/<name>.lua`, as it stands."""
    return _script(_required(name))


@cache
def topic_script(name: str) -> Script:
    """A script over a topic of a log, `lua/_log_<name>.lua` behind what all of these begin with."""
    return _script("\n".join([_required("_log_topic"), _required(f"_log_{name}")]))


@cache
def group_script(name: str) -> Script:
    """The same of a script over a group of a topic."""
    return _script("\n".join([_required("_log_topic"), _required("_log_group"), _required(f"_log_{name}")]))


def _required(name: str) -> str:
    text = _read(name)
    if text is None:
        raise FileNotFoundError(f"coterie is installed without its script lua/{name}.lua; install it again")
    return text


def _read(name: str) -> str | None:
    found = files("coterie.stores.redis") / "lua" / f"{name}.lua"
    return found.read_text("utf-8") if found.is_file() else None


def _script(text: str) -> Script:
    encoded = text.encode()
    return Script(encoded, hashlib.sha1(encoded, usedforsecurity=False).hexdigest().encode())
