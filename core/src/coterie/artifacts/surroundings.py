"""Which store the code that runs now reads references from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from coterie.artifacts.store import ArtifactStore

__all__ = ["surrounding_artifacts", "using_artifacts"]

_surrounding: ContextVar[ArtifactStore | None] = ContextVar("coterie_artifacts", default=None)


@contextmanager
def using_artifacts(store: ArtifactStore | None) -> Iterator[None]:
    """Within this block, and in all that it starts, `Ref.load()` reads from `store`; None changes nothing."""
    token = _surrounding.set(store if store is not None else _surrounding.get())
    try:
        yield
    finally:
        _surrounding.reset(token)


def surrounding_artifacts() -> ArtifactStore | None:
    """The store that `using_artifacts` named for the code that asks."""
    return _surrounding.get()
