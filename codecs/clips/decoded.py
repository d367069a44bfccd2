"""Frames of whatever PyAV decodes, as a Y4M file: all that is kept of a video with `--frames`.

Decoding is for the sender alone, so it may depend on the FFmpeg that is installed; what is coded
are the frames that it gave.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np

from lmc.codecs.clips.base import Geometry
from lmc.errors import Usage

_SAMPLINGS: dict[str, tuple[str, tuple[tuple[int, int], ...]]] = {
    "420p": ("420", ((1, 1), (1, 1))),
    "422p": ("422", ((1, 0), (1, 0))),
    "444p": ("444", ((0, 0), (0, 0))),
    "411p": ("411", ((2, 0), (2, 0))),
    "410p": ("410", ((2, 2), (2, 2))),
    "440p": ("440", ((0, 1), (0, 1))),
}


def to_y4m(data: bytes, most: int) -> bytes | None:
    """The first stream of pictures as a Y4M file of at most so many bytes; None if there is none,
    it does not decode, changes its shape, or has a layout that Y4M lacks. Raises Usage without
    PyAV."""
    try:
        import av
    except ImportError:
        raise Usage("the frames of a video need PyAV", hint="pip install 'lmc[video]'") from None
    out: list[bytes] = []
    size = 0
    try:
        with av.open(io.BytesIO(data)) as file:
            if not file.streams.video:
                return None
            shape = None
            for frame in file.decode(file.streams.video[0]):
                now = (frame.width, frame.height, frame.format.name)
                if shape is None:
                    head = _head(*now, file.streams.video[0].average_rate)
                    if head is None:
                        return None
                    shape, geometry = now, head[1]
                    out.append(head[0])
                if now != shape:
                    return None
                out += [b"FRAME\n", *_planes(frame, geometry)]
                size += geometry.frame * (1 + (geometry.depth > 8))
                if size > most:
                    return None
    except av.FFmpegError:
        return None
    return b"".join(out) if size else None


def _head(width: int, height: int, layout: str, rate: Any) -> tuple[bytes, Geometry] | None:
    """The first line, and the planes."""
    name = layout.removesuffix("le")
    coarse: tuple[tuple[int, int], ...]
    for prefix in ("yuvj", "yuv"):  # yuvj: the same, of full range
        sampling, found, bits = name.removeprefix(prefix).partition("p")
        known = _SAMPLINGS.get(sampling + found)
        if name.startswith(prefix) and known is not None and bits in ("", "9", "10", "12", "14"):
            space, coarse = known
            space = f"{space}p{bits}" if bits else "420jpeg" if space == "420" else space
            break
    else:
        if name != "gray":
            return None
        space, coarse, bits = "mono", (), ""
    words = [f"YUV4MPEG2 W{width} H{height}"]
    if rate:
        words.append(f"F{rate.numerator}:{rate.denominator}")
    words.append(f"C{space}")
    if layout.startswith("yuvj"):
        words.append("XCOLORRANGE=FULL")
    line = " ".join(words).encode() + b"\n"
    return line, Geometry(width, height, coarse, int(bits or 8))


def _planes(frame: Any, geometry: Geometry) -> Iterator[bytes]:
    kind = np.dtype("<u2" if geometry.depth > 8 else np.uint8)
    for plane, (width, height, *_) in zip(frame.planes, geometry.planes, strict=False):
        rows = np.frombuffer(memoryview(plane), kind).reshape(-1, plane.line_size // kind.itemsize)
        yield rows[:height, :width].tobytes()
