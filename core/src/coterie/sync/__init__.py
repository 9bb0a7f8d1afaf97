"""The blocking façade: one background event loop a process, under the same names.

Made for code that cannot await: scheduler tasks, scripts, agents that are plain functions. Calling it from a
running event loop would block that loop, and is refused.
"""

from __future__ import annotations

from coterie.artifacts import using_artifacts

# Under their own names again: not promised, but there for `Ref` and for integrations.
from coterie.sync.ambient import add_artifacts_fallback as add_artifacts_fallback
from coterie.sync.ambient import load_ref as load_ref
from coterie.sync.artifacts import ArtifactStore
from coterie.sync.context import TaskContext
from coterie.sync.orchestrator import Orchestrator
from coterie.sync.portal import begin, run

__all__ = ["ArtifactStore", "Orchestrator", "TaskContext", "begin", "run", "using_artifacts"]
