"""Reads the diagrams of our pages: of Mermaid's language, flowcharts and state diagrams as far as we write them."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field

__all__ = ["Diagram", "Edge", "Node", "read_diagram"]

# Where a state diagram begins, as a source, and where it ends, as a target.
_OUTSIDE = "[*]"
_FLOWCHART = re.compile(r"flowchart (?:TD|TB)$")
_STATES = re.compile(r"stateDiagram-v2$")
# A node's shape is told by its brackets: [plain], [[repeated]], [(stored)].
_NODE = re.compile(r'(?P<id>\w+)(?:(?P<open>\[\[|\[\(|\[)"(?P<text>[^"]*)"[\])]+)?')
_ARROW = re.compile(r"-->(?:\|(?P<label>[^|]*)\|)?")
_NAMED = re.compile(r'state "(?P<text>[^"]*)" as (?P<id>\w+)$')
_TRANSITION = re.compile(r"(?P<source>\w+|\[\*\]) --> (?P<target>\w+|\[\*\])(?: ?: (?P<label>.*))?$")
_MARKED = re.compile(r"class (?P<id>\w+) current$")
_SHAPES = {None: "plain", "[": "plain", "[[": "repeated", "[(": "stored"}


@dataclass(frozen=True, slots=True)
class Node:
    """A box. `lines` are its texts; `shape` is `plain`, `repeated`, `stored`, `current`, `start` or `end`."""

    id: str
    lines: tuple[str, ...]
    shape: str = "plain"


@dataclass(frozen=True, slots=True)
class Edge:
    """An arrow. `lines` are the texts beside it."""

    source: str
    target: str
    lines: tuple[str, ...] = ()


@dataclass(slots=True)
class Diagram:
    """Boxes in the order in which they are named, and arrows. `is_states`: it is a state diagram."""

    is_states: bool
    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)

    def add(self, node: Node, *, told: bool) -> None:
        """Take note of a box; one that is `told` again with a text gets that text."""
        if told or node.id not in self.nodes:
            self.nodes[node.id] = node


def read_diagram(text: str) -> Diagram:
    """The diagram that the text describes.

    Raises:
        ValueError: something in it is not among what is read here.
    """
    first, *lines = [line.strip() for line in text.strip().splitlines()]
    if not _FLOWCHART.match(first) and not _STATES.match(first):
        raise ValueError(f"{first!r} begins neither a flowchart nor a state diagram")
    diagram = Diagram(is_states=first.startswith("state"))
    for line in filter(None, lines):
        (_read_states if diagram.is_states else _read_flow)(diagram, line)
    return diagram


def _read_flow(diagram: Diagram, line: str) -> None:
    """`a["text"] -->|label| b["text"] --> c`, or a box alone."""
    at, last, label = 0, None, ""
    while at < len(line):
        found = _NODE.match(line, at)
        if found is None:
            raise ValueError(f"{line!r} is no part of a flowchart that can be read here")
        text = found["text"] if found["open"] else found["id"]
        shape = _SHAPES[found["open"]]
        diagram.add(Node(found["id"], _lines(text), shape), told=found["open"] is not None)
        if last is not None:
            diagram.edges.append(Edge(last, found["id"], _lines(label)))
        last, at = found["id"], found.end()
        arrow = _ARROW.match(line[at:].lstrip())
        if arrow is None and line[at:].strip():
            raise ValueError(f"{line[at:]!r} in {line!r} is no arrow that can be read here")
        if arrow is not None:
            label = arrow["label"] or ""
            at = len(line) - len(line[at:].lstrip()[arrow.end() :].lstrip())


def _read_states(diagram: Diagram, line: str) -> None:
    named, going, marked = _NAMED.match(line), _TRANSITION.match(line), _MARKED.match(line)
    if named is not None:
        diagram.add(Node(named["id"], _lines(named["text"])), told=True)
    elif going is not None:
        source = _state(diagram, going["source"], "start")
        target = _state(diagram, going["target"], "end")
        diagram.edges.append(Edge(source, target, _lines(going["label"] or "")))
    elif marked is not None:
        diagram.add(Node(marked["id"], diagram.nodes[marked["id"]].lines, "current"), told=True)
    elif not line.startswith("classDef "):
        raise ValueError(f"{line!r} is no part of a state diagram that can be read here")


def _state(diagram: Diagram, name: str, outside: str) -> str:
    """The id of a state, or of what is before the first one or after the last."""
    known = outside if name == _OUTSIDE else name
    diagram.add(Node(known, (known,), outside if name == _OUTSIDE else "plain"), told=False)
    return known


def _lines(text: str) -> tuple[str, ...]:
    """The lines of a text, without marks; Mermaid writes `&#8805;` as `#8805;`."""
    plain = re.sub(r"</?[ib]>", "", re.sub(r"(?<!&)#(\d+);", r"&#\1;", text))
    return tuple(html.unescape(line).strip() for line in re.split(r"<br ?/?>", plain) if line.strip())
