"""What the byte models of a primed frame begin from (ARITHMETIC.md, "A start").

start.xz holds the starts of the three profiles one after the other, little-endian 32-bit numbers.
It is part of the format: a released one never changes. models/train/start.py made it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from lmc.kernels._native import start_size

PROFILES = (1, 2, 3)
FILE = Path(__file__).with_name("start.xz")


@cache
def start(profile: int) -> bytes:
    """The start of profile 1, 2 or 3."""
    import lzma

    whole = lzma.decompress(FILE.read_bytes())
    first = 4 * sum(start_size(other) for other in PROFILES if other < profile)
    return whole[first : first + 4 * start_size(profile)]
