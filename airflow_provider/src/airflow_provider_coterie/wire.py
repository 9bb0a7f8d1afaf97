"""What travels through XCom: references and small records, at most 1 KiB each.

Importing this lets Airflow read our values back; every DAG file that uses an operator of ours does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
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
    while _size(document) > MAX_RECORD_BYTES and "error" in document:
        message = document["error"]["message"]
        document["error"] = {**document["error"], "message": message[: len(message) // 2]}
    return document


async def unpack_record(store: ArtifactStore, packed: object) -> TaskResult | None:
    """The record that `pack_record` made; None for anything else."""
    document = await store.load(packed) if isinstance(packed, Ref) else packed
    return TaskResult.from_dict(document) if isinstance(document, Mapping) and "task_id" in document else None


def pack_status(status: str, workflow_id: str, missing: list[str]) -> dict[str, Any]:
    """What a person wants to know of a run: its status, and the first of the tasks that are missing."""
    document: dict[str, Any] = {"status": status, "workflow_id": workflow_id, "missing": missing[:MAX_NAMED]}
    if len(missing) > MAX_NAMED:
        document["missing_count"] = len(missing)
    while _size(document) > MAX_RECORD_BYTES and document["missing"]:
        document["missing"].pop()
        document["missing_count"] = len(missing)
    return document


def _size(document: Mapping[str, Any]) -> int:
    return len(json.dumps(document))
