"""Files with a stream of a lossless video codec: FFV1, Ut Video, HuffYUV in Matroska, AVI, MOV.

While compressing, PyAV finds the packets in the file; what lies between them is kept as it is.
Decompression makes the packets again from their frames and puts them back where they were, and
needs neither PyAV nor any knowledge of containers.
"""

from __future__ import annotations

import io
import re
from importlib import import_module
from typing import Protocol, cast

import numpy as np

from lmc.codecs.clips.base import (
    FFV1,
    HUFFYUV,
    UT_VIDEO,
    Geometry,
    Odd,
    Reader,
    Samples,
    Video,
    Writer,
)
from lmc.codecs.clips.packets import Frame, Taken, cut
from lmc.codecs.clips.raw import layout_name, state
from lmc.errors import Corrupt, Usage

# How a file of one of the codecs names it, at its beginning or, in MOV, near its end. A file of any
# other codec is told by that alone, before PyAV is imported.
_CODES = re.compile(rb"FFV1|UL(?:RG|RA|[YH][024])|HFYU|FFVH")
_NEAR = 1 << 20
_MODULES = {FFV1: "ffv1", UT_VIDEO: "utvideo", HUFFYUV: "huffyuv"}
FORMATS = tuple(_MODULES)
# FFmpeg's names of codecs.
_NUMBERS = {"ffv1": FFV1, "utvideo": UT_VIDEO, "huffyuv": HUFFYUV, "ffvhuff": HUFFYUV}
# Bytes that making packets again takes beside frames and packets.
MEMORY = {FFV1: 1 << 27}


class Stream(Protocol):
    """What the module of a stream codec offers. `give` raises Corrupt."""

    def take(
        self, packets: list[bytes], extradata: bytes, width: int, height: int, most_samples: int, /
    ) -> Taken | None: ...
    def give(
        self,
        frames: list[Frame],
        format: str,
        width: int,
        height: int,
        extradata: bytes,
        side: bytes,
        /,
    ) -> list[bytes]: ...


def take_apart(data: bytes, most_samples: int) -> Video:
    """Raises Odd."""
    if not (_CODES.search(data, 0, _NEAR) or _CODES.search(data, max(0, len(data) - _NEAR))):
        raise Odd
    format, extradata, width, height, rate, packets = _demuxed(data)
    taken = _module(format).take(packets, extradata, width, height, most_samples)
    if taken is None:
        raise Odd
    try:
        geometry = state(f"{width}x{height}:{taken.format}").geometry
    except Usage:
        raise Odd from None
    samples = np.empty((len(taken.frames), geometry.frame), np.uint16)
    for row, frame in zip(samples, taken.frames, strict=True):
        np.concatenate([plane.ravel() for plane in frame], out=row)
    out, rest, at = Writer(), Writer(), 0
    out.number(int(_is_rgb(taken.format)))
    out.blob(extradata)
    out.blob(taken.side)
    for packet in packets:
        place = data.find(packet, at)
        if place < 0:
            raise Odd
        out.number(place - at)
        rest.raw(data[at:place])
        at = place + len(packet)
    rest.raw(data[at:])
    out.raw(rest.done())
    recipe = out.done()
    if len(recipe) > len(data):
        raise Odd
    return Video(samples, geometry, rate, format, recipe)


def rebuild(format: int, recipe: bytes, samples: Samples, geometry: Geometry) -> bytes:
    """The file. Raises Corrupt."""
    reader = Reader(recipe)
    colours = bool(reader.number(1))
    extradata, side = reader.blob(), reader.blob()
    layout = layout_name(geometry.depth, geometry.coarse, colours)
    if layout is None:
        raise Corrupt("the recipe of a video is for one of another shape")
    gaps = [reader.number(len(recipe)) for _ in samples]
    planes = [(w, h) for w, h, *_ in geometry.planes]
    frames = [cut(frame, planes) for frame in samples]
    size = geometry.width, geometry.height
    packets = _module(format).give(frames, layout, *size, extradata, side)
    out = []
    for gap, packet in zip(gaps, packets, strict=True):
        out += [reader.raw(gap), packet]
    return b"".join([*out, reader.rest()])


def _demuxed(data: bytes) -> tuple[int, bytes, int, int, str, list[bytes]]:
    """Number of the codec, extradata, width, height, rate and packets of the file's only video.
    Raises Odd."""
    try:
        import av
    except ImportError:
        raise Odd from None
    try:
        with av.open(io.BytesIO(data)) as file:
            if len(file.streams.video) != 1:
                raise Odd
            stream = file.streams.video[0]
            context = stream.codec_context
            if context.name not in _NUMBERS:
                raise Odd
            packets = [bytes(packet) for packet in file.demux(stream) if packet.size]
            if not packets:
                raise Odd
            extradata = bytes(context.extradata or b"")
            format, rate = _NUMBERS[context.name], str(stream.average_rate or "")
            return format, extradata, context.width, context.height, rate, packets
    except (av.FFmpegError, ValueError):
        raise Odd from None


def _module(format: int) -> Stream:
    return cast(Stream, import_module(f"lmc.codecs.clips.{_MODULES[format]}"))


def _is_rgb(layout: str) -> bool:
    return layout.startswith("gbr")
