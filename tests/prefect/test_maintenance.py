"""The flow that keeps journal and artifacts from growing for ever."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest
from prefect.flows import load_flow_from_entrypoint

from coterie import ArtifactStore
from coterie.errors import MissingArtifact
from prefect_coterie import CoterieArtifacts, CoterieStore
from tests.prefect import billed

pytestmark = pytest.mark.prefect

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("dry_run", [True, False])
async def test_what_no_run_refers_to_is_deleted_and_runs_still_replay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dry_run: bool
):
    monkeypatch.setenv(billed.FOLDER, str(tmp_path))
    monkeypatch.setenv("COTERIE_ARTIFACTS", f"file://{tmp_path}/artifacts")
    monkeypatch.setenv("COTERIE_STORE", f"sqlite://{tmp_path}/state.db")
    run_id = f"kept.{uuid.uuid4()}"
    await billed.chain_flow(coterie_run_id=run_id)
    paid = billed.bills()
    store = ArtifactStore(f"file://{tmp_path}/artifacts")
    garbage = await store.put("nobody's" * 1000)
    for path in (tmp_path / "artifacts").rglob("*"):
        os.utime(path, (0, 0))
    maintenance = load_flow_from_entrypoint(
        f"{REPOSITORY}/flows/coterie_maintenance.py:coterie_maintenance", use_placeholder_flow=False
    )

    done = await maintenance(dry_run=dry_run)
    again = await billed.chain_flow(coterie_run_id=run_id, return_state=True)

    assert (done["lost"], done["pruned"]) == (0, 0)
    assert done["deleted"] >= 1
    if dry_run:
        assert await store.load(garbage) == "nobody's" * 1000
    else:
        with pytest.raises(MissingArtifact):
            await store.load(garbage)
    assert again.is_completed()
    assert billed.bills() == paid


async def test_blocks_say_which_journal_and_which_artifacts(tmp_path: Path):
    maintenance = load_flow_from_entrypoint(
        f"{REPOSITORY}/flows/coterie_maintenance.py:coterie_maintenance", use_placeholder_flow=False
    )

    done = await maintenance(
        CoterieStore(url=f"sqlite://{tmp_path}/other.db"), CoterieArtifacts(url=f"file://{tmp_path}/others")
    )

    assert done == {"lost": 0, "pruned": 0, "deleted": 0}
    assert (tmp_path / "other.journal.db").exists()
