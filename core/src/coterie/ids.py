"""Names and identities: what they may look like, and how they are derived.

Nothing here depends on the scheduler's own ids of a single try, so that a retry, a clear and another engine
find the same keys.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias

from coterie._json import JsonValue, canonical_bytes
from coterie.errors import Misuse

__all__ = [
    "AgentId",
    "AgentType",
    "ItemKey",
    "RunStatus",
    "TaskId",
    "TaskState",
    "WorkflowId",
    "asked_hash",
    "check_name",
    "check_workflow_id",
    "content_hash",
    "fingerprint",
    "idempotency_key",
    "item_keys",
    "item_name",
    "new_workflow_id",
    "output_line",
    "with_upstream",
]

TaskId: TypeAlias = str
AgentId: TypeAlias = str
AgentType: TypeAlias = str
ItemKey: TypeAlias = str
WorkflowId: TypeAlias = str

TaskState = Literal["succeeded", "failed", "upstream_failed", "skipped", "cancelled"]
RunStatus = Literal["succeeded", "partial", "failed", "cancelled"]

# A letter or digit, then up to 127 more; no dot or slash: schedulers use the dot for groups, stores the slash.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}\Z")
_HASH_KEY = re.compile(r"([0-9a-f]{8})[0-9a-f]{24}(#[0-9]+)?\Z")
_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.~:+-]{0,249}\Z")


def check_name(name: object, what: str) -> str:
    """Return `name` if it may name a task, agent, type, team, plan or namespace.

    Raises:
        Misuse: it is empty, over 128 characters, or holds anything but letters, digits, `_` and `-`.
    """
    if not isinstance(name, str) or not _NAME.match(name):
        raise Misuse(
            f"{what} {name!r} is not a usable name; use 1 to 128 letters, digits, '_' or '-', "
            "beginning with a letter or digit"
        )
    return name


def check_workflow_id(workflow_id: object) -> WorkflowId:
    """Return `workflow_id` if it may name a run in every store and on every engine."""
    if not isinstance(workflow_id, str) or not _RUN.match(workflow_id):
        raise Misuse(
            f"workflow id {workflow_id!r} is not usable; use 1 to 250 letters, digits or any of '_.~:+-', "
            "beginning with a letter or digit"
        )
    return workflow_id


def new_workflow_id(unix_ms: int) -> WorkflowId:
    """A UUIDv7 (RFC 9562) for an instant in milliseconds: sorts by time, 74 random bits."""
    random = int.from_bytes(os.urandom(10), "big")
    bits = (unix_ms & (1 << 48) - 1) << 80 | 0x7 << 76 | (random >> 64 & 0xFFF) << 64
    text = f"{bits | 0b10 << 62 | random & (1 << 62) - 1:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def content_hash(value: object) -> str:
    """SHA-256, in hexadecimal, of the canonical form of a JSON value."""
    return hashlib.sha256(canonical_bytes(value)).hexdigest()


def item_keys(items: Iterable[JsonValue], given: Iterable[JsonValue] | None = None) -> list[ItemKey]:
    """One key an item: the user's, else the item's hash; equals are numbered in order of appearance.

    Neither an item's place among others nor the chunking enters its key.
    """
    names = [_given_key(key) for key in given] if given is not None else [content_hash(i)[:32] for i in items]
    seen: Counter[str] = Counter()
    keys, taken = [], set(names)
    for name in names:
        seen[name] += 1
        # Numbered like that, it may be what the user called another one.
        while seen[name] > 1 and f"{name}#{seen[name]}" in taken:
            seen[name] += 1
        keys.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return keys


def item_name(key: ItemKey, index: int) -> str:
    """What people are shown of an item: the key that the user gave it; without one, its index and a short hash."""
    hashed = _HASH_KEY.match(key)
    return f"[{index}] ({hashed[1]}…{hashed[2] or ''})" if hashed else repr(key)


def fingerprint(
    agent_type: str, version: str, task_input: Mapping[str, JsonValue], upstream: Mapping[str, str | None]
) -> str:
    """What a task's output depends on: its agents' type and declared version, input, upstream output hashes."""
    outputs = b"".join([output_line(name, upstream[name]) for name in sorted(upstream)])
    return with_upstream(asked_hash(agent_type, version, task_input), outputs)


def asked_hash(agent_type: str, version: str, task_input: Mapping[str, JsonValue]) -> bytes:
    """The part of a fingerprint that is known before anything has run."""
    return hashlib.sha256(canonical_bytes([agent_type, version, dict(task_input)])).digest()


def output_line(name: str, digest: str | None) -> bytes:
    """What a fingerprint takes in of one output; None stands for a task that has none."""
    # Names hold neither of the separators.
    return f"{name}={digest or ''};".encode()


def with_upstream(asked: bytes, outputs: bytes) -> str:
    """The fingerprint of what is asked, after these outputs: their lines, by name."""
    return hashlib.sha256(asked + outputs).hexdigest()


def idempotency_key(
    *, namespace: str, workflow_id: str, task_id: str, item_key: str | None, epoch: int, fingerprint: str
) -> str:
    """The same for every attempt at the same work, in every process and on every engine: 64 hex digits."""
    return content_hash([namespace, workflow_id, task_id, item_key, epoch, fingerprint])


def _given_key(key: JsonValue) -> str:
    return key if isinstance(key, str) else canonical_bytes(key).decode()
