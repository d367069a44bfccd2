"""AIFF (Apple 1989) and AIFF-C (Apple 1991) with samples that are not compressed."""

from __future__ import annotations

import struct
from typing import Any

from numpy.typing import NDArray

from lmc.codecs.sounds import base, pcm
from lmc.codecs.sounds.base import Geometry, Odd, Sound
from lmc.codecs.sounds.pcm import Layout

MAGICS = (b"FORM",)
KINDS = {b"NONE": ">", b"twos": ">", b"sowt": "<", b"fl32": "f", b"FL32": "f"}
MOST_CHUNKS = 1000  # before the samples


def geometry(prefix: bytes) -> Geometry:
    return pcm.geometry("AIFF", _layout(prefix))


def take_apart(data: bytes, most_samples: int) -> Sound:
    """Raises Odd for what is not understood."""
    return pcm.take_apart(data, _layout(data), base.AIFF, _guess, most_samples)


def rebuild(recipe: bytes, samples: NDArray[Any]) -> bytes:
    """Raises Corrupt on a recipe that no such file has."""
    return pcm.rebuild(recipe, samples, _guess)


def _layout(data: bytes) -> Layout:
    kind = data[8:12]
    if kind not in (b"AIFF", b"AIFC"):
        raise Odd
    at, common = 12, b""
    for _ in range(MOST_CHUNKS):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "big")
        at += 8
        if at > len(data):
            raise Odd
        if name == b"COMM":
            common = data[at : at + min(size, 22)]
        elif name == b"SSND":
            break
        at += size + size % 2
    else:
        raise Odd
    if len(common) < (22 if kind == b"AIFC" else 18) or size < 8:
        raise Odd
    channels, _, bits = struct.unpack(">HIH", common[:8])
    order = KINDS.get(common[18:22]) if kind == b"AIFC" else ">"
    start = 8 + int.from_bytes(data[at : at + 4], "big")
    if order is None or not 1 <= bits <= 32 or size < start or at + start > len(data):
        raise Odd
    rate = _whole(common[8:18])
    return Layout(
        channels, (bits + 7) // 8, rate, at + start, size - start, order != "<", False, order == "f"
    )


def _whole(extended: bytes) -> int:
    """An 80-bit float as an integer; 0 if it is none that a rate can be."""
    exponent = int.from_bytes(extended[:2], "big") - 16383
    mantissa = int.from_bytes(extended[2:], "big")
    return mantissa >> (63 - exponent) if 0 <= exponent < 32 else 0


def _extended(value: int) -> bytes:
    if value == 0:
        return bytes(10)
    exponent = value.bit_length() - 1
    return struct.pack(">HQ", 16383 + exponent, value << (63 - exponent))


def _guess(layout: Layout, length: int, whole: int) -> bytes:
    """A header of 54 bytes; a longer one has zeros before the chunk of samples."""
    head = struct.pack(
        ">4sI4s4sIHIH10s",
        b"FORM",
        (whole - 8) & 0xFFFFFFFF,
        b"AIFF",
        b"COMM",
        18,
        layout.channels,
        layout.size // layout.frame & 0xFFFFFFFF,
        8 * layout.width,
        _extended(layout.rate),
    )
    end = struct.pack(">4sIII", b"SSND", (layout.size + 8) & 0xFFFFFFFF, 0, 0)
    return (head.ljust(length - len(end), b"\0") + end)[:length].ljust(length, b"\0")
