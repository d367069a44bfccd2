"""Drawn images (screens, plots, diagrams, palettes) as payloads: kernels/src/graphic.hpp, called.

Only the samples: what a file holds beside them, and its geometry, are the caller's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lmc.codecs.base import Report
from lmc.errors import Corrupt
from lmc.kernels import _native

EFFORTS = range(3)  # 0 looks at the least and is the fastest


def encode(
    samples: NDArray[np.uint8], depth: int, effort: int, report: Report | None = None
) -> bytes:
    """Code samples (height, width, channels): 1 to 4 channels, at most 2^28 samples.

    depth: bits of a sample, 1 to 8; 8 with more than one channel. report is called with samples
    done. Raises ValueError for other geometries.
    """
    return _native.encode_graphic(samples, depth, effort, report)


def decode(
    payload: bytes,
    shape: tuple[int, int, int],
    depth: int,
    effort: int,
    report: Report | None = None,
) -> NDArray[np.uint8]:
    """The samples that `encode` coded, of that shape; raises Corrupt for what it never writes."""
    try:
        return _native.decode_graphic(payload, *shape, depth, effort, report)
    except ValueError as error:
        raise Corrupt(f"an image is damaged: {error}") from error


def memory(shape: tuple[int, int, int], effort: int) -> int:
    """Bytes that `decode` takes at most, its result among them."""
    return _native.graphic_bytes(*shape, effort)
