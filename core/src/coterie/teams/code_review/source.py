"""What the snapshot left for the other agents: the manifest, whole or one file of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coterie._json import JsonValue
from coterie.errors import Misuse
from coterie.teams.code_review.manifest import Manifest, SourceFile, read_files, reference

if TYPE_CHECKING:
    from coterie.artifacts import ArtifactStore
    from coterie.context import TaskContext

__all__ = ["read_item", "read_manifest", "read_modules", "require_store"]


async def read_manifest(task_input: dict[str, JsonValue], ctx: TaskContext) -> Manifest:
    """The manifest that the upstream task `snapshot` (or the one that the input's `snapshot` names) wrote.

    Raises:
        MissingOutput, ForgedManifest, Misuse.
    """
    return Manifest.from_json(await ctx.output(str(task_input.get("snapshot", "snapshot"))))


async def read_item(task_input: dict[str, JsonValue], ctx: TaskContext) -> tuple[str, bytes]:
    """Path and verified content of the file that the input's `item` describes.

    Raises:
        ForgedManifest, MissingArtifact, CorruptArtifact, Misuse.
    """
    file = SourceFile.from_json(task_input.get("item"))
    artifacts = require_store(ctx)
    return file.path, await artifacts.read_bytes(reference(file, artifacts))


async def read_modules(manifest: Manifest, ctx: TaskContext) -> dict[str, bytes]:
    """The modules that agents judge, by path."""
    judged = set(manifest.judged)
    return await read_files([file for file in manifest.files if file.path in judged], require_store(ctx))


def require_store(ctx: TaskContext) -> ArtifactStore:
    """The run's artifact store.

    Raises:
        Misuse: it has none.
    """
    if ctx.artifacts is None:
        raise Misuse("a review keeps the files it reads in an artifact store; give the run one (artifacts=URL)")
    return ctx.artifacts
