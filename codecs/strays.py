"""Pixels that what a picture was made from does not give: where they are, and what to add there.

`stray`: (height, width), uint8, 1 at each of n pixels. `moved`: (n, channels), uint8, what to add
to the samples there, modulo 256, row by row.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmc.codecs import graphic, text
from lmc.errors import Corrupt
from lmc.kernels import _native


def encode(stray: NDArray[np.uint8], moved: NDArray[np.uint8], effort: int) -> tuple[bytes, bytes]:
    """The map, a drawn image of 1 bit with this effort, and what to add, empty if n is 0."""
    # Channel after channel: neighbours are alike.
    content = np.ascontiguousarray(moved.T).tobytes()
    return graphic.encode(stray[..., None], 1, effort), text.encode_aside(content)


def decode(
    map: bytes, coded: bytes, shape: tuple[int, int], channels: int, effort: int, threads: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """stray and moved, of a picture of this (height, width). Raises Corrupt."""
    stray = graphic.decode(map, (*shape, 1), 1, effort)[..., 0]
    count = int(np.count_nonzero(stray))
    size = channels * count
    content = text.decode_aside(coded, size, threads)
    return stray, np.frombuffer(content, np.uint8).reshape(channels, count).T


def correct(samples: NDArray[Any], stray: NDArray[np.uint8], moved: NDArray[np.uint8]) -> None:
    """Add it, in place. Raises Corrupt if the two do not belong together."""
    at = stray != 0
    if np.count_nonzero(at) != len(moved):
        raise Corrupt("the stray pixels of a picture are incomplete")
    samples[at] += moved


def memory(shape: tuple[int, int], count: int, channels: int, effort: int) -> int:
    """Bytes that `decode` takes at most."""
    models = _native.mixer_bytes(text.STRONG, count * channels)
    return graphic.memory((*shape, 1), effort) + models
