"""Read YAML that nobody vouches for: plain data, bounded, and every key of a mapping said once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from functools import cache
from typing import Any

from coterie._json import MAX_DEPTH
from coterie.errors import Misuse

__all__ = ["dump_yaml", "load_yaml"]

_MERGE = "tag:yaml.org,2002:merge"

Refuse = Callable[[str], Misuse]


def dump_yaml(document: object) -> str:
    """The text that `load_yaml` reads back."""
    import yaml

    text = str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
    # This sign ends a line of YAML: read back, it would be a blank. As an escape it is what it was.
    return text if "\x85" not in text else str(yaml.safe_dump(document, sort_keys=False, allow_unicode=False))


def load_yaml(text: str | bytes, *, what: str, error: type[Misuse], max_values: int) -> object:
    """The document that `text` holds. Aliases share what they stand for: count it before walking through it.

    Raises:
        error: a sentence about `what`. It is not YAML (with line and column), or not text; it uses a tag that is not
            plain data; it says a key twice; it is nested over 200 deep, or its merge keys (`<<`) make more than
            `max_values` entries.
    """

    def refuse(why: str) -> Misuse:
        return error(f"{what} {why}")

    try:
        return _load(text, refuse, max_values)
    except Misuse:
        raise
    # Whatever the parser says about the text is about the text: a tag with a wrong value raises anything.
    except Exception as problem:
        raise refuse(_told(problem)) from problem


def _load(text: str | bytes, refuse: Refuse, max_values: int) -> object:
    import yaml

    plain = _loader()
    _refuse_depth(yaml.parse(text, Loader=plain), refuse)
    loader = plain(text)
    loader.refuse, loader.entries_left, loader.checked = refuse, max_values, set()
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


@cache
def _loader() -> Any:
    import yaml

    # The safe loader, on libyaml where PyYAML has it: ten times as fast.
    safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class StrictLoader(safe):  # type: ignore[misc]  # a class that is known at run time only
        """Merging copies entries where an alias only refers to them: ten lines can make billions."""

        refuse: Refuse
        entries_left: int
        checked: set[int]

        def flatten_mapping(self, node: Any) -> None:
            # Once, and before merging: what is merged may be said again, and then counts less.
            if id(node) not in self.checked:
                self.checked.add(id(node))
                _refuse_twice(self, node)
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
                    raise self.refuse("makes too many entries by its merge keys (<<); write them out")

    return StrictLoader


def _refuse_twice(loader: Any, node: Any) -> None:
    """Of two equal keys, YAML's readers drop the first without a word."""
    from yaml import ScalarNode

    seen: dict[Hashable, int] = {}
    for key, _ in node.value:
        if not isinstance(key, ScalarNode) or key.tag == _MERGE:
            continue
        name, line = loader.construct_object(key), key.start_mark.line + 1
        if name in seen:
            said = repr(name)[:200]
            raise loader.refuse(f"says {said} twice, in line {seen[name]} and in line {line}; keep one of them")
        seen[name] = line


def _refuse_depth(events: Iterable[Any], refuse: Refuse) -> None:
    """Deep nesting would end the whole process: libyaml's composer recurses in C, where nothing catches it."""
    from yaml.events import CollectionEndEvent, CollectionStartEvent

    depth = 0
    for event in events:
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise refuse(f"is nested more than {MAX_DEPTH} deep; flatten it")


def _told(problem: Exception) -> str:
    """What is wrong with the text, and where."""
    from yaml import MarkedYAMLError
    from yaml.reader import ReaderError

    if isinstance(problem, ReaderError):
        return f"is not text: {problem.reason} at position {problem.position}; save it as UTF-8"
    if not isinstance(problem, MarkedYAMLError):
        return f"is not YAML: {problem}"
    mark, begun = problem.problem_mark or problem.context_mark, problem.context_mark
    place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    within = (
        f"{problem.context}{f' that begins in line {begun.line + 1}' if begun else ''}" if problem.context else None
    )
    return f"is not YAML{place}: {', '.join(filter(None, [within, problem.problem]))}"
