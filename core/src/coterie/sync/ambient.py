"""`Ref.load()`: the artifact store that code has around it, when it names none."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from coterie._json import JsonValue
from coterie.artifacts import surrounding_artifacts
from coterie.errors import Misuse
from coterie.ref import Ref, parsed
from coterie.sync.portal import run

if TYPE_CHECKING:
    from coterie import artifacts

__all__ = ["add_artifacts_fallback", "load_ref"]

_fallbacks: list[Callable[[], artifacts.ArtifactStore | None]] = []


def add_artifacts_fallback(find: Callable[[], artifacts.ArtifactStore | None]) -> None:
    """Ask `find` for a store when `Ref.load()` has no other: for integrations that know a default connection."""
    if find not in _fallbacks:
        _fallbacks.append(find)


def load_ref(ref: Ref) -> JsonValue:
    """What `Ref.load` does."""
    if ref.is_inline:
        return parsed(ref, ref.inline_bytes())
    return run(_ambient_store().load(ref))


def _ambient_store() -> artifacts.ArtifactStore:
    store = surrounding_artifacts()
    if store is not None:
        return store
    if url := os.environ.get("COTERIE_ARTIFACTS"):
        from coterie.artifacts import ArtifactStore as Async

        return Async(url, namespace=os.environ.get("COTERIE_NAMESPACE") or "default")
    for find in _fallbacks:
        found = find()
        if found is not None:
            return found
    raise Misuse(
        "no artifact store is known here; set COTERIE_ARTIFACTS to its URL, or use ArtifactStore(url).load(ref)"
    )
