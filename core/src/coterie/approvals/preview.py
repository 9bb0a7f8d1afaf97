"""What a decision is about, as far as a person can be shown it: bounded, and nothing in it acts on their screen."""

from __future__ import annotations

from collections.abc import Mapping

from coterie._json import JsonValue
from coterie.context import TaskContext
from coterie.errors import ArtifactError, MissingOutput
from coterie.ids import TaskId
from coterie.items import is_items, load_items
from coterie.markdown import LOADED_BYTES, beginning, fenced, written
from coterie.ref import Ref
from coterie.result import ItemResult, TaskResult

__all__ = ["body_of", "input_preview", "upstream_previews"]

# All that is shown of an input, and of all outputs before it together; so many of them at most.
_INPUT_BYTES, _OUTPUTS_BYTES, _OUTPUTS = 3000, 6000, 30
_ITEMS = 5


def input_preview(given: Mapping[str, JsonValue]) -> str:
    """The task's input; empty if it has none."""
    return beginning(written(dict(given)), _INPUT_BYTES) if given else ""


async def upstream_previews(context: TaskContext) -> dict[TaskId, str]:
    """The outputs of the tasks before it.

    Raises:
        Unavailable: the artifact store did not answer.
    """
    results = context.upstream
    shown = list(results)[:_OUTPUTS]
    room = _OUTPUTS_BYTES // max(1, len(shown))
    found = {name: beginning(await _preview(context, results[name]), room) for name in shown}
    left = len(results) - len(shown)
    return found if not left else {**found, shown[-1]: f"{found[shown[-1]]}\n… and {left} tasks more"}


def body_of(task_input: str, context: Mapping[str, str]) -> str:
    """The same as Markdown."""
    shown = {"Input": task_input} if task_input else {}
    shown |= {f"Output of `{name}`": text for name, text in context.items()}
    # Cut before, so that all fit together.
    return "\n\n".join(
        f"**{title}**\n\n{fenced(text, most_bytes=_INPUT_BYTES + _OUTPUTS_BYTES)}" for title, text in shown.items()
    )


async def _preview(context: TaskContext, result: TaskResult) -> str:
    if result.state != "succeeded":
        return f"{result.state}{f': {result.error}' if result.error else ''}"
    try:
        return await _output(context, result)
    # What cannot be shown is said to be so: the person decides whether to decide.
    except (ArtifactError, MissingOutput) as error:
        return f"it cannot be read: {error}"


async def _output(context: TaskContext, result: TaskResult) -> str:
    output, store = result.output, context.artifacts
    if result.item_results is not None:
        return await _items(context, list(result.item_results))
    if isinstance(output, Ref) and output.size_bytes > LOADED_BYTES:
        return f"{output.size_bytes:,} bytes, at {output.uri}"
    if isinstance(output, Ref) and is_items(output) and store is not None:
        return await _items(context, await load_items(store, output))
    return written(await context.loaded(output))


async def _items(context: TaskContext, items: list[ItemResult]) -> str:
    good = [item for item in items if item.state == "succeeded"]
    lines = [f"{len(items)} items, {len(items) - len(good)} failed"]
    for item in good[:_ITEMS]:
        large = isinstance(item.output, Ref) and item.output.size_bytes > LOADED_BYTES
        lines.append(f"[{item.index}] {'…' if large else written(await context.loaded(item.output))}")
    return "\n".join([*lines, *(["…"] if len(good) > _ITEMS else [])])
