"""The artifact store: payloads by their content, verified on every read."""

from __future__ import annotations

from coterie.artifacts.chunk_file import ChunkFile
from coterie.artifacts.collection import Amount, Collected, Root
from coterie.artifacts.handle import Artifact
from coterie.artifacts.reader import ArtifactReader
from coterie.artifacts.store import BYTES_MEDIA_TYPE, TEXT_MEDIA_TYPE, ArtifactStore
from coterie.artifacts.surroundings import surrounding_artifacts, using_artifacts

__all__ = [
    "BYTES_MEDIA_TYPE",
    "TEXT_MEDIA_TYPE",
    "Amount",
    "Artifact",
    "ArtifactReader",
    "ArtifactStore",
    "ChunkFile",
    "Collected",
    "Root",
    "surrounding_artifacts",
    "using_artifacts",
]
