"""What travels through XCom: references and small records, at most 1 KiB each.

Importing this lets Airflow read our values back; every DAG file that uses an operator of ours does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from airflow.sdk.serde import allow_class

from coterie import ArtifactStore, CoterieError, Part, PartResult, Parts, Ref, TaskResult

__all__ = ["RECORD_KEY", "STATUS_KEY", "pack_record", "pack_status", "stored", "unpack_record"]

RECORD_KEY = "coterie_result"
STATUS_KEY = "coterie_status"

# As JSON in ASCII, so that what Airflow stores and shows stays within 1 KiB, its envelope included.
MAX_RECORD_BYTES = 900
MAX_NAMED = 12

for _class in (Ref, Part, Parts, PartResult):
    allow_class(_class)


async def stored(store: ArtifactStore, result: TaskResult) -> TaskResult:
    """The same with its output by reference: an engine that has no artifact store may have left the value itself."""
    if result.state != "succeeded" or isinstance(result.output, Ref):
        return result
    return replace(result, output=await store.put(result.output))


async def pack_record(store: ArtifactStore | None, result: TaskResult) -> dict[str, Any] | Ref:
    """A task's record for XCom: without its output, which is the task's return value.

    A long error message makes a record too large; then it lies in the store, and its reference travels. Without
    a store that works, the message is cut.
    """
    document = result.to_dict()
    document.pop("output", None)
    if store is not None and _size(document) > MAX_RECORD_BYTES:
        with suppress(CoterieError):
            return await store.put(document)
    while _size(document) > MAX_RECORD_BYTES and (message := document.get("error", {}).get("message")):
        document["error"] = {**document["error"], "message": message[: len(message) // 2]}
    return document


async def unpack_record(store: ArtifactStore, packed: object) -> TaskResult | None:
    """The record that `pack_record` made; None for anything else."""
    document = await store.load(packed) if isinstance(packed, Ref) else packed
    return TaskResult.from_dict(document) if isinstance(document, Mapping) and "task_id" in document else None


def pack_status(
    status: str, workflow_id: str, missing: list[str], *, saga: str | None = None, left: Sequence[str] = ()
) -> dict[str, Any]:
    """What a person wants to know of a run: its status, and the first of the tasks that are missing.

    saga: what came of undoing it, where anything was to be undone; left: the tasks that were not undone.
    """
    document: dict[str, Any] = {"status": status, "workflow_id": workflow_id, "missing": missing[:MAX_NAMED]}
    named: dict[str, Sequence[str]] = {"missing": missing}
    if saga is not None:
        document |= {"saga": saga, "left": list(left[:MAX_NAMED])}
        named["left"] = left
    while True:
        for name, every in named.items():
            if len(every) > len(document[name]):
                document[f"{name}_count"] = len(every)
        longest = max(named, key=lambda name: len(document[name]))
        if _size(document) <= MAX_RECORD_BYTES or not document[longest]:
            return document
        document[longest].pop()


def _size(document: Mapping[str, Any]) -> int:
    return len(json.dumps(document))
