"""HuffYUV 2, and FFmpeg's variants of it: packets that kernels/src/huffyuv.hpp takes apart.

FORMAT.md, "Streams of Ut Video and HuffYUV", says what `side` is. Layouts of packed colours and
those with alpha are not taken.
"""

from __future__ import annotations

import numpy as np

from lmc.codecs.clips import packets as base
from lmc.codecs.clips.packets import Frame, Taken
from lmc.errors import Corrupt
from lmc.kernels import _native

_MIXED = {12: "yuv420p", 16: "yuv422p"}  # version 2: bits of a pixel
_YUV = {base.COARSE[f"yuv{n}p"][0]: f"yuv{n}p" for n in (420, 422, 444, 411, 410, 440)}

INTERLACED, PROGRESSIVE, OWN_TABLES = 0x10, 0x20, 0x40
COLOURS, YUV, ALPHA = 3, 1, 4
MOST_ROWS = 288  # of progressive pictures, where the extradata do not say


def take(
    packets: list[bytes],
    extradata: bytes,
    width: int,
    height: int,
    most_samples: int = base.MOST_SAMPLES,
) -> Taken | None:
    """None for a stream that cannot be written again, or has more samples than that."""
    format = _format(extradata)
    planes = base.sides(format, width, height)
    if not packets or planes is None or len(packets) * sum(w * h for w, h in planes) > most_samples:
        return None
    try:
        stream = _stream(extradata, format, planes)
    except Corrupt:
        return None
    frames: list[Frame] = []
    sides: list[bytes] = []
    for packet in packets:
        found = stream.read(packet)
        if found is None:
            return None
        samples, side = found
        frames.append(base.cut(samples if _bits(format) > 8 else samples.astype(np.uint8), planes))
        sides.append(side)
    usual = all(side in (b"", b"\0") for side in sides)
    return Taken(format, frames, b"\1" if usual else b"\0" + b"".join(sides))


def give(
    frames: list[Frame], format: str, width: int, height: int, extradata: bytes, side: bytes
) -> list[bytes]:
    """The packets. Raises Corrupt."""
    planes = base.sides(format, width, height)
    if format != _format(extradata) or planes is None or side[:1] not in (b"\0", b"\1"):
        raise Corrupt("the description of a HuffYUV stream leads nowhere")
    stream = _stream(extradata, format, planes)
    out, at = [], 1
    for frame in frames:
        samples = base.joined(frame, planes, _bits(format), np.uint16)
        try:
            packet, at = stream.write(samples, side[0] == 1, side, at)
        except _native.Damaged as error:
            raise Corrupt(str(error)) from None
        out.append(packet)
    if at != len(side):
        raise Corrupt("the description of a HuffYUV stream is too long")
    return out


def _bits(format: str) -> int:
    known = base.parse(format)
    return known[1] if known else 0


def _format(extradata: bytes) -> str:
    """The layout; "" for one that is not understood."""
    if len(extradata) < 4:
        return ""
    if extradata[3] == 0:  # version 2
        return _MIXED.get(extradata[1], "")
    bits = (extradata[1] >> 4) + 1
    coarse = (extradata[1] & 3, extradata[1] >> 2 & 3)
    if bits < 8 or extradata[2] & ALPHA:
        return ""
    if not extradata[2] & COLOURS:
        name = "gray"
    elif extradata[2] & YUV:
        name = _YUV.get(coarse, "")
    else:
        name = "gbrp" if coarse == (0, 0) else ""
    return name if not name or bits == 8 else f"{name}{bits}le"


def _stream(extradata: bytes, format: str, planes: list[tuple[int, int]]) -> _native.HuffyuvStream:
    """Raises Corrupt. The layout is that of the extradata."""
    field = extradata[2] & (INTERLACED | PROGRESSIVE)
    prediction = extradata[0] & 63
    if prediction > 2 or field == INTERLACED | PROGRESSIVE:
        raise Corrupt("the header of a HuffYUV stream is not understood")
    interlaced = field == INTERLACED or (field == 0 and planes[0][1] > MOST_ROWS)
    own = bool(extradata[2] & OWN_TABLES)
    mixed = extradata[3] == 0
    try:
        return _native.HuffyuvStream(
            planes, _bits(format), prediction, mixed, interlaced, own, extradata[4:]
        )
    except (_native.Damaged, ValueError) as error:
        raise Corrupt(str(error)) from None
