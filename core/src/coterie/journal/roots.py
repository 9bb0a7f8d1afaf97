"""What of an artifact store the runs in a journal refer to: all that a garbage collection must leave."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from coterie._rules.written import RunEntry
from coterie.artifacts import ArtifactStore, Collected
from coterie.artifacts.references import found_in
from coterie.errors import ArtifactError
from coterie.ids import WorkflowId
from coterie.journal.journal import Journal
from coterie.journal.listing import listed_items, plan_of
from coterie.journal.view import view_of

__all__ = ["collect_artifacts", "reachable"]

_PAGE = 200


async def collect_artifacts(
    journal: Journal, artifacts: ArtifactStore, *, min_age_s: float, dry_run: bool = False
) -> Collected:
    """Delete what no run of the journal refers to and nobody has stored for so long; see `ArtifactStore.collect`.

    What runs without a journal have left is deleted too.

    Raises:
        Unavailable, StateFormatError, PlanError: as `reachable`; before anything is deleted.
    """
    return await artifacts.collect(reachable(journal, artifacts), min_age_s=min_age_s, dry_run=dry_run)


async def reachable(journal: Journal, artifacts: ArtifactStore | None = None) -> AsyncIterator[str]:
    """The SHA-256 of all that any run of the journal refers to, in its header, its records, its steps and whatever else
    is kept of it; some perhaps several times, of runs that begin meanwhile perhaps not.

    artifacts: of these runs. The steps of work that was interrupted lie under names that only the plan, and the lists
    that it runs over, tell: without the store, they are left out where those lie in it.

    Raises:
        Unavailable: a store failed. StateFormatError, PlanError: what lies there is damaged, or of a newer coterie.
    """
    after: str | None = None
    while True:
        page = await journal.store.runs(limit=_PAGE, after=after)
        for entry in page.runs:
            async for digest in _of_run(journal, entry.run, artifacts):
                yield digest
        if page.after is None:
            return
        after = page.after


async def _of_run(journal: Journal, run: WorkflowId, artifacts: ArtifactStore | None) -> AsyncIterator[str]:
    texts = await journal.store.read(run)
    for digest in _named_in(texts):
        yield digest
    if not texts:
        # It was removed meanwhile.
        return
    for shelf in await _shelves(run, texts, artifacts):
        for digest in _named_in(await journal.store.read(run, shelf)):
            yield digest


async def _shelves(run: WorkflowId, texts: Mapping[str, str], artifacts: ArtifactStore | None) -> set[str]:
    """The names of all work that may have steps; also of work that a run's owner began and never ended."""
    view = view_of(RunEntry(run, 0, 0), texts, 0)
    names = {unit.name for unit in view.units}
    try:
        plan = await plan_of(view.header, artifacts)
    except ArtifactError:
        # Nobody can go on with it either.
        return names
    if plan is None:
        return names
    undone = {task.undo_id for task in plan.tasks if task.compensation is not None}
    items = await listed_items(view, plan, artifacts)
    return names | {task.id for task in plan.tasks} | undone | set(items)


def _named_in(texts: Mapping[str, str]) -> set[str]:
    return {found.sha256 for text in texts.values() for found in found_in([text.encode()])}
