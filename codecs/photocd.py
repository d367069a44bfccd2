"""Pictures that once were a PhotoCD: their colours lie on a lattice that the disc's format made.

PhotoCD stored luma at every pixel and two chroma planes at every second pixel of every second row
(Eastman Kodak, "Fully utilizing Photo CD images", 1993). Who converted one to RGB filled in the
chroma by averages of neighbours and went over to RGB by the linear formula below, cut to whole
numbers. From such a picture the three planes can be had back; they say the same with half of the
numbers, each of fewer values. What does not fit is kept beside them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmc.codecs import strays

Plane = NDArray[np.int32]

# red = luma + red part, blue = luma + blue part, green = luma less shares of the parts as they were
# cut to whole numbers; units of 10^-4. The offsets are the codes of grey.
LUMA, BLUE, RED, GREEN_BLUE, GREEN_RED = 13584, 22179, 18215, 1940, 5090
GREY_BLUE, GREY_RED = 156, 137
MOST = 255  # of every plane
BAND = 64  # rows that a phase is found by


@dataclass(frozen=True, slots=True)
class Disc:
    """luma: (height, width); chroma: two planes of every second pixel from `phase` (rows, columns)
    on; stray: (height, width), 1 where the planes do not give the colour; moved: (n, 3), what to
    add to the colour that they give, modulo 256, at each of those, row by row."""

    luma: NDArray[np.uint8]
    chroma: tuple[NDArray[np.uint8], NDArray[np.uint8]]
    phase: tuple[int, int]
    stray: NDArray[np.uint8]
    moved: NDArray[np.uint8]


def to_rgb(luma: Plane, blue: Plane, red: Plane) -> NDArray[np.uint8]:
    """The colours of planes of one shape, (..., 3)."""
    u, v = BLUE * (blue - GREY_BLUE), RED * (red - GREY_RED)
    base = LUMA * luma
    green = base - GREEN_BLUE * (u // 10000) - GREEN_RED * (v // 10000)
    rgb: Plane = np.stack([base + v, green, base + u], -1) // 10000
    return rgb.clip(0, 255).astype(np.uint8)


def split(rgb: NDArray[np.uint8]) -> Disc | None:
    """The planes of a (height, width, 3) picture, or None if it is no such picture."""
    height, width, _ = rgb.shape
    if min(height, width) < 16:
        return None
    step = max(1, height // 64)
    some = rgb[::step]
    inside = ((some > 0) & (some < 255)).all(-1).sum()
    if inside < some[..., 0].size // 10 or _solve(some)[2].sum() < 0.9 * inside:
        return None
    blue, red, known = _solve(rgb)
    # The phase, by the rows where most is sure; they begin with an even one, which keeps it.
    starts = range(0, height - 15, max(2, height // 8 // 2 * 2))
    start = max(starts, key=lambda y: int(known[y : y + BAND].sum()))
    band = slice(start, start + BAND)
    phases = ((0, 0), (1, 0), (0, 1), (1, 1))
    trials = [_fit(rgb[band], _thinned(blue[band], red[band], known[band], p), p) for p in phases]
    phase = min(trials, key=lambda disc: len(disc.moved)).phase
    disc = _fit(rgb, _thinned(blue, red, known, phase), phase)
    return disc if len(disc.moved) <= height * width // 3 else None


def merge(disc: Disc) -> NDArray[np.uint8]:
    """The (height, width, 3) picture. Raises Corrupt if the parts do not belong together."""
    shape = disc.luma.shape
    full = [fill(plane.astype(np.int32), shape, disc.phase) for plane in disc.chroma]
    rgb = to_rgb(disc.luma.astype(np.int32), *full)
    strays.correct(rgb, disc.stray, disc.moved)
    return rgb


def thin_shape(shape: tuple[int, ...], phase: tuple[int, int]) -> tuple[int, int]:
    """The shape of the chroma planes of a picture."""
    return (shape[0] - phase[0] + 1) // 2, (shape[1] - phase[1] + 1) // 2


def fill(thin: Plane, shape: tuple[int, ...], phase: tuple[int, int]) -> Plane:
    """A whole plane from every second number of every second row: means, halves rounded up."""
    out = np.zeros(shape, np.int32)
    rows, columns = thin.shape
    y0, x0 = phase
    padded = np.pad(thin, ((1, 1), (1, 1)), mode="edge")

    def at(dy: int, dx: int) -> Plane:
        return padded[1 + dy : 1 + dy + rows + 1, 1 + dx : 1 + dx + columns + 1]

    a, b, c, d = at(-1, -1), at(-1, 0), at(0, -1), at(0, 0)  # around each corner, from the first on
    quads = ((1, 1, d, None), (1, 0, c, d), (0, 1, b, d), (0, 0, None, None))
    for oy, ox, p, q in quads:
        if p is None:
            values = (a + b + c + d + 2) >> 2
        elif q is None:
            values = p
        else:
            values = (p + q + 1) >> 1
        # A number of the thin plane at (i, j) stands at (y0 + 2 i, x0 + 2 j); oy, ox: 0 is between.
        top, left = y0 + oy - 1, x0 + ox - 1
        skip_y, skip_x = (2 if top < 0 else 0), (2 if left < 0 else 0)
        target = out[top + skip_y :: 2, left + skip_x :: 2]
        part = values[skip_y // 2 :, skip_x // 2 :][: target.shape[0], : target.shape[1]]
        target[: part.shape[0], : part.shape[1]] = part
    return out


def _solve(rgb: NDArray[np.uint8]) -> tuple[Plane, Plane, NDArray[np.bool_]]:
    """Chroma, and where it is sure: not cut off at 0 or 255, and giving the very colour."""
    r, g, b = (rgb[..., i].astype(np.int32) for i in range(3))
    level = (2986 * r + 5871 * g + 1140 * b + 2500) // 10000
    luma = (level * 10000 + LUMA // 2) // LUMA
    blue, red = np.zeros_like(r), np.zeros_like(r)
    known = np.zeros(r.shape, bool)
    for nudge in (0, 1, -1, 2, -2):
        y = luma + nudge
        c1 = -((LUMA * y - b * 10000) // BLUE) + GREY_BLUE  # the least that gives b or more
        c2 = -((LUMA * y - r * 10000) // RED) + GREY_RED
        fits = ~known & (to_rgb(y, c1, c2) == rgb).all(-1)
        blue[fits], red[fits] = c1[fits], c2[fits]
        known |= fits
    return blue, red, known & ((rgb > 0) & (rgb < 255)).all(-1)


def _thinned(
    blue: Plane, red: Plane, known: NDArray[np.bool_], phase: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    return _thin(blue, known, phase), _thin(red, known, phase)


def _thin(plane: Plane, known: NDArray[np.bool_], phase: tuple[int, int]) -> NDArray[np.uint8]:
    """Every second number of every second row; unknown ones from their surroundings."""
    y0, x0 = phase
    values = plane[y0::2, x0::2].astype(np.float64)
    sure = known[y0::2, x0::2].copy()
    values[~sure] = 0
    if not sure.any():
        return np.zeros(values.shape, np.uint8)
    while not sure.all():  # grow from the known ones outwards
        near, count = np.zeros_like(values), np.zeros_like(values)
        padded, mask = np.pad(values * sure, 1), np.pad(sure, 1).astype(np.float64)
        rows, columns = values.shape
        for dy, dx in ((0, 1), (2, 1), (1, 0), (1, 2)):
            near += padded[dy : dy + rows, dx : dx + columns]
            count += mask[dy : dy + rows, dx : dx + columns]
        new = ~sure & (count > 0)
        values[new] = np.rint(near[new] / count[new])
        sure |= new
    return np.clip(values, 0, MOST).astype(np.uint8)


def _fit(
    rgb: NDArray[np.uint8],
    chroma: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    phase: tuple[int, int],
) -> Disc:
    """The luma that fits best beside these chroma planes, and what it does not explain."""
    shape = rgb.shape[:2]
    blue, red = (fill(plane.astype(np.int32), shape, phase) for plane in chroma)
    u, v = BLUE * (blue - GREY_BLUE), RED * (red - GREY_RED)
    parts = (v, -GREEN_BLUE * (u // 10000) - GREEN_RED * (v // 10000), u)
    # The least luma that each channel allows; of those cut off at 0 any is allowed.
    least = [
        np.where(rgb[..., i] == 0, 0, -((part - rgb[..., i].astype(np.int32) * 10000) // LUMA))
        for i, part in enumerate(parts)
    ]
    luma = np.zeros(shape, np.int32)
    nearest = np.full(shape, 1 << 20, np.int32)
    for y in (np.maximum.reduce(least), *least):
        for nudge in (0, 1, -1):
            other = np.clip(y + nudge, 0, MOST)
            given = to_rgb(other, blue, red)
            away = np.abs(given.astype(np.int32) - rgb).sum(-1, dtype=np.int32)
            better = away < nearest
            luma[better], nearest[better] = other[better], away[better]
    stray = nearest > 0
    moved = rgb[stray] - to_rgb(luma, blue, red)[stray]
    return Disc(luma.astype(np.uint8), chroma, phase, stray.astype(np.uint8), moved)
