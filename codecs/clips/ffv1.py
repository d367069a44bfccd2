"""FFV1 (RFC 9043): packets that kernels/src/ffv1.hpp takes apart."""

from __future__ import annotations

import numpy as np

from lmc.codecs.clips import packets as base
from lmc.codecs.clips.base import Geometry
from lmc.codecs.clips.packets import Frame, Taken
from lmc.codecs.clips.raw import layout_name, state
from lmc.errors import Corrupt, Usage
from lmc.kernels import _native


def take(
    packets: list[bytes],
    extradata: bytes,
    width: int,
    height: int,
    most_samples: int = base.MOST_SAMPLES,
) -> Taken | None:
    """None for a stream that cannot be written again, or has more samples than that."""
    found = _native.ffv1_take(packets, extradata, width, height, most_samples)
    if found is None:
        return None
    samples, bits, coarse, colours, side = found
    format = layout_name(bits, tuple(coarse), colours)
    if format is None:
        return None
    planes = _planes(_geometry(format, width, height))
    return Taken(format, [base.cut(frame, planes) for frame in samples], side)


def give(
    frames: list[Frame], format: str, width: int, height: int, extradata: bytes, side: bytes
) -> list[bytes]:
    """The packets. Raises Corrupt."""
    geometry = _geometry(format, width, height)
    planes = _planes(geometry)
    samples = np.empty((len(frames), geometry.frame), np.uint16)
    for row, frame in zip(samples, frames, strict=True):
        row[:] = base.joined(frame, planes, geometry.depth, np.uint16)
    shape = geometry.depth, geometry.coarse, format.startswith("gbr")
    try:
        return _native.ffv1_give(samples, *shape, side, extradata, width, height)
    except _native.Damaged as error:
        raise Corrupt(str(error)) from None


def _geometry(format: str, width: int, height: int) -> Geometry:
    try:
        return state(f"{width}x{height}:{format}").geometry
    except Usage:
        raise Corrupt("a video is of a layout that FFV1 does not have") from None


def _planes(geometry: Geometry) -> list[tuple[int, int]]:
    return [(width, height) for width, height, *_ in geometry.planes]
