"""What the outside must offer: the Protocols that stores implement and shells are built on."""

from __future__ import annotations

from coterie.ports.blob import Blob, BlobStore
from coterie.ports.journal import JournalStore
from coterie.ports.log import LogStore
from coterie.ports.state import StateStore
from coterie.ports.words import Durability, Notice, Scope

__all__ = ["Blob", "BlobStore", "Durability", "JournalStore", "LogStore", "Notice", "Scope", "StateStore"]
