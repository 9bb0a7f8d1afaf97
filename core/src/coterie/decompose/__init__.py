"""From an objective to a plan: by templates, or by a language model whose plans are checked before they run."""

from __future__ import annotations

from coterie.decompose.limits import PlanLimits
from coterie.decompose.model import Decomposition, ModelDecomposer, Usage
from coterie.decompose.protocol import Decomposer
from coterie.decompose.template import Template, TemplateDecomposer

__all__ = [
    "Decomposer",
    "Decomposition",
    "ModelDecomposer",
    "PlanLimits",
    "Template",
    "TemplateDecomposer",
    "Usage",
]
