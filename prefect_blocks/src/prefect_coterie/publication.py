"""Show a result among a flow run's artifacts: tables of tasks or visits, the report as Markdown, a link to its page."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from prefect.artifacts import acreate_link_artifact, acreate_markdown_artifact, acreate_table_artifact

from coterie import (
    ArtifactStore,
    JsonValue,
    MachineStatus,
    Ref,
    StateMachine,
    StateMachineRun,
    TaskResult,
    WorkflowResult,
)
from coterie.errors import Misuse
from coterie.machine_run import Visit

__all__ = [
    "MAX_MARKDOWN_BYTES",
    "MAX_ROWS",
    "PublishMachine",
    "key_of",
    "publish_machine",
    "publish_report",
    "publish_result",
]

# Shows where a machine is to people; what it raises is logged, and changes nothing.
PublishMachine: TypeAlias = Callable[[MachineStatus, StateMachine, StateMachineRun], Awaitable[None]]

# Artifacts lie in the server's database, which is no place for payloads.
MAX_MARKDOWN_BYTES = 128 * 1024
MAX_ROWS = 500


async def publish_result(result: WorkflowResult, artifacts: ArtifactStore) -> None:  # noqa: ARG001  # see `Publish`
    """Create a table artifact, `<plan>-result`: one row a task, at most `MAX_ROWS`, those without success first."""
    rows, left_out = rows_of(result), len(result.tasks) - MAX_ROWS
    more = f"; {left_out} more tasks are in the stored result" if left_out > 0 else ""
    await acreate_table_artifact(
        table=rows,
        key=key_of(result.plan_name, "result"),
        description=f"Run `{result.workflow_id}` of the plan `{result.plan_name}` ended **{result.status}**{more}.",
    )


async def publish_report(
    result: WorkflowResult, artifacts: ArtifactStore, *, task_id: str = "report", folder: Path | str | None = None
) -> None:
    """Create the table of `publish_result` and, from the output of `task_id`, two more artifacts.

    `<plan>-report`: its Markdown, cut at `MAX_MARKDOWN_BYTES`; `<plan>-page`: a link to its HTML.
    The output is an object whose fields `markdown` and `html` are references (`Ref.portable()`); either may be absent.
    folder: where a copy of the HTML goes, as `<workflow id>.html`, for a browser on this machine; by default
    `pages` in a store on disk. The link points there, or at the object in a store elsewhere.

    Raises:
        Misuse: the output of the task is no such object.
    """
    await publish_result(result, artifacts)
    report = result.tasks.get(task_id)
    if report is None or report.state != "succeeded":
        return
    output = await artifacts.load(report.output) if isinstance(report.output, Ref) else report.output
    markdown = _reference(output, "markdown", task_id, artifacts)
    html = _reference(output, "html", task_id, artifacts)
    if markdown is not None:
        text = (await artifacts.read_bytes(markdown)).decode("utf-8", errors="replace")
        await acreate_markdown_artifact(markdown=bounded(text, markdown.uri), key=key_of(result.plan_name, "report"))
    if html is not None:
        link = await _page(artifacts, html, result, folder)
        await acreate_link_artifact(link=link, link_text="Open the report", key=key_of(result.plan_name, "page"))


async def publish_machine(status: MachineStatus, machine: StateMachine, run: StateMachineRun) -> None:
    """Create a table artifact, `<machine>-history`: one row a visit, the last `MAX_ROWS`, and where it is now."""
    # The visit where it is was not left.
    left = await run.history(after=max(0, status.visit - 1 - MAX_ROWS), limit=MAX_ROWS)
    rows = [_visit_row(visit) for visit in left]
    here = f"is in the state **{status.state}**" if status.status is None else f"ended **{status.status}**"
    events = f", and takes {', '.join(f'`{event}`' for event in status.events)}" if status.events else ""
    await acreate_table_artifact(
        table=rows,
        key=key_of(machine.name, "history"),
        description=f"Run `{status.workflow_id}` of the machine `{machine.name}` {here}{events}.",
    )


def rows_of(result: WorkflowResult) -> list[dict[str, Any]]:
    """One row a task, at most `MAX_ROWS`: those without success first, else in the plan's order."""
    rows = [_row(one) for one in result]
    rows.sort(key=lambda row: row["state"] in ("succeeded", "skipped"))
    return rows[:MAX_ROWS]


def bounded(text: str, whole: str, *, max_bytes: int = MAX_MARKDOWN_BYTES) -> str:
    """`text`, or as many of its lines as fit into `max_bytes` of UTF-8, with a note where the whole of it lies."""
    content = text.encode()
    if len(content) <= max_bytes:
        return text
    note = f"\n\n*Cut here: {len(content)} bytes in all. The whole report lies at `{whole}`.*\n"
    kept = content[: max_bytes - len(note.encode())].decode("utf-8", errors="ignore")
    return kept[: kept.rfind("\n") + 1 or len(kept)] + note


def _row(result: TaskResult) -> dict[str, Any]:
    items = f"{result.items.total - result.items.failed} of {result.items.total}" if result.items else ""
    return {
        "task": result.task_id,
        "state": result.state,
        "seconds": round(result.duration_s, 3),
        "attempts": result.attempts,
        "agent": result.agent_id or "",
        "items": items,
        "error": str(result.error) if result.error else "",
    }


def _visit_row(visit: Visit) -> dict[str, Any]:
    left = visit.left if visit.left is not None else visit.entered
    return {
        "visit": visit.number,
        "state": visit.state,
        "trigger": visit.trigger or "",
        "to": visit.to or "",
        "who": visit.who,
        "seconds": round((left - visit.entered) / 1e6, 3),
    }


def _reference(output: JsonValue, name: str, task_id: str, artifacts: ArtifactStore) -> Ref | None:
    if not isinstance(output, Mapping):
        raise Misuse(f"the output of {task_id!r} is no JSON object; name the task that wrote the report")
    found = output.get(name)
    return artifacts.recall(found) if isinstance(found, Mapping) else None


async def _page(artifacts: ArtifactStore, html: Ref, result: WorkflowResult, folder: Path | str | None) -> str:
    if folder is None and not artifacts.url.startswith("file://"):
        return html.uri
    root = artifacts.url.removeprefix("file://")
    pages = Path(folder) if folder is not None else Path(root, artifacts.namespace, "pages")
    page = await asyncio.to_thread(_new_file, pages, f"{result.workflow_id}.html")
    await artifacts.copy_to(html, page)
    return page.as_uri()


def _new_file(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder.absolute() / name


def key_of(name: str, kind: str) -> str:
    """The key of an artifact, of all that Prefect takes there: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", f"{name}-{kind}".lower()).strip("-")
