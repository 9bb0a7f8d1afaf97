"""Small charts as inline SVG, drawn from numbers, without scripts and without inline styles.

Colours come from classes, so that the page's style sheet decides them for light, dark and print. A chart whose
numbers stand beside it as text is hidden from screen readers; the others carry a label.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from coterie.teams.code_review.report.markup import esc, number
from coterie.teams.code_review.report.shape import SEVERITIES

__all__ = ["columns", "meter", "ring", "stack"]


def stack(counts: Mapping[str, object], *, most: int, height: int = 10) -> str:
    """One bar: errors, warnings and notes end to end; `most` findings would fill the whole width."""
    rects, x = [], 0.0
    for level in SEVERITIES:
        share = 100 * int(str(counts[level])) / most if most else 0
        if share:
            rects.append(_rect(x, 0, share, height, f"f-{level}"))
            x += share
    body = "".join(rects)
    return (
        f'<svg class=bar viewBox="0 0 100 {height}" preserveAspectRatio=none aria-hidden=true>'
        f"{_rect(0, 0, 100, height, 'f-rest')}{body}</svg>"
    )


def meter(value: float, most: float, css: str = "f-accent") -> str:
    """One bar of one colour."""
    share = 100 * min(value / most, 1.0) if most else 0.0
    return (
        '<svg class=bar viewBox="0 0 100 10" preserveAspectRatio=none aria-hidden=true>'
        f"{_rect(0, 0, 100, 10, 'f-rest')}{_rect(0, 0, share, 10, css)}</svg>"
    )


def columns(bins: Sequence[tuple[str, int, str]], *, label: str) -> str:
    """A column chart of (label, count, class) triples, each count written above its column."""
    width, floor, top = 270.0, 176.0, 22.0
    most = max((count for _, count, _ in bins), default=0) or 1
    step = width / max(len(bins), 1)
    body = []
    for place, (name, count, css) in enumerate(bins):
        height = (floor - top) * count / most
        # A column that is not empty stays visible beside one a thousand times its height.
        height = max(height, 2.0) if count else 0.0
        middle = (place + 0.5) * step
        body.append(_rect(place * step + 4, floor - height, step - 8, height, css))
        body.append(_text(middle, floor - height - 6, number(count), "n"))
        body.append(_text(middle, floor + 16, name, "l"))
    said = ", ".join(f"{name}: {count}" for name, count, _ in bins)
    line = f"<line class=axis x1=0 x2={width:g} y1={floor:g} y2={floor:g} />"
    return _image(f"{label}. {said}", "0 0 270 198", "".join(body) + line, "columns")


def ring(share: float, *, label: str, css: str = "s-accent") -> str:
    """A ring that is filled to `share` (0 to 1), with the percentage in its middle."""
    radius = 42.0
    around = 2 * math.pi * radius
    filled = around * min(max(share, 0.0), 1.0)
    circle = f"cx=60 cy=60 r={radius:g} fill=none stroke-width=13"
    body = f"<circle class=s-rest {circle} />"
    if filled > 0:
        dashes = f'stroke-dasharray="{filled:.2f} {around:.2f}" transform="rotate(-90 60 60)"'
        body += f"<circle class={css} {circle} {dashes} />"
    body += _text(60, 67, f"{share:.0%}", "big")
    return _image(f"{label}: {share:.0%}", "0 0 120 120", body, "ring")


def _image(label: str, box: str, body: str, css: str) -> str:
    return f'<svg class="chart {css}" viewBox="{box}" role=img aria-label="{esc(label)}">{body}</svg>'


def _rect(x: float, y: float, width: float, height: float, css: str) -> str:
    return f"<rect class={css} x={x:.3g} y={y:.3g} width={width:.4g} height={height:.4g} />"


def _text(x: float, y: float, text: str, css: str) -> str:
    return f'<text class="t-{css}" x={x:.4g} y={y:.4g} text-anchor=middle>{esc(text)}</text>'
