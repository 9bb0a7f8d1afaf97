"""What is known of a run that is over, or whose process is gone: how each of its steps ended, by its journal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from coterie import errors
from coterie._rules.journal import Place
from coterie._rules.journal_text import Claim
from coterie._rules.progress import Decision, decide
from coterie._rules.saga import StepRecord
from coterie._rules.saga_text import began_path, hand_path, standing
from coterie.conclude import is_lost, lost, never_ran
from coterie.context import Run, TaskContext
from coterie.errors import ArtifactError, Misuse
from coterie.foreach import condition_says_run, gather_items, load_list
from coterie.ids import TaskId
from coterie.journal.place import place_of
from coterie.journal.results import result_of
from coterie.plan import Plan
from coterie.result import ErrorInfo, ItemResult, TaskResult
from coterie.task import Task

__all__ = ["Recalled", "builds_on_undone", "has_begun", "is_stale", "item_places", "recall"]

_OWN_ENDS = ("succeeded", "failed", "skipped")


@dataclass(slots=True)
class Recalled:
    """results: of the steps whose end is known, also of those that never ran as the rules say so.

    steps: what that means for undoing; of those that began. made: what steps did, by the journal, that the caller takes
    for failed, or for skipped: his process never heard of it.
    """

    results: dict[TaskId, TaskResult] = field(default_factory=dict)
    steps: dict[int, StepRecord] = field(default_factory=dict)
    made: dict[TaskId, TaskResult] = field(default_factory=dict)


async def recall(plan: Plan, run: Run, texts: Mapping[str, str], given: Mapping[TaskId, TaskResult]) -> Recalled:
    """How the steps of a run ended, as far as anybody knows.

    texts: the main shelf of its journal. given: results that the caller has; they come first, but for a success that is
    to be done anew since, as it was undone: nothing is there any more.
    """
    found = Recalled()
    run.results = found.results
    for position in plan.graph.order:
        task = plan.tasks[position]
        result, is_unclear = given.get(task.id), False
        if result is None or result.state not in _OWN_ENDS or is_stale(task, result, texts):
            result = await _from_journal(task, run, texts)
        elif result.state != "succeeded":
            result, made, is_unclear = await _compared(task, result, run, texts)
            if made is not None:
                found.made[task.id] = made
        if result is not None:
            found.steps[position] = StepRecord(result.state, _in_part(result) or task.id in found.made, is_unclear)
        elif has_begun(task, texts):
            result = await _partly(task, run, texts)
            found.steps[position] = StepRecord(None, result is not None and _in_part(result))
        else:
            result = await _never_ran(task, run)
        if result is not None:
            found.results[task.id] = result
    return found


async def _compared(
    task: Task, result: TaskResult, run: Run, texts: Mapping[str, str]
) -> tuple[TaskResult, TaskResult | None, bool]:
    """What the journal has of a step that its caller takes for failed or skipped.

    How it ended; what it did all the same, to be undone; whether nobody knows what it did.
    """
    whole = await _from_journal(task, run, texts)
    made = whole or await _partly(task, run, texts)
    is_unclear = _was_lost(task, result, texts)
    if result.state == "skipped" and whole is None and (is_unclear or made is not None):
        # It had begun when a person ended the run.
        result = lost(task.id)
    did = made is not None and (made.state == "succeeded" or _in_part(made))
    return result, made if did else None, is_unclear


def is_stale(task: Task, result: TaskResult, texts: Mapping[str, str]) -> bool:
    """Whether a success is one of before its task was to be done anew, which nobody has begun since."""
    recorded = [place for place in _places(task, texts) if place.record in texts]
    if result.state != "succeeded" or not recorded:
        return False
    return all(standing(texts, place) is None and not _is_held(place, texts) for place in recorded)


def builds_on_undone(plan: Plan, task_id: TaskId, texts: Mapping[str, str]) -> bool:
    """Whether anything that a task depends on, directly or not, was undone."""
    waiting, seen = [task_id], set[TaskId]()
    while waiting:
        for name in plan.task(waiting.pop()).upstream:
            if name not in seen:
                seen.add(name)
                waiting.append(name)
    return any(_is_undone(plan.task(name), texts) for name in seen)


def _is_undone(task: Task, texts: Mapping[str, str]) -> bool:
    """Whether its compensation is done for good, by an agent or by hand."""
    if task.compensation is None:
        return False
    record = standing(texts, place_of(task.undo_id))
    return hand_path(task.id) in texts or (record is not None and record.succeeded)


def has_begun(task: Task, texts: Mapping[str, str]) -> bool:
    """Whether anybody began the task, or an item of it: noted by a local run, or claimed by a worker."""
    if began_path(task.id) in texts:
        return True
    return any(_is_held(place, texts) or standing(texts, place) for place in _places(task, texts))


def _places(task: Task, texts: Mapping[str, str]) -> list[Place]:
    return [place_of(task.id)] if task.foreach is None else item_places(task, texts)


def _is_held(place: Place, texts: Mapping[str, str]) -> bool:
    """Whether somebody has claimed it, and still is at it, or has ended without a word."""
    return bool(Claim.read(texts.get(place.claim), place.claim).owner)


def item_places(task: Task, texts: Mapping[str, str]) -> list[Place]:
    """Where the items of a foreach are that somebody has claimed or recorded."""
    prefixes = (f"claim/{task.id}/", f"item/{task.id}/")
    names = dict.fromkeys(path.partition("/")[2] for path in texts if path.startswith(prefixes))
    return [Place(f"claim/{name}", f"pulse/{name}", f"item/{name}") for name in names]


def _was_lost(task: Task, result: TaskResult, texts: Mapping[str, str]) -> bool:
    """Whether nobody knows what a step did that did not succeed: its worker was lost in it."""
    if not texts:
        return is_lost(result)
    # What failed for good is on record, unless no agent came to do it; whoever has its items' ends knows them.
    if result.items is not None or _is_refusal(result.error):
        return False
    return any(_is_held(place, texts) and standing(texts, place) is None for place in _places(task, texts))


def _is_refusal(error: ErrorInfo | None) -> bool:
    kind = getattr(errors, error.type, None) if error is not None else None
    return isinstance(kind, type) and issubclass(kind, errors.Refused)


def _in_part(result: TaskResult) -> bool:
    return result.state != "succeeded" and result.items is not None and result.items.failed < result.items.total


async def _from_journal(task: Task, run: Run, texts: Mapping[str, str]) -> TaskResult | None:
    """How a step ended by its records; None if they do not say."""
    if task.foreach is None:
        record = standing(texts, place_of(task.id))
        return None if record is None else result_of(task.id, record)
    items = await _items(task, run, texts)
    whole = items is not None and items.items is not None and len(items.item_results or ()) == items.items.total
    return items if whole and has_begun(task, texts) else None


async def _partly(task: Task, run: Run, texts: Mapping[str, str]) -> TaskResult | None:
    """What a foreach did whose items are not all on record; None if none is."""
    items = await _items(task, run, texts) if has_begun(task, texts) else None
    return None if items is None else replace(items, state="failed")


async def _items(task: Task, run: Run, texts: Mapping[str, str]) -> TaskResult | None:
    """The result of a foreach from the records of its items; None if nobody knows what its items are."""
    if task.foreach is None or _decision(task, run) != "run":
        return None
    context = TaskContext(run, task, {})
    try:
        if not await condition_says_run(context):
            return None
        keys, items = await load_list(context)
    except (Misuse, ArtifactError):
        return None
    done = []
    for index, key in enumerate(keys):
        record = standing(texts, place_of(task.id, key))
        if record is not None:
            ended = result_of(task.id, record)
            done.append(ItemResult(key, index, ended.state, ended.output, ended.error, ended.attempts))
    return await gather_items(context, done, len(items))


async def _never_ran(task: Task, run: Run) -> TaskResult | None:
    """The result of a task that by the rules did not run; None if it should have."""
    decision = _decision(task, run)
    if decision == "run" and task.when is not None and not await condition_says_run(TaskContext(run, task, {})):
        decision = "skip"
    if decision in ("run", "wait"):
        return None
    return never_ran(task.id, "skipped" if decision == "skip" else "upstream_failed")


def _decision(task: Task, run: Run) -> Decision:
    states = [run.results[name].state for name in task.upstream if name in run.results]
    succeeded, skipped = states.count("succeeded"), states.count("skipped")
    return decide(task.trigger_rule, len(task.upstream), succeeded, skipped, len(states) - succeeded - skipped)
