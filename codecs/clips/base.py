"""What a video file is taken apart into (FORMAT.md, "Recipes of video files")."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmc.codecs.recipe import Odd, Reader, Writer
from lmc.errors import Corrupt

__all__ = ["Geometry", "Odd", "Reader", "Samples", "Video", "Writer"]

Samples = NDArray[np.uint16]
"""(frames, samples of a frame): its planes one after another, each row by row."""

Y4M, RAW, FFV1, UT_VIDEO, HUFFYUV = 1, 2, 3, 4, 5
MOST_SIDE = 1 << 16


@dataclass(frozen=True, slots=True)
class Geometry:
    """Planes and depth of a video. width, height: of the first plane. coarse: for each other plane
    log2 of how many columns and rows of the first one its samples stand for. depth: bits, 1 to 16.
    """

    width: int
    height: int
    coarse: tuple[tuple[int, int], ...]
    depth: int

    @property
    def planes(self) -> list[tuple[int, int, int, int]]:
        """Width, height, and how coarse, of each plane."""
        w, h = self.width, self.height
        return [(-(-w >> r), -(-h >> d), r, d) for r, d in ((0, 0), *self.coarse)]

    @property
    def frame(self) -> int:
        """Samples of a frame."""
        return sum(width * height for width, height, *_ in self.planes)


@dataclass(frozen=True, slots=True)
class Video:
    """A video file as samples and the rest.

    rate: frames a second as the file says it, for people; "" if it does not. format: the file
    format's number on the wire. recipe: all that `rebuild` needs besides samples and geometry.
    """

    samples: Samples
    geometry: Geometry
    rate: str
    format: int
    recipe: bytes


def to_bytes(samples: Samples, wide: bool) -> bytes:
    """Samples as bytes, or as two bytes each, the lowest first. Raises Corrupt."""
    if wide:
        return samples.astype("<u2", copy=False).tobytes()
    if samples.size and int(samples.max()) > 255:
        raise Corrupt("a video has samples that are out of range")
    return samples.astype(np.uint8).tobytes()


def from_bytes(data: bytes, wide: bool) -> Samples:
    return np.frombuffer(data, "<u2" if wide else np.uint8).astype(np.uint16)
