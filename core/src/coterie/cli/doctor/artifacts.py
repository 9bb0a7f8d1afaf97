"""The artifact store: written to, read back, and left as it was."""

from __future__ import annotations

import io
import os
from contextlib import suppress
from pathlib import Path

from coterie._threads import in_thread
from coterie.cli.doctor.finding import Finding, because, fault, ok, skipped, warning
from coterie.cli.doctor.place import Place, may_be_made
from coterie.cli.sources import artifacts_place
from coterie.errors import CoterieError
from coterie.ports import BlobStore

__all__ = ["check_artifacts", "probe"]

_REMEDY = "check that it is reachable and writable, with the credentials that its driver takes from the environment"


async def check_artifacts(place: Place) -> Finding:
    """Whether an object of the namespace can be written, read and deleted. A folder that is not there is not made."""
    try:
        url = artifacts_place(place.artifacts)
        if url.startswith("memory:"):
            return skipped("it is in memory: seen by its own process alone")
        folder = Path(url.removeprefix("file://")) if url.startswith("file://") else None
        if folder is not None and (problem := may_be_made(folder)) is not None:
            return fault(f"{url}: {problem}", "give this user the right to, or set COTERIE_ARTIFACTS or --artifacts")
        if folder is not None and not folder.exists():
            return ok(f"{url} is not there yet: it is made when it is needed")
        return await in_thread(_probed, url, place.name, folder)
    except CoterieError as error:
        return because(error, _REMEDY)


def _probed(url: str, namespace: str, local: Path | None) -> Finding:
    from coterie.stores.blobs.store import FsspecBlobs

    name = f"doctor-{os.urandom(8).hex()}"
    try:
        return probe(FsspecBlobs(url), f"{namespace}/{name}")
    finally:
        if local is not None:
            # Folders that were made for it; others are not empty.
            with suppress(OSError):
                (local / namespace / name).rmdir()
                (local / namespace).rmdir()


def probe(blobs: BlobStore, folder: str) -> Finding:
    """Write an object in a folder of its own, read it, delete it. Blocking."""
    name, content = f"{folder}/probe", os.urandom(64)
    try:
        blobs.write(name, io.BytesIO(content), size_bytes=len(content))
        same = b"".join(blobs.chunks(name)) == content
        deleted = blobs.delete(list(blobs.entries(folder)))
    except CoterieError as error:
        return because(error, _REMEDY)
    if not same:
        return fault(f"{blobs.root} gives back other bytes than were written", "do not use it: its content is not safe")
    if not deleted:
        return warning(f"{blobs.root}: {name} could be written, and not deleted", "let its user delete objects, too")
    return ok(f"{blobs.root}: an object was written, read and deleted")
