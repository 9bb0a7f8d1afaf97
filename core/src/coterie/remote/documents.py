"""Documents that are too large for a record: they lie in the artifact store."""

from __future__ import annotations

from coterie.artifacts import ArtifactStore
from coterie.errors import MissingOutput
from coterie.errors.bus import OversizedMessage
from coterie.remote.call import reference_of, reference_text
from coterie.remote.queue import MAX_BYTES

__all__ = ["fetched", "stowed"]


async def stowed(text: str, artifacts: ArtifactStore | None, what: str) -> str:
    """The text, or a reference to it.

    Raises:
        OversizedMessage: it is too large, and there is no artifact store.
    """
    size_bytes = len(text.encode())
    if size_bytes <= MAX_BYTES:
        return text
    if artifacts is None:
        raise OversizedMessage(what, size_bytes=size_bytes, limit_bytes=MAX_BYTES)
    return reference_text(await artifacts.put_text(text))


async def fetched(text: str, artifacts: ArtifactStore | None, what: str) -> str:
    """The text that `stowed` was given.

    Raises:
        MissingOutput: it lies in an artifact store, and there is none here. ArtifactError, Unavailable: as of a store.
    """
    ref = reference_of(text)
    if ref is None:
        return text
    if artifacts is None:
        raise MissingOutput(f"{what} lies at {ref.uri[:200]!r}, but there is no artifact store here; give one")
    return await artifacts.load_text(ref)
