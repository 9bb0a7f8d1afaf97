"""Read YAML that nobody vouches for: plain data, bounded in depth and in what merge keys multiply."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from coterie._json import MAX_DEPTH
from coterie.errors import PlanError

__all__ = ["load_yaml"]

_MERGE = "tag:yaml.org,2002:merge"


def load_yaml(text: str | bytes, *, max_values: int) -> object:
    """The document that `text` holds. Aliases share what they stand for: count it before walking through it.

    Raises:
        PlanError: it is nested over 200 deep, or its merge keys (`<<`) make more than `max_values` entries.
        yaml.YAMLError: it is not YAML, or uses a tag that is not plain data.
    """
    import yaml

    plain = _loader()
    _refuse_depth(yaml.parse(text, Loader=plain))
    loader = plain(text)
    loader.entries_left = max_values
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


@cache
def _loader() -> Any:
    import yaml

    # The safe loader, on libyaml where PyYAML has it: ten times as fast.
    safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class BoundedLoader(safe):  # type: ignore[misc]  # a class that is known at run time only
        """Merging copies entries where an alias only refers to them: ten lines can make billions."""

        entries_left: int

        def flatten_mapping(self, node: Any) -> None:
            for key, value in node.value:
                if key.tag == _MERGE:
                    for part in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                        self._take(part, node)
            super().flatten_mapping(node)

        def _take(self, part: Any, into: Any) -> None:
            # Counted before it is copied; what is no mapping, the safe loader refuses.
            if isinstance(part, yaml.MappingNode) and part is not into:
                self.flatten_mapping(part)
                self.entries_left -= len(part.value)
                if self.entries_left < 0:
                    raise PlanError("the merge keys (<<) of the document make too many entries; write them out")

    return BoundedLoader


def _refuse_depth(events: Iterable[Any]) -> None:
    """Deep nesting would end the whole process: libyaml's composer recurses in C, where nothing catches it."""
    from yaml.events import CollectionEndEvent, CollectionStartEvent

    depth = 0
    for event in events:
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise PlanError(f"the plan is nested more than {MAX_DEPTH} deep; flatten it")
