"""Keep the journal and the artifact store from growing for ever: once a day, in three steps.

Runs that nobody has ended and nobody is at any more are ended as lost; whoever retries or resumes them goes on with
them. Runs that ended long ago are removed. What no run in the journal refers to, and nobody has stored for as long, is
deleted from the artifact store, what runs without a journal have left included. With dry_run=True it only says what it
would do.
"""

from __future__ import annotations

import asyncio

from prefect import flow, get_run_logger

from coterie.journal import Journal
from coterie.journal.roots import collect_artifacts
from coterie.journal.tending import prune_runs, reap_runs
from prefect_coterie import CoterieArtifacts, CoterieStore
from prefect_coterie.source import artifacts_of, store_or_default


@flow(name="coterie-maintenance")
async def coterie_maintenance(
    store: CoterieStore | None = None,
    artifacts: CoterieArtifacts | None = None,
    *,
    dry_run: bool = False,
    keep_days: int = 30,
) -> dict[str, int]:
    """End lost runs, remove old ones, and delete what no run refers to. By default, as flows without blocks have it."""
    kept_s, log = keep_days * 86_400, get_run_logger()
    journal = Journal(store_or_default(store).get_journal_store())
    try:
        lost = await reap_runs(journal, idle_s=3600, dry_run=dry_run)
        log.info("runs that nobody was at: %s", lost)
        pruned = await prune_runs(journal, older_than_s=kept_s, dry_run=dry_run)
        log.info("runs that ended more than %d days ago: %s", keep_days, pruned)
        kept = (await artifacts_of(artifacts)).get_store()
        collected = await collect_artifacts(journal, kept, min_age_s=kept_s, dry_run=dry_run)
        log.info("artifacts: %s", collected)
    finally:
        await journal.aclose()
    return {"lost": len(lost), "pruned": len(pruned), "deleted": collected.deleted.objects}


if __name__ == "__main__":
    asyncio.run(coterie_maintenance(dry_run=True))
