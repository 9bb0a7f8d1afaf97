"""Manifests that travel, and those that nobody should have written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from coterie.artifacts import ArtifactStore
from coterie.errors import CorruptArtifact, MissingArtifact
from coterie.teams.code_review.errors import ForgedManifest
from coterie.teams.code_review.manifest import Manifest, SourceFile, materialise, read_files
from coterie.teams.code_review.snapshot import take_snapshot

HASH = "0" * 64


def document(*files: dict[str, Any], **more: Any) -> dict[str, Any]:
    source = {"kind": "path", "name": "shop", "revision": None, "modified": False}
    return {"schema": 1, "source": source, "files": list(files), "python_files": [], "skipped": []} | more


def file(path: Any, **more: Any) -> dict[str, Any]:
    return {"path": path, "sha256": HASH, "size_bytes": 1, "media_type": "text/plain"} | more


async def test_a_manifest_survives_the_journey(project: Path, store: ArtifactStore):
    manifest = await take_snapshot(str(project), None, store)

    assert Manifest.from_json(manifest.to_json()) == manifest


async def test_files_come_back_as_they_were(project: Path, store: ArtifactStore, tmp_path: Path):
    manifest = await take_snapshot(str(project), None, store)
    (tmp_path / "tree").mkdir()

    await materialise(manifest.files, store, tmp_path / "tree")

    for entry in manifest.files:
        assert (tmp_path / "tree" / entry.path).read_bytes() == (project / entry.path).read_bytes()


@pytest.mark.parametrize(
    "path",
    [
        "../out.py",
        "/etc/passwd",
        "a/../../out.py",
        "a//b",
        "./a",
        "a/.",
        "",
        ".git/config",
        "a/.GIT/hooks/x",
        "a\x00b",
        "a\\b",
        chr(0xD800),
        "x" * 5000,
        None,
        7,
    ],
)
def test_paths_that_lead_outside_are_refused(path: Any):
    with pytest.raises(ForgedManifest, match="run the snapshot again"):
        Manifest.from_json(document(file(path)))


@pytest.mark.parametrize(
    "forged",
    [
        None,
        [],
        document(schema=2),
        document(source="shop"),
        document(files="all"),
        document("a.py"),  # type: ignore[arg-type]
        document(file("a.py", sha256="../../x")),
        document(file("a.py", sha256="F" * 64)),
        document(file("a.py", size_bytes=-1)),
        document(file("a.py", size_bytes=True)),
        document(file("a.py", media_type=None)),
        document(file("a.py"), file("a.py")),
        document(file("a"), file("a/b.py")),
        document(python_files=[file("unknown.py")]),
        document(skipped=[{"path": "a"}]),
    ],
)
def test_malformed_manifests_are_refused(forged: Any):
    with pytest.raises(ForgedManifest):
        Manifest.from_json(forged)


async def test_materialising_refuses_what_was_made_without_reading_a_document(store: ArtifactStore, tmp_path: Path):
    with pytest.raises(ForgedManifest):
        await materialise([SourceFile("../out.py", HASH, 1, "text/plain")], store, tmp_path)

    assert not (tmp_path.parent / "out.py").exists()


async def test_a_file_that_is_not_in_the_store_is_the_stores_own_error(store: ArtifactStore):
    with pytest.raises(MissingArtifact):
        await read_files([SourceFile("a.py", HASH, 1, "text/plain")], store)


async def test_a_changed_object_is_never_handed_on(project: Path, store: ArtifactStore, tmp_path: Path):
    manifest = await take_snapshot(str(project), None, store)
    changed = next(path for path in (tmp_path / "artifacts").rglob("*") if path.is_file())
    changed.write_bytes(b"other")

    with pytest.raises(CorruptArtifact):
        await read_files(manifest.files, store)
