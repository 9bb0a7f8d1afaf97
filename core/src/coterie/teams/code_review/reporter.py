"""The reporter: merges whatever the other agents left behind into one report, in four formats."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from coterie._json import JsonValue
from coterie.errors import ArtifactError, Misuse, StepFailed
from coterie.items import is_items, load_items
from coterie.ref import JSON_MEDIA_TYPE, Ref
from coterie.teams.code_review.report import (
    Inputs,
    ItemRecord,
    Report,
    TaskRecord,
    build_report,
    canonical_bytes,
    to_html,
    to_markdown,
    to_sarif,
)

if TYPE_CHECKING:
    from coterie.artifacts import ArtifactStore
    from coterie.context import TaskContext
    from coterie.result import ItemResult, TaskResult

__all__ = ["HTML_MEDIA_TYPE", "MARKDOWN_MEDIA_TYPE", "SARIF_MEDIA_TYPE", "Renderings", "render", "report"]

HTML_MEDIA_TYPE = "text/html; charset=utf-8"
MARKDOWN_MEDIA_TYPE = "text/markdown; charset=utf-8"
SARIF_MEDIA_TYPE = "application/sarif+json"
_LOADS_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Renderings:
    """One report in four formats, as UTF-8 bytes; `json` is the canonical form that the digest is of."""

    report: Report
    json: bytes
    markdown: bytes
    html: bytes
    sarif: bytes


async def report(task_input: Mapping[str, JsonValue], ctx: TaskContext) -> dict[str, JsonValue]:
    """Report on all upstream tasks, whatever became of them, and store the report.

    Input: `snapshot`, the task that took the snapshot ("snapshot"); `agents`, the agent type behind a task that
    the team's own plan does not have ({}).

    Raises:
        Misuse: the run has no artifact store.
        StepFailed: the snapshot did not succeed, so that nothing was reviewed.
    """
    store = ctx.artifacts
    if store is None:
        raise Misuse(f"the task {ctx.task_id!r} stores its report; give the run an artifact store")
    snapshot = _snapshot_of(task_input)
    _require(ctx.upstream.get(snapshot))
    done = await asyncio.to_thread(render, await _inputs(task_input, ctx, store, snapshot=snapshot))
    document = await store.put_bytes(done.json, JSON_MEDIA_TYPE)
    markdown = await store.put_bytes(done.markdown, MARKDOWN_MEDIA_TYPE)
    html = await store.put_bytes(done.html, HTML_MEDIA_TYPE)
    sarif = await store.put_bytes(done.sarif, SARIF_MEDIA_TYPE)
    return {
        "report": document.portable(),
        "digest": document.sha256,
        "markdown": markdown.portable(),
        "html": html.portable(),
        "sarif": sarif.portable(),
        "findings": len(done.report["findings"]),
        "status": done.report["status"],
    }


def render(inputs: Inputs) -> Renderings:
    """Build the report and write it in every format."""
    built = build_report(inputs)
    return Renderings(
        report=built,
        json=canonical_bytes(built),
        markdown=to_markdown(built).encode(),
        html=to_html(built).encode(),
        sarif=canonical_bytes(to_sarif(built)),
    )


def _snapshot_of(task_input: Mapping[str, JsonValue]) -> str:
    return str(task_input.get("snapshot") or "snapshot")


def _require(snapshot: TaskResult | None) -> None:
    """Refuse to call an empty page a report: without the snapshot no agent has seen anything."""
    if snapshot is None or snapshot.state == "succeeded":
        return
    # An error's text ends with its own next step.
    why = snapshot.error if snapshot.error is not None else "no reason was given; run it again"
    raise StepFailed(f"there is nothing to report on: the task {snapshot.task_id!r} ended {snapshot.state}: {why}")


async def _inputs(
    task_input: Mapping[str, JsonValue], ctx: TaskContext, store: ArtifactStore, *, snapshot: str
) -> Inputs:
    given = task_input.get("agents")
    agents = given if isinstance(given, dict) else {}
    return Inputs(
        tasks=[await _record(result, ctx, store) for _, result in sorted(ctx.upstream.items())],
        snapshot=snapshot,
        agents={task: str(agent) for task, agent in agents.items()},
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
    )


async def _record(result: TaskResult, ctx: TaskContext, store: ArtifactStore) -> TaskRecord:
    """What became of one upstream task. Content that is lost or corrupt is a reason, not an error."""
    record = TaskRecord(task=result.task_id, state=result.state, output=None, reason=None, items=None)
    if result.state != "succeeded":
        record["reason"] = str(result.error) if result.error is not None else None
        return record
    try:
        if is_items(result.output):
            assert isinstance(result.output, Ref)
            record["items"] = await _items(await load_items(store, result.output), store)
        else:
            record["output"] = await ctx.output(result.task_id)
    except ArtifactError as error:
        record["state"], record["reason"] = "unreadable", _unreadable(error)
    return record


async def _items(items: list[ItemResult], store: ArtifactStore) -> list[ItemRecord]:
    limit = asyncio.Semaphore(_LOADS_AT_ONCE)

    async def one(item: ItemResult) -> ItemRecord:
        record = ItemRecord(key=item.key, state=item.state, output=None, reason=None)
        if item.state != "succeeded":
            record["reason"] = str(item.error) if item.error is not None else None
            return record
        try:
            async with limit:
                record["output"] = await store.load(item.output) if isinstance(item.output, Ref) else item.output
        except ArtifactError as error:
            record["state"], record["reason"] = "unreadable", _unreadable(error)
        return record

    return list(await asyncio.gather(*map(one, items)))


def _unreadable(error: ArtifactError) -> str:
    # Without the error's message, which says where the content lay: that differs from engine to engine.
    return f"{type(error).__name__}: the stored output could not be read back; run the task again"
