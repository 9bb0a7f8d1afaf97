"""The pipeline: what stands between tasks and their agents. One gate for each agent type that has policies."""

from __future__ import annotations

from coterie.pipeline.gate import Admitted, Gate
from coterie.pipeline.gates import Pipeline

__all__ = ["Admitted", "Gate", "Pipeline"]
