"""YUV4MPEG2 files: a line of text, and for each frame a line and its planes.

The format is that of mjpegtools (yuv4mpeg(5)), with the colour spaces of more than 8 bits that
FFmpeg added: those have two bytes a sample, the lowest first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lmc.codecs.clips.base import (
    MOST_SIDE,
    Y4M,
    Geometry,
    Odd,
    Reader,
    Samples,
    Video,
    Writer,
    from_bytes,
    to_bytes,
)
from lmc.errors import Corrupt

MAGIC = b"YUV4MPEG2 "
FRAME = b"FRAME\n"  # the usual line of a frame
MOST_LINE = 1 << 10

# How coarse the planes behind the first one are.
_COARSE = {
    b"420": ((1, 1), (1, 1)),
    b"422": ((1, 0), (1, 0)),
    b"444": ((0, 0), (0, 0)),
    b"411": ((2, 0), (2, 0)),
    b"410": ((2, 2), (2, 2)),
    b"440": ((0, 1), (0, 1)),
    b"mono": (),
}
_SPACE = re.compile(
    rb"(420|422|444|411|410|440|mono)(?:(alpha)|jpeg|mpeg2|paldv|p?(9|10|12|14|16))?"
)


@dataclass(frozen=True, slots=True)
class _Head:
    width: int
    height: int
    coarse: tuple[tuple[int, int], ...]
    bits: int
    rate: str


def _head(line: bytes) -> _Head:
    """What the first line says. Raises Odd."""
    if not line.startswith(MAGIC) or len(line) > MOST_LINE:
        raise Odd
    words: dict[bytes, bytes] = {}
    for word in line[len(MAGIC) :].split(b" "):
        words.setdefault(word[:1], word[1:])
    space = _SPACE.fullmatch(words.get(b"C", b"420jpeg"))
    sides = [words.get(key, b"") for key in (b"W", b"H")]
    if space is None or not all(s.isdigit() and len(s) < 8 for s in sides):
        raise Odd
    width, height = map(int, sides)
    if not (1 <= width <= MOST_SIDE and 1 <= height <= MOST_SIDE):
        raise Odd
    coarse = _COARSE[space[1]] + (((0, 0),) if space[2] else ())
    rate = words.get(b"F", b"").decode("latin-1")
    return _Head(width, height, coarse, int(space[3] or 8), rate)


def take_apart(data: bytes, most_samples: int) -> Video:
    """Raises Odd."""
    end = data.find(b"\n", 0, MOST_LINE)
    if end < 0:
        raise Odd
    head = _head(data[:end])
    wide = head.bits > 8
    geometry = Geometry(head.width, head.height, head.coarse, head.bits)
    size = geometry.frame * (1 + wide)
    lines, frames, at = [], [], end + 1
    while data.startswith(b"FRAME", at):
        stop = data.find(b"\n", at, at + MOST_LINE)
        if stop < 0 or stop + 1 + size > len(data):
            break
        lines.append(data[at : stop + 1])
        frames.append(data[stop + 1 : stop + 1 + size])
        at = stop + 1 + size
    if not frames or len(frames) * geometry.frame > most_samples:
        raise Odd
    out = Writer()
    out.number(end + 1)
    out.raw(data[: end + 1])
    usual = all(line == FRAME for line in lines)
    out.number(0 if usual else 1)
    if not usual:
        for line in lines:
            out.number(len(line))
            out.raw(line)
    out.raw(data[at:])
    samples = from_bytes(b"".join(frames), wide).reshape(len(frames), -1)
    # Bits that the colour space does not have.
    if int(samples.max()) >> head.bits:
        geometry = Geometry(head.width, head.height, head.coarse, 16)
    return Video(samples, geometry, head.rate, Y4M, out.done())


def rebuild(recipe: bytes, samples: Samples, geometry: Geometry) -> bytes:
    """The file. Raises Corrupt."""
    reader = Reader(recipe)
    first = reader.raw(reader.number(MOST_LINE + 1))
    try:
        head = _head(first[:-1])
    except Odd:
        raise Corrupt("the recipe of a video has no first line") from None
    if (head.width, head.height, head.coarse) != (geometry.width, geometry.height, geometry.coarse):
        raise Corrupt("the recipe of a video is for one of another shape")
    lines = [FRAME] * len(samples)
    if reader.number(1):
        lines = [reader.raw(reader.number(MOST_LINE)) for _ in lines]
    out = [first]
    for line, frame in zip(lines, samples, strict=True):
        out += [line, to_bytes(frame, head.bits > 8)]
    return b"".join([*out, reader.rest()])
