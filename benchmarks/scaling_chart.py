"""A chart of lines on logarithmic axes, as an SVG that is legible on light and on dark pages."""

from __future__ import annotations

__all__ = ["Line", "chart"]

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 165, 20, 52
STYLE = """
<style>
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.box { fill: #ffffff; stroke: #d0d7de }
.grid { stroke: #d8dee4 }
path { stroke-width: 2; fill: none }
.c0 { stroke: #8b949e; stroke-dasharray: 4 4 }
.c1 { stroke: #cf222e } .c2 { stroke: #bc6c00 } .c3 { stroke: #0969da } .c4 { stroke: #1a7f37 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .box { fill: #0d1117; stroke: #3d444d }
  .grid { stroke: #262c36 }
  .c1 { stroke: #ff7b72 } .c2 { stroke: #e3a13a } .c3 { stroke: #58a6ff } .c4 { stroke: #56d364 }
}
</style>"""


@dataclass(frozen=True, slots=True)
class Line:
    """Points from left to right. label: stands at its right end."""

    label: str
    points: Sequence[tuple[float, float]]


def chart(lines: Sequence[Line], *, across: str, up: str, title: str) -> str:
    """The SVG document. The first line is the measure for the others, and dashed."""
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    wide, high = _Axis(xs, LEFT, WIDTH - RIGHT), _Axis(ys, HEIGHT - BOTTOM, TOP)
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"',
        f'aria-label="{escape(title)}">{STYLE}',
        f'<rect class="box" x="0.5" y="0.5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="6"/>',
        *[_upright(wide.at(value), value) for value in wide.decades()],
        *[_level(high.at(value), value) for value in high.decades()],
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 12}" text-anchor="middle">{escape(across)}</text>',
        f'<text transform="rotate(-90)" x="{-middle:.0f}" y="18" text-anchor="middle">{escape(up)}</text>',
    ]
    heights = _spread([high.at(line.points[-1][1]) for line in lines])
    for number, (line, height) in enumerate(zip(lines, heights, strict=True)):
        places = [f"{wide.at(x):.1f} {high.at(y):.1f}" for x, y in line.points]
        end = f"M{places[-1]} L{WIDTH - RIGHT + 22} {height:.1f}"
        parts.append(f'<path class="c{number}" d="M{" L".join(places)} {end}"/>')
        parts.append(f'<text x="{WIDTH - RIGHT + 27}" y="{height + 4:.1f}">{escape(line.label)}</text>')
    return "\n".join([*parts, "</svg>\n"])


class _Axis:
    """Values to places, by their logarithms."""

    def __init__(self, values: Sequence[float], first: float, last: float) -> None:
        self._low, self._high = math.log10(min(values)), math.log10(max(values))
        self._first, self._last = first, last

    def at(self, value: float) -> float:
        share = (math.log10(value) - self._low) / (self._high - self._low)
        return self._first + share * (self._last - self._first)

    def decades(self) -> list[float]:
        return [10.0**power for power in range(math.ceil(self._low - 1e-9), math.floor(self._high + 1e-9) + 1)]


def _upright(x: float, value: float) -> str:
    line = f'<line class="grid" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}"/>'
    return f'{line}<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{value:,.0f}</text>'


def _level(y: float, value: float) -> str:
    line = f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>'
    return f'{line}<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:,.3g}</text>'


def _spread(heights: Sequence[float]) -> list[float]:
    """Moved apart, so that no label covers another, and each beside its line."""
    found = list(heights)
    above = -math.inf
    for number in sorted(range(len(found)), key=found.__getitem__):
        above = found[number] = max(found[number], above + 18)
    over = max(0.0, above - (HEIGHT - BOTTOM))
    return [height - over for height in found]
