"""What the packets of a lossless video stream are taken apart into.

A module of a stream codec has `take` (packets into planes and a description) and `give` (planes and
description into the same packets). Both are exact and need no library of codecs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmc.errors import Corrupt

Frame = list[NDArray[Any]]
"""The planes of a frame, (height, width) each, of bytes or of 16-bit numbers."""

MOST_SIDE = 1 << 14  # pixels: more than any camera has
MOST_SAMPLES = 1 << 30

# How coarse the planes behind the first one are, as in codecs/clips/raw.py.
COARSE: dict[str, tuple[tuple[int, int], ...]] = {
    "gray": (),
    "yuv420p": ((1, 1), (1, 1)),
    "yuv422p": ((1, 0), (1, 0)),
    "yuv444p": ((0, 0), (0, 0)),
    "yuv411p": ((2, 0), (2, 0)),
    "yuv410p": ((2, 2), (2, 2)),
    "yuv440p": ((0, 1), (0, 1)),
    "gbrp": ((0, 0), (0, 0)),
    "gbrap": ((0, 0), (0, 0), (0, 0)),
}
_LAYOUT = re.compile(r"(\D+|yuv4\d\dp)(?:(9|1[0-6])le)?")


@dataclass(frozen=True, slots=True)
class Taken:
    """A stream as frames and the rest.

    format: the layout, with the name that FFmpeg gives it. side: what `give` needs besides.
    """

    format: str
    frames: list[Frame]
    side: bytes


def parse(format: str) -> tuple[tuple[tuple[int, int], ...], int] | None:
    """How coarse planes are, and the bits of a sample; None for a layout that is not known."""
    found = _LAYOUT.fullmatch(format)
    if found is None or found[1] not in COARSE:
        return None
    return COARSE[found[1]], int(found[2] or 8)


def sides(format: str, width: int, height: int) -> list[tuple[int, int]] | None:
    """Width and height of each plane; None for a layout that is not known or does not divide."""
    known = parse(format)
    if known is None or not (1 <= width <= MOST_SIDE and 1 <= height <= MOST_SIDE):
        return None
    if any(width % (1 << r) or height % (1 << d) for r, d in known[0]):
        return None
    return [(width >> r, height >> d) for r, d in ((0, 0), *known[0])]


def cut(samples: NDArray[Any], planes: list[tuple[int, int]]) -> Frame:
    """The planes that lie one after another, row by row."""
    out, at = [], 0
    for width, height in planes:
        out.append(samples[at : at + width * height].reshape(height, width))
        at += width * height
    return out


def joined(
    frame: Frame, planes: list[tuple[int, int]], bits: int, kind: type[np.generic]
) -> NDArray[Any]:
    """What `cut` made planes of. Raises Corrupt on planes of another shape, or of more bits."""
    if [plane.shape[::-1] for plane in frame] != planes:
        raise Corrupt("the frames of a video are of another shape than its packets")
    if any(int(plane.max()) >> bits for plane in frame):
        raise Corrupt("a video has samples that are out of range")
    return np.concatenate([plane.ravel() for plane in frame]).astype(kind, copy=False)
