"""Graphs to schedule: for each node, the nodes that it waits for (always earlier ones)."""

from __future__ import annotations

__all__ = ["SHAPES", "Shape"]

from collections.abc import Callable

Shape = list[list[int]]

WIDTH = 100
PARENTS = 3


def chain(nodes: int) -> Shape:
    """Each waits for the one before."""
    return [[i - 1] if i else [] for i in range(nodes)]


def fan_out(nodes: int) -> Shape:
    """One, then all others but the last, which waits for them."""
    middle = list(range(1, nodes - 1))
    return [[], *([0] for _ in middle), middle]


def layered(nodes: int) -> Shape:
    """Layers of 100; each node waits for three of the layer before."""
    return [
        [] if i < WIDTH else [(i // WIDTH - 1) * WIDTH + (i + step) % WIDTH for step in range(PARENTS)]
        for i in range(nodes)
    ]


SHAPES: dict[str, Callable[[int], Shape]] = {"chain": chain, "fan-out": fan_out, "layered": layered}
