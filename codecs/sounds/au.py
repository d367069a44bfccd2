"""AU, also SND (Sun, NeXT): linear samples of 8 to 32 bits, and floats of 32 bits."""

from __future__ import annotations

import struct
from typing import Any

from numpy.typing import NDArray

from lmc.codecs.sounds import base, pcm
from lmc.codecs.sounds.base import Geometry, Odd, Sound
from lmc.codecs.sounds.pcm import UNKNOWN, Layout

MAGICS = (b".snd",)
WIDTHS = {2: 1, 3: 2, 4: 3, 5: 4, 6: 4}
FLOAT = 6


def geometry(prefix: bytes) -> Geometry:
    return pcm.geometry("AU", _layout(prefix))


def take_apart(data: bytes, most_samples: int) -> Sound:
    """Raises Odd for what is not understood."""
    return pcm.take_apart(data, _layout(data), base.AU, _guess, most_samples)


def rebuild(recipe: bytes, samples: NDArray[Any]) -> bytes:
    """Raises Corrupt on a recipe that no such file has."""
    return pcm.rebuild(recipe, samples, _guess)


def _layout(data: bytes) -> Layout:
    if len(data) < 24:
        raise Odd
    start, size, encoding, rate, channels = struct.unpack(">5I", data[4:24])
    if encoding not in WIDTHS or start < 24:
        raise Odd
    return Layout(channels, WIDTHS[encoding], rate, start, size, True, False, encoding == FLOAT)


def _guess(layout: Layout, length: int, whole: int) -> bytes:
    """A header of 24 bytes, and zeros."""
    encoding = FLOAT if layout.float else layout.width + 1
    fields = (length & UNKNOWN, layout.size & UNKNOWN, encoding, layout.rate, layout.channels)
    return struct.pack(">4s5I", b".snd", *fields)[:length].ljust(length, b"\0")
