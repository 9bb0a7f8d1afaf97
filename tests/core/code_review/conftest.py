"""What the tests of the review share: a store, a seeded project, a git repository."""

from __future__ import annotations

from pathlib import Path

import pytest

from coterie.artifacts import ArtifactStore
from tests.support.seeded_repository import commit_all, write_seeded_repository


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(f"file://{tmp_path / 'artifacts'}")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    write_seeded_repository(folder)
    return folder


@pytest.fixture
def repository(project: Path) -> Path:
    commit_all(project)
    return project
