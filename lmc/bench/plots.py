"""Plots as SVG, drawn without a library: a page that holds them needs no network and no script."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from lmc.bench.summary import front
from lmc.bench.tables import speed

WIDTH, HEIGHT = 460, 340
LEFT, RIGHT, TOP, BOTTOM = 48, 14, 14, 42
SIGN = 6.2  # width of a sign of the labels, about


@dataclass(frozen=True, slots=True)
class Point:
    """speed in MB/s, size in bits for each unit."""

    name: str
    speed: float
    size: float
    mine: bool


Box = tuple[float, float, float, float]


def scatter(points: list[Point], across: str, up: str) -> str:
    """Size against speed (logarithmic), with the Pareto front. Each point has its name, where that
    covers least of the others, and its figures on hover."""
    if not points:
        return ""
    low = math.log10(min(point.speed for point in points))
    high = math.log10(max(point.speed for point in points))
    low, high = low - 0.06 * (high - low) - 0.1, high + 0.06 * (high - low) + 0.1
    least = min(point.size for point in points)
    most = max(point.size for point in points)
    edge = 0.08 * (most - least) or 0.05 * most or 1.0
    least, most = max(0.0, least - edge), most + edge

    def x(rate: float) -> float:
        return LEFT + (math.log10(rate) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(size: float) -> float:
        return TOP + (most - size) / (most - least) * (HEIGHT - TOP - BOTTOM)

    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    out = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(across)}">']
    for power in range(math.ceil(low), math.floor(high) + 1):
        at = x(10.0**power)
        out.append(f'<path class="grid" d="M{at:.1f} {TOP}V{bottom}"/>')
        label = f"{10.0**power:,.10g}"
        out.append(
            f'<text class="faint" x="{at:.1f}" y="{bottom + 14}" text-anchor="middle">'
            f"{label}</text>"
        )
    for value in ticks(least, most):
        at = y(value)
        out.append(f'<path class="grid" d="M{LEFT} {at:.1f}H{right}"/>')
        out.append(
            f'<text class="faint" x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">'
            f"{value:.10g}</text>"
        )
    corners = [(x(rate), y(size)) for rate, size in front([(p.speed, p.size) for p in points])]
    path = f"M{corners[0][0]:.1f} {corners[0][1]:.1f}" + "".join(
        f"V{at:.1f}H{along:.1f}" for along, at in corners[1:]
    )
    out.append(f'<path class="front" d="{path}"/>')
    taken: list[Box] = [
        (x(p.speed) - 5, y(p.size) - 5, x(p.speed) + 5, y(p.size) + 5) for p in points
    ]
    for (slow, small), (fast, large) in pairwise(corners):
        taken += [
            (slow, min(small, large), slow + 1, max(small, large)),
            (slow, large, fast, large + 1),
        ]
    labels = []
    for point in points:
        kind = "mine" if point.mine else "others"
        about = f"{point.name}: {point.size:.3f} {up}, {speed(point.speed)} MB/s"
        out.append(
            f'<circle class="{kind}" cx="{x(point.speed):.1f}" cy="{y(point.size):.1f}" r="4.5">'
            f"<title>{escape(about)}</title></circle>"
        )
        labels.append(_label(point, x(point.speed), y(point.size), taken))
    out += labels
    out.append(
        f'<text class="faint" x="{(LEFT + right) / 2}" y="{HEIGHT - 8}" '
        f'text-anchor="middle">{escape(across)}</text>'
    )
    out.append(
        f'<text class="faint" x="12" y="{(TOP + bottom) / 2}" text-anchor="middle" '
        f'transform="rotate(-90 12 {(TOP + bottom) / 2})">{escape(up)}</text></svg>'
    )
    return "\n".join(out)


def _label(point: Point, x: float, y: float, taken: list[Box]) -> str:
    wide = len(point.name) * SIGN
    best: tuple[float, Box] | None = None
    for away in (0, 12, 24, 36):
        for left, up in (
            (x + 8, y - 6 - away),
            (x - 8 - wide, y - 6 - away),
            (x + 8, y - 6 + away),
            (x - 8 - wide, y - 6 + away),
            (x - wide / 2, y - 18 - away),
            (x - wide / 2, y + 6 + away),
        ):
            box = (left, up, left + wide, up + 12)
            outside = box[0] < LEFT or box[2] > WIDTH or box[1] < 0 or box[3] > HEIGHT - BOTTOM
            cost = sum(_overlap(box, other) for other in taken) + 500.0 * outside + away
            if best is None or cost < best[0]:
                best = cost, box
    assert best is not None
    box = best[1]
    taken.append(box)
    kind = ' class="mine"' if point.mine else ""
    return f'<text{kind} x="{box[0]:.1f}" y="{box[3] - 2:.1f}">{escape(point.name)}</text>'


def _overlap(one: Box, other: Box) -> float:
    """The area that two boxes share."""
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return wide * high if wide > 0 and high > 0 else 0.0


def ticks(low: float, high: float) -> list[float]:
    """Round numbers in a range, about five.

    >>> ticks(1.1, 3.2)
    [1.5, 2.0, 2.5, 3.0]
    """
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough)
    first = math.ceil(low / step)
    return [round(n * step, 10) for n in range(first, math.floor(high / step) + 1)]


def bars(name: str, rows: list[tuple[str, float | None, bool]], unit: str) -> str:
    """One file's sizes: of each tool a bar, from nothing on, with its figure; None: not coded."""
    most = max((value for _, value, _ in rows if value is not None), default=1.0)
    names = max(len(tool) for tool, _, _ in rows) * SIGN + 8
    height = 16 * len(rows) + 4
    out = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(name)}">']
    room = WIDTH - names - 52
    for number, (tool, value, mine) in enumerate(rows):
        at = 2 + 16 * number
        out.append(
            f'<text x="{names - 6:.0f}" y="{at + 11}" text-anchor="end">{escape(tool)}</text>'
        )
        if value is None:
            out.append(f'<text class="faint" x="{names + 4:.0f}" y="{at + 11}">not coded</text>')
            continue
        wide = max(1.0, value / most * room)
        kind = "mine" if mine else "others"
        out.append(
            f'<rect class="{kind}" x="{names:.0f}" y="{at + 1}" width="{wide:.1f}" '
            f'height="12"><title>{escape(tool)}: {value:.4f} {escape(unit)}</title></rect>'
        )
        out.append(f'<text x="{names + wide + 4:.1f}" y="{at + 11}">{value:.3f}</text>')
    out.append("</svg>")
    return "\n".join(out)
