"""How a call ended, as a document: the task's result, and what it used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from coterie._rules.lap import Lap, laps_of, laps_text
from coterie.errors import CoterieError, Misuse
from coterie.journal.outage import Stretch
from coterie.ref import Ref
from coterie.result import ItemResult, TaskResult
from coterie.usage import Usage

__all__ = ["Outcome", "result_from_dict", "result_to_dict"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """result: of the task. usage: over all attempts. worker: who says so. laps, more: as of `Trail`.

    is_traced: whether the worker has made spans of the laps. away: when the store was before it began, as far as the
    worker knows; those of earlier versions do not.
    """

    result: TaskResult
    usage: Usage = field(default_factory=Usage)
    worker: str = ""
    laps: tuple[Lap, ...] = ()
    more: int = 0
    is_traced: bool = False
    away: tuple[Stretch, ...] = ()

    def to_json(self) -> str:
        """The document."""
        used = {name: value for name, value in self.usage.to_dict().items() if value}
        document: dict[str, Any] = {"result": result_to_dict(self.result), "usage": used, "worker": self.worker}
        if self.laps:
            document["tl"] = laps_text(self.laps, self.more)
        if self.is_traced:
            document["traced"] = True
        if self.away:
            document["away"] = self.away
        text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode(errors="backslashreplace").decode()

    @classmethod
    def from_json(cls, text: str) -> Outcome:
        """Read the document.

        Raises:
            Misuse: it is none.
        """
        try:
            document = json.loads(text)
            return cls(
                result_from_dict(document["result"]),
                Usage.from_dict(document.get("usage", {})),
                document["worker"],
                *laps_of(document.get("tl")),
                is_traced=document.get("traced") is True,
                away=tuple(Stretch(int(began_us), int(ended_us)) for began_us, ended_us in document.get("away", ())),
            )
        except CoterieError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise Misuse(f"the text is no end of a call: {error!r:.300}; is the namespace ours alone?") from error


def result_to_dict(result: TaskResult) -> dict[str, Any]:
    """A result with its items, as far as they do not lie behind its output."""
    document = result.to_dict()
    if result.item_results is not None and not isinstance(result.output, Ref):
        document["item_results"] = [item.to_dict() for item in result.item_results]
    if result.failed_items:
        document["failed_items"] = [item.to_dict() for item in result.failed_items]
    return document


def result_from_dict(document: Mapping[str, Any]) -> TaskResult:
    """Read what `result_to_dict` writes."""
    result = TaskResult.from_dict(document)
    failed = tuple(ItemResult.from_dict(item) for item in document.get("failed_items", ()))
    items = document.get("item_results")
    known = None if items is None else tuple(ItemResult.from_dict(item) for item in items)
    return replace(result, failed_items=failed, item_results=known) if failed or known is not None else result
