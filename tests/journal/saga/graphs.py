"""Every acyclic graph of a few vertices, one of each shape, and what reaches what in it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import combinations

from coterie._rules.plan import Graph, build_graph
from coterie.task import Task

# Unlabelled acyclic graphs of 1, 2, ... vertices (OEIS A003087).
SHAPES = (1, 2, 6, 31, 302, 5984)


@cache
def shapes(size: int) -> tuple[Graph, ...]:
    """One graph of each shape, its vertices in an order in which none depends on a later one."""
    pairs = list(combinations(range(size), 2))
    bit = {pair: 1 << number for number, pair in enumerate(pairs)}
    seen = bytearray(1 << len(pairs))
    found = []
    for mask in range(1 << len(pairs)):
        if seen[mask]:
            continue
        edges = [pair for pair in pairs if mask & bit[pair]]
        found.append(graph_of(size, edges))
        # The same shape in other orders: one for each way of counting its vertices along its edges.
        for order in _extensions(size, edges):
            seen[sum(bit[order[a], order[b]] for a, b in edges)] = 1
    return tuple(found)


def graph_of(size: int, edges: list[tuple[int, int]]) -> Graph:
    """Vertex b depends on a for each edge (a, b)."""
    before: list[list[str]] = [[] for _ in range(size)]
    for a, b in edges:
        before[b].append(f"t{a}")
    return build_graph([Task(f"t{i}", "x", depends_on=names) for i, names in enumerate(before)])


def relabelled(graph: Graph, order: tuple[int, ...]) -> Graph:
    """The same shape, with vertex i called `order[i]`."""
    edges = [(order[a], order[b]) for b, before in enumerate(graph.upstream) for a in before]
    return graph_of(len(graph.ids), edges)


@cache
def later(graph: Graph) -> tuple[int, ...]:
    """For each vertex, the set (as bits) of all that depend on it, directly or not."""
    reached = [0] * len(graph.ids)
    for i in reversed(graph.order):
        for after in graph.dependents[i]:
            reached[i] |= 1 << after | reached[after]
    return tuple(reached)


def _extensions(size: int, edges: list[tuple[int, int]]) -> Iterator[list[int]]:
    """Every numbering of the vertices that grows along the edges: `order[vertex]` is its number."""
    before = [0] * size
    for a, b in edges:
        before[b] |= 1 << a
    order = [0] * size

    def number(count: int, placed: int) -> Iterator[list[int]]:
        if count == size:
            yield order
            return
        for vertex in range(size):
            if not placed >> vertex & 1 and before[vertex] & ~placed == 0:
                order[vertex] = count
                yield from number(count + 1, placed | 1 << vertex)

    return number(0, 0)
