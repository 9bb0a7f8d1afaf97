"""The choices that options have: the formats of a review and of logs, and how a run is recorded."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Format", "Journalling", "LogFormat"]


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


class LogFormat(StrEnum):
    """What standard error is written for: programs, one JSON object a line, or people."""

    JSON = "json"
    CONSOLE = "console"
