"""Where the outputs of runs are kept, as the command line and the environment have it."""

from __future__ import annotations

from coterie.artifacts import ArtifactStore
from coterie.cli.runs.place import JournalPlace
from coterie.errors import CoterieError

__all__ = ["artifacts_at"]


def artifacts_at(place: JournalPlace, given: str | None) -> ArtifactStore | None:
    """Where outputs are kept; what is not named need not be there."""
    try:
        return place.artifacts(given)
    except CoterieError:
        if given is not None:
            raise
        return None
