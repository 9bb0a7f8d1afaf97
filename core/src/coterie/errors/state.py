"""Of what is stored: outputs, claims, states, and the stores themselves."""

from __future__ import annotations

from coterie.errors.root import CoterieError

__all__ = [
    "ArtifactError",
    "CorruptArtifact",
    "Diverged",
    "ForbiddenLocation",
    "LeaseLost",
    "MissingArtifact",
    "StaleToken",
    "StateFormatError",
    "Unavailable",
    "WorkTakenOver",
]


class ArtifactError(CoterieError):
    """Something is wrong with stored content."""


class MissingArtifact(ArtifactError):
    """A reference points at an object that is not there."""


class CorruptArtifact(ArtifactError):
    """An object's bytes are not what its reference says."""


class ForbiddenLocation(ArtifactError):
    """A reference points outside the configured artifact store."""


class LeaseLost(CoterieError):
    """A lease has ended: it expired, or was given back before. What it protected may be somebody else's by now."""


class StaleToken(LeaseLost):
    """A fencing token is not the newest: somebody else was granted the slot since."""


class WorkTakenOver(StaleToken):
    """Somebody else does this work by now, as this process seemed lost: what comes of it here is not recorded."""


class StateFormatError(CoterieError):
    """A stored state is of a version or form that this coterie does not read; nothing was changed."""


class Diverged(CoterieError):
    """A step of an agent is not the one that its journal has at that place, and it was to be strict."""


class Unavailable(CoterieError):
    """A store or service could not be reached; `__cause__` is the driver's error."""
