"""Ut Video of 8 bits: packets that kernels/src/utvideo.hpp takes apart.

FORMAT.md, "Streams of Ut Video and HuffYUV", says what `side` is.
"""

from __future__ import annotations

import numpy as np

from lmc.codecs.clips import packets as base
from lmc.codecs.clips.packets import Frame, Taken
from lmc.errors import Corrupt
from lmc.kernels import _native

INTERLACED, HUFFMAN = 0x800, 1  # flags of a stream

# The layout that packets have by what the extradata say the sender had: it is told nowhere else but
# in the container. Where it is none of these, each is tried.
_ORIGINAL = {
    b"YV12": "yuv420p",
    b"YUY2": "yuv422p",
    b"UYVY": "yuv422p",
    b"YV16": "yuv422p",
    b"YV24": "yuv444p",
    b"\0\0\1\x18": "gbrp",
    b"\0\0\2\x18": "gbrap",
}

Planes = list[tuple[int, int, bool]]


def take(
    packets: list[bytes],
    extradata: bytes,
    width: int,
    height: int,
    most_samples: int = base.MOST_SAMPLES,
) -> Taken | None:
    """None for a stream that cannot be written again, or has more samples than that."""
    flags = _flags(extradata)
    if flags is None or not packets:
        return None
    formats = list(dict.fromkeys(_ORIGINAL.values()))
    original = _ORIGINAL.get(extradata[4:8])
    if original is not None:
        formats.remove(original)
        formats.insert(0, original)
    for format in formats:
        sides = base.sides(format, width, height)
        planes = _planes(format, sides, flags)
        if sides is None or planes is None:
            continue
        if len(packets) * sum(w * h for w, h in sides) > most_samples:
            continue
        if _native.utvideo_read(packets[0], planes, _slices(flags)) is not None:
            return _take(packets, format, sides, planes, _slices(flags))
    return None


def _take(
    packets: list[bytes], format: str, sides: list[tuple[int, int]], planes: Planes, slices: int
) -> Taken | None:
    frames: list[Frame] = []
    records: list[bytes] = []
    for packet in packets:
        found = _native.utvideo_read(packet, planes, slices)
        if found is None:
            return None
        samples, record = found
        frame = base.cut(samples, sides)
        _turn(frame, format, 128)
        frames.append(frame)
        records.append(record)
    # Most writers do the same in each packet: said once.
    same = len(set(records)) == 1
    return Taken(format, frames, b"\1" + records[0] if same else b"\0" + b"".join(records))


def give(
    frames: list[Frame], format: str, width: int, height: int, extradata: bytes, side: bytes
) -> list[bytes]:
    """The packets. Raises Corrupt."""
    flags, sides = _flags(extradata), base.sides(format, width, height)
    planes = None if flags is None else _planes(format, sides, flags)
    if flags is None or sides is None or planes is None or side[:1] not in (b"\0", b"\1"):
        raise Corrupt("the description of a Ut Video stream leads nowhere")
    slices = _slices(flags)
    out, at, same = [], 1, side[0] == 1
    for frame in frames:
        samples = base.joined(frame, sides, 8, np.uint8)
        _turn(base.cut(samples, sides), format, -128)
        try:
            packet, end = _native.utvideo_write(samples, planes, slices, side, 1 if same else at)
        except _native.Damaged as error:
            raise Corrupt(str(error)) from None
        at = end
        out.append(packet)
    if at != len(side):
        raise Corrupt("the description of a Ut Video stream is too long")
    return out


def _flags(extradata: bytes) -> int | None:
    """What the extradata say of all packets; None for what is not understood."""
    if len(extradata) < 16 or extradata[8:12] != b"\4\0\0\0":
        return None
    flags = int.from_bytes(extradata[12:16], "little")
    return flags if flags & HUFFMAN else None


def _slices(flags: int) -> int:
    """Of each plane."""
    return (flags >> 24) + 1


def _planes(format: str, sides: list[tuple[int, int]] | None, flags: int) -> Planes | None:
    """Columns and rows that each plane is coded in, and whether its slices end at even rows."""
    if sides is None or format not in _ORIGINAL.values():
        return None
    even = [format == "yuv420p", False, False, False]
    if flags & INTERLACED:  # two rows are coded as one
        if any(h % (4 if e else 2) for (_, h), e in zip(sides, even, strict=False)):
            return None
        sides = [(2 * w, h // 2) for w, h in sides]
    return [(w, h, e) for (w, h), e in zip(sides, even, strict=False)]


def _turn(frame: Frame, format: str, centre: int) -> None:
    """Blue and red are coded as differences to green, around 128: makes them colours, in place, or
    with -128 the differences again."""
    if format in ("gbrp", "gbrap"):
        green = frame[0] + np.uint8(128)
        for plane in frame[1:3]:
            if centre > 0:
                plane += green
            else:
                plane -= green
