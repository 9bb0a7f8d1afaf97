"""A map of the code: each file a rectangle as large as the file, the warmer the denser its findings.

Source: Bruls, Huizing and van Wijk, "Squarified Treemaps" (2000).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from coterie.teams.code_review.report.markup import esc, number
from coterie.teams.code_review.report.rank import WEIGHTS
from coterie.teams.code_review.report.shape import SEVERITIES, Counts, SourceFile

__all__ = ["MOST_FILES", "Box", "squarify", "treemap"]

MOST_FILES = 500
_WIDTH, _HEIGHT, _GAP = 1000.0, 400.0, 3.0
_LEAST_NAME = 8
# Score for each 1,000 bytes from which a file is warmer; the first is any finding at all.
_HEAT = (1e-9, 1.0, 3.0, 10.0)
_NONE = Counts(error=0, warning=0, note=0)


class Box(NamedTuple):
    """A rectangle, in the units of the drawing."""

    x: float
    y: float
    width: float
    height: float


def treemap(files: Sequence[SourceFile], found: dict[str, Counts]) -> str:
    """The map of the 500 largest of `files`, those of one folder side by side; `found` counts by path."""
    folders: dict[str, list[SourceFile]] = {}
    for file in sorted(files, key=lambda each: (-each["size_bytes"], each["path"]))[:MOST_FILES]:
        folders.setdefault(file["path"].rpartition("/")[0], []).append(file)
    ordered = sorted(folders.items(), key=lambda pair: (-_bytes(pair[1]), pair[0]))
    boxes = squarify([_bytes(own) for _, own in ordered], Box(0, 0, _WIDTH, _HEIGHT))
    body = "".join(_folder(own, box, found) for (_, own), box in zip(ordered, boxes, strict=True))
    label = f"Map of {len(files)} Python files by size; those with findings are coloured"
    return f'<svg class="chart map" viewBox="0 0 1000 400" role=img aria-label="{label}">{body}</svg>'


def squarify(sizes: Sequence[float], box: Box) -> list[Box]:
    """Cut `box` into one box for each of `sizes` (descending, positive), areas in proportion.

    Each is as square as a greedy choice of rows gives.
    """
    boxes: list[Box] = []
    left, rest = box, sum(sizes)
    start = 0
    while start < len(sizes):
        scale = left.width * left.height / rest if rest > 0 else 0.0
        end = _row_end(sizes, start, scale, min(left.width, left.height))
        row = sizes[start:end]
        placed, left = _lay(row, left, scale)
        boxes += placed
        rest -= sum(row)
        start = end
    return boxes


def _row_end(sizes: Sequence[float], start: int, scale: float, side: float) -> int:
    """Grow the row while its worst proportion improves."""
    end, total, best = start, 0.0, float("inf")
    while end < len(sizes):
        total += sizes[end]
        worst = _worst(sizes[start], sizes[end], total, scale, side)
        if end > start and worst > best:
            break
        best, end = worst, end + 1
    return end


def _worst(largest: float, smallest: float, total: float, scale: float, side: float) -> float:
    area, square = total * scale, side * side
    if area <= 0 or square <= 0 or smallest * scale <= 0:
        return float("inf")
    return max(square * largest * scale / (area * area), area * area / (square * smallest * scale))


def _lay(row: Sequence[float], box: Box, scale: float) -> tuple[list[Box], Box]:
    """Put a row along the shorter side; return its boxes and the box that is left."""
    area = sum(row) * scale
    if box.width >= box.height:
        thick = area / box.height if box.height else 0.0
        spans = _spans(row, box.height)
        placed = [Box(box.x, box.y + at, thick, span) for at, span in spans]
        return placed, Box(box.x + thick, box.y, max(box.width - thick, 0.0), box.height)
    thick = area / box.width if box.width else 0.0
    placed = [Box(box.x + at, box.y, span, thick) for at, span in _spans(row, box.width)]
    return placed, Box(box.x, box.y + thick, box.width, max(box.height - thick, 0.0))


def _spans(row: Sequence[float], length: float) -> Iterator[tuple[float, float]]:
    total, at = sum(row), 0.0
    for size in row:
        span = length * size / total
        yield at, span
        at += span


def _folder(files: list[SourceFile], box: Box, found: dict[str, Counts]) -> str:
    inner = Box(box.x, box.y, max(box.width - _GAP, 0.5), max(box.height - _GAP, 0.5))
    boxes = squarify([max(file["size_bytes"], 1) for file in files], inner)
    return "".join(_file(file, at, found.get(file["path"], _NONE)) for file, at in zip(files, boxes, strict=True))


def _file(file: SourceFile, box: Box, counts: Counts) -> str:
    score = sum(WEIGHTS[level] * counts[level] for level in SEVERITIES)
    heat = sum(1000 * score / max(file["size_bytes"], 1000) >= least for least in _HEAT)
    told = ", ".join(f"{counts[level]} {level}s" for level in SEVERITIES)
    title = f"{file['path']} ({number(file['size_bytes'])} bytes): {told}"
    rect = (
        f'<rect class="h-{heat}" x={box.x:.1f} y={box.y:.1f} '
        f"width={max(box.width - 1, 0.5):.1f} height={max(box.height - 1, 0.5):.1f} rx=2 />"
    )
    return f"<g><title>{esc(title)}</title>{rect}{_name(file['path'], box, heat)}</g>"


def _name(path: str, box: Box, heat: int) -> str:
    room = int((box.width - 12) / 7)
    name = path.rpartition("/")[2]
    if box.height < 20 or room < min(len(name), _LEAST_NAME):
        return ""
    name = name if len(name) <= room else f"{name[: room - 1]}…"
    return f'<text class="t-map k-{heat}" x={box.x + 6:.1f} y={box.y + 16:.1f}>{esc(name)}</text>'


def _bytes(files: Iterable[SourceFile]) -> int:
    return sum(max(file["size_bytes"], 1) for file in files)
