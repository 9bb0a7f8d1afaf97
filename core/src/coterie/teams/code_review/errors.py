"""What a review refuses, and why; every message names the culprit and the next step, and never a secret.

Misuse
└─ SourceError            the source cannot be reviewed as it was named
   ├─ MissingSource       nothing is there, or it is no folder
   ├─ UnsupportedURL      not a transport that a review uses
   ├─ CredentialsInURL    a password or token in the address
   ├─ UnreachableSource   no git repository answers at the address
   ├─ UnknownRevision     the repository has no such branch, tag or commit
   ├─ EmptySource         nothing to review
   ├─ SourceTooLarge      more files or bytes than the limits allow
   └─ ForgedManifest      a manifest that no snapshot writes
StepFailed
└─ ToolFailed             a reviewing tool is absent, broke, or was told nonsense by a configuration
"""

from __future__ import annotations

from coterie.errors import Misuse, StepFailed

__all__ = [
    "CredentialsInURL",
    "EmptySource",
    "ForgedManifest",
    "MissingSource",
    "SourceError",
    "SourceTooLarge",
    "ToolFailed",
    "UnknownRevision",
    "UnreachableSource",
    "UnsupportedURL",
]


class SourceError(Misuse):
    """The source cannot be reviewed as it was named."""


class MissingSource(SourceError):
    """Nothing lies at the path, or something that is no folder."""


class UnsupportedURL(SourceError):
    """The address is not one of those that a review fetches from."""


class CredentialsInURL(SourceError):
    """The address carries a password or token; the message shows it without."""


class UnreachableSource(SourceError):
    """No git repository answers at the address."""


class UnknownRevision(SourceError):
    """The repository has no such branch, tag or commit."""


class EmptySource(SourceError):
    """The folder holds no files, or the repository no commits."""


class SourceTooLarge(SourceError):
    """The source exceeds a limit of the snapshot."""


class ForgedManifest(SourceError):
    """A manifest that no snapshot could have written: it would lead outside the folder it is for."""


class ToolFailed(StepFailed):
    """A reviewing tool could not do its work."""
