"""Frames without a header, of a layout that the user states: `176x144:yuv420p:25`.

Layouts have the names that FFmpeg gives them. Packed colours are taken apart into planes, green
first, since it tells most about the others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from lmc.codecs.clips.base import (
    MOST_SIDE,
    RAW,
    Geometry,
    Odd,
    Reader,
    Samples,
    Video,
    Writer,
    from_bytes,
    to_bytes,
)
from lmc.errors import Corrupt, Usage

_PLANAR = {
    "420": ((1, 1), (1, 1)),
    "422": ((1, 0), (1, 0)),
    "444": ((0, 0), (0, 0)),
    "411": ((2, 0), (2, 0)),
    "410": ((2, 2), (2, 2)),
    "440": ((0, 1), (0, 1)),
}
_FULL = ((0, 0), (0, 0))
# Packed layouts: in which order their channels become planes.
PACKED = {
    "rgb24": (1, 2, 0),
    "bgr24": (1, 0, 2),
    "rgba": (1, 2, 0, 3),
    "bgra": (1, 0, 2, 3),
    "rgb48le": (1, 2, 0),
}
_NUMBERS = {name: i + 1 for i, name in enumerate(PACKED)}  # on the wire; 0 is planar
_ORDERS = {0: (), **{_NUMBERS[name]: order for name, order in PACKED.items()}}
_STATED = re.compile(r"(\d{1,5})x(\d{1,5}):([a-z0-9]+)(?::(\d{1,6}(?:[./]\d{1,6})?))?")
_YUV = re.compile(r"(yuva?|gbra?p|gray)(\d{3})?(p)?(9|10|12|14|16)?(le)?")


@dataclass(frozen=True, slots=True)
class Stated:
    """What the user says of a file. packed: the number of a packed layout, or 0."""

    geometry: Geometry
    packed: int
    rate: str

    @property
    def wide(self) -> bool:
        return self.geometry.depth > 8


def state(text: str) -> Stated:
    """WIDTHxHEIGHT:LAYOUT[:RATE]. Raises Usage."""
    found = _STATED.fullmatch(text)
    if found is None:
        raise Usage(f"{text!r} is no geometry of a video", hint="for example 176x144:yuv420p:25")
    width, height, layout, rate = int(found[1]), int(found[2]), found[3], found[4] or ""
    if not (1 <= width <= MOST_SIDE and 1 <= height <= MOST_SIDE):
        raise Usage(f"a video of {width}x{height} pixels is out of range")
    if layout in PACKED:
        coarse: tuple[tuple[int, int], ...] = ((0, 0),) * (len(PACKED[layout]) - 1)
        depth = 16 if layout == "rgb48le" else 8
        return Stated(Geometry(width, height, coarse, depth), _NUMBERS[layout], rate)
    kind = _YUV.fullmatch(layout)
    if kind is not None:
        name, sampling, planar, depth_ = kind[1], kind[2], kind[3], int(kind[4] or 8)
        right = bool(kind[5]) == (depth_ > 8)
        if name.startswith("yuv") and sampling in _PLANAR and planar and right:
            alpha = ((0, 0),) if name == "yuva" else ()
            return Stated(Geometry(width, height, _PLANAR[sampling] + alpha, depth_), 0, rate)
        if name.startswith("gb") and not sampling and not planar and right:
            alpha = ((0, 0),) if name == "gbrap" else ()
            return Stated(Geometry(width, height, _FULL + alpha, depth_), 0, rate)
        if name == "gray" and not sampling and not planar and right:
            return Stated(Geometry(width, height, (), depth_), 0, rate)
    raise Usage(
        f"there is no layout {layout!r}",
        hint="yuv420p, yuv422p10le, yuv444p, gray, gbrp, and others; " + ", ".join(PACKED),
    )


def layout_name(depth: int, coarse: tuple[tuple[int, int], ...], colours: bool) -> str | None:
    """The layout of planes as `state` takes it; None if it has no name. colours: green, blue and
    red.

    >>> layout_name(10, ((1, 0), (1, 0)), False)
    'yuv422p10le'
    """
    names: dict[tuple[tuple[int, int], ...], str]
    if colours:
        names = {_FULL: "gbrp", (*_FULL, (0, 0)): "gbrap"}
    else:
        names = {planes: f"yuv{digits}p" for digits, planes in _PLANAR.items()}
        names |= {(*planes, (0, 0)): f"yuva{digits}p" for digits, planes in _PLANAR.items()}
        names[()] = "gray"
    if coarse not in names or depth not in (8, 9, 10, 12, 14, 16):
        return None
    return names[coarse] if depth == 8 else f"{names[coarse]}{depth}le"


def take_apart(data: bytes, stated: Stated, most_samples: int) -> Video:
    """Raises Odd."""
    geometry = stated.geometry
    size = geometry.frame * (1 + stated.wide)
    count = len(data) // size
    if count == 0 or count * geometry.frame > most_samples:
        raise Odd
    samples = from_bytes(data[: count * size], stated.wide)
    order = _ORDERS[stated.packed]
    if order:
        pixels = samples.reshape(count, -1, len(order))
        samples = np.ascontiguousarray(pixels[:, :, list(order)].transpose(0, 2, 1))
    samples = samples.reshape(count, -1)
    depth = geometry.depth
    if int(samples.max()) >> depth:
        depth = 16
    out = Writer()
    out.number(int(stated.wide))
    out.number(stated.packed)
    out.raw(data[count * size :])
    actual = Geometry(geometry.width, geometry.height, geometry.coarse, depth)
    return Video(samples, actual, stated.rate, RAW, out.done())


def rebuild(recipe: bytes, samples: Samples, geometry: Geometry) -> bytes:
    """The file. Raises Corrupt."""
    reader = Reader(recipe)
    wide, packed = bool(reader.number(1)), reader.number(len(PACKED))
    order = _ORDERS[packed]
    if order:
        if len(order) != len(geometry.planes) or any(c != (0, 0) for c in geometry.coarse):
            raise Corrupt("the recipe of a video is for one of another shape")
        planes = samples.reshape(len(samples), len(order), -1)
        pixels = np.empty_like(planes)
        pixels[:, list(order)] = planes
        samples = np.ascontiguousarray(pixels.transpose(0, 2, 1))
    return to_bytes(samples, wide) + reader.rest()
