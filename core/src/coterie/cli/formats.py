"""The choices that options have: the formats that a review is written in, and how a run is recorded."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Format", "Journalling"]


class Format(StrEnum):
    """One report file: `report.<value>`; its name in the output of the report task is `field`."""

    JSON = "json"
    MARKDOWN = "md"
    HTML = "html"
    SARIF = "sarif"

    @property
    def field(self) -> str:
        """The field of the report task's output that refers to it."""
        return {"json": "report", "md": "markdown"}.get(self.value, self.value)


class Journalling(StrEnum):
    """Whether what is finished is recorded, and how durable."""

    STRICT = "strict"
    RELAXED = "relaxed"
    OFF = "off"
