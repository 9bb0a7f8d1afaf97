"""Tools to test what you build on coterie: a clock that stands still, a store that fails, contracts to inherit.

`EngineContract` says what every engine does with a plan, `BlobStoreContract` what every blob store does,
`StateStoreContract` what every state store does, `JournalStoreContract` what every journal store does, and
`LogStoreContract` what every log store does; inherit one in a test class of your own and give it your engine or store.
Nothing here is loaded by `import coterie`.
"""

from __future__ import annotations

from coterie.testing.blobs import BlobStoreContract, FaultyBlobs, MemoryBlobs
from coterie.testing.clock import ManualClock
from coterie.testing.engine import EngineContract, task
from coterie.testing.faults_journal import FaultyJournalStore
from coterie.testing.faults_log import FaultyLogStore
from coterie.testing.faults_state import FaultyStateStore
from coterie.testing.journals import JournalStoreContract
from coterie.testing.log_stores import LogStoreContract
from coterie.testing.states import StateStoreContract

__all__ = [
    "BlobStoreContract",
    "EngineContract",
    "FaultyBlobs",
    "FaultyJournalStore",
    "FaultyLogStore",
    "FaultyStateStore",
    "JournalStoreContract",
    "LogStoreContract",
    "ManualClock",
    "MemoryBlobs",
    "StateStoreContract",
    "task",
]
