"""TIFF 6.0 with strips of chunky samples, uncompressed or deflated, with or without predictor 2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from lmc.codecs.pictures import base, zlib_stream
from lmc.codecs.pictures.base import Geometry, Odd, Picture, Reader, Samples, Writer
from lmc.errors import Corrupt

MAGICS = (b"II*\0", b"MM\0*")
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 256, 257, 258, 259, 262, 266
OFFSETS, CHANNELS, ROWS, COUNTS, PLANAR, PREDICTOR = 273, 277, 278, 279, 284, 317
COLOURS, SAMPLE_FORMAT = 320, 339
SIZES = {1: 1, 3: 2, 4: 4}  # of values: BYTE, SHORT and LONG
MOST_ENTRIES = 1024
PALETTE = 3
KINDS = {(0, 1): "grey", (1, 1): "grey", (0, 2): "grey+alpha", (1, 2): "grey+alpha"}
KINDS |= {(2, 3): "rgb", (2, 4): "rgba", (PALETTE, 1): "palette"}


@dataclass(frozen=True, slots=True)
class Layout:
    """How samples lie in strips. Raises Corrupt where that is out of range."""

    width: int
    height: int
    channels: int
    depth: int
    rows: int  # of a strip
    big: bool  # big-endian samples of 16 bits
    deflated: bool
    predicted: bool

    def __post_init__(self) -> None:
        fine = (
            min(self.width, self.height, self.rows) > 0
            and 1 <= self.channels <= 4
            and self.depth in (1, 2, 4, 8, 16)
            and (self.depth >= 8 or (self.channels == 1 and not self.predicted))
        )
        if not fine:
            raise Corrupt("the layout of a TIFF is out of range")

    @property
    def row(self) -> int:
        return base.row_bytes(self.width, self.channels, self.depth)

    def strips(self) -> list[int]:
        """Rows of each strip."""
        return [min(self.rows, self.height - y) for y in range(0, self.height, self.rows)]

    def samples(self, content: NDArray[np.uint8]) -> Samples:
        rows = content.reshape(-1, self.row)
        if self.depth == 16 and not self.big:
            rows = rows.reshape(len(rows), -1, 2)[:, :, ::-1].reshape(len(rows), -1)
        samples: Samples = base.unpack(rows, self.width, self.channels, self.depth)
        if self.predicted:
            samples = cast(Samples, np.cumsum(samples, axis=1, dtype=samples.dtype))
        return samples

    def content(self, samples: NDArray[Any]) -> NDArray[np.uint8]:
        """The inverse of `samples`: rows of bytes."""
        if self.predicted:
            samples = np.diff(samples, axis=1, prepend=samples.dtype.type(0))
        rows = base.pack(samples, self.depth)
        if self.depth == 16 and not self.big:
            rows = rows.reshape(len(rows), -1, 2)[:, :, ::-1].reshape(len(rows), -1)
        return np.ascontiguousarray(rows)


class Directory:
    """The first image file directory: values by tag. Raises Odd where it leads nowhere."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.big = data[:2] == b"MM"
        at = self.number(4, 4)
        count = self.number(at, 2)
        if count > MOST_ENTRIES:
            raise Odd
        self._entries: dict[int, tuple[int, int, int]] = {}
        for i in range(count):
            entry = at + 2 + 12 * i
            tag, type_, n = (
                self.number(entry, 2),
                self.number(entry + 2, 2),
                self.number(entry + 4, 4),
            )
            size = SIZES.get(type_, 0)
            self._entries[tag] = size, n, entry + 8 if size * n <= 4 else self.number(entry + 8, 4)

    def number(self, at: int, size: int) -> int:
        part = self._data[at : at + size]
        if len(part) != size:
            raise Odd
        return int.from_bytes(part, "big" if self.big else "little")

    def values(self, tag: int) -> NDArray[np.int64]:
        size, n, at = self._entries.get(tag, (0, 0, 0))
        if size == 0 or at + size * n > len(self._data):
            raise Odd
        kind = f"{'>' if self.big else '<'}u{size}"
        return np.frombuffer(self._data, kind, n, at).astype(np.int64)

    def value(self, tag: int, default: int | None = None) -> int:
        if tag not in self._entries and default is not None:
            return default
        values = set(self.values(tag).tolist())
        if len(values) != 1:  # as those of BITS are equal in what is understood
            raise Odd
        return int(values.pop())


def _layout(directory: Directory) -> Layout:
    compression, predictor = directory.value(COMPRESSION, 1), directory.value(PREDICTOR, 1)
    if compression not in (1, 8, 32946) or predictor not in (1, 2):
        raise Odd
    if directory.value(FILL_ORDER, 1) != 1 or directory.value(SAMPLE_FORMAT, 1) not in (1, 2):
        raise Odd
    channels, height = directory.value(CHANNELS, 1), directory.value(HEIGHT)
    if channels > 1 and directory.value(PLANAR, 1) != 1:
        raise Odd
    try:
        return Layout(
            width=directory.value(WIDTH),
            height=height,
            channels=channels,
            depth=directory.value(BITS, 1),
            rows=min(height, directory.value(ROWS, height)),
            big=directory.big,
            deflated=compression != 1,
            predicted=predictor == 2 and compression != 1,
        )
    except Corrupt:
        raise Odd from None


def geometry(prefix: bytes) -> Geometry:
    """Odd, too, where the directory lies behind the prefix."""
    layout = _layout(Directory(prefix))
    return Geometry(layout.width, layout.height, layout.channels, layout.depth)


def take_apart(data: bytes, most_pixels: int) -> Picture:
    """Raises Odd for what is not understood."""
    directory = Directory(data)
    layout = _layout(directory)
    if layout.width * layout.height > most_pixels or layout.height * layout.row > 1040 * len(data):
        raise Odd
    strips = layout.strips()
    offsets, counts = directory.values(OFFSETS).tolist(), directory.values(COUNTS).tolist()
    if len(offsets) != len(strips) or len(counts) != len(strips):
        raise Odd

    out = Writer()
    for number in (layout.width, layout.height, layout.channels, layout.depth, layout.rows):
        out.number(number)
    out.number(layout.big | layout.deflated << 1 | layout.predicted << 2)
    gaps, recipes, rest, content = [], [], [], []
    at = 0
    for offset, count, rows in zip(offsets, counts, strips, strict=True):
        if offset < at or offset + count > len(data):
            raise Odd
        gaps.append(offset - at)
        rest.append(data[at:offset])
        at = offset + count
        strip, size = data[offset:at], rows * layout.row
        if layout.deflated:
            strip, recipe = zlib_stream.take_apart(strip, size)
            recipes.append(recipe)
        elif count != size:
            raise Odd
        content.append(strip)
    rest.append(data[at:])
    for gap in gaps:
        out.number(gap)
    for recipe in recipes:
        out.blob(recipe)
    out.raw(b"".join(rest))
    samples = layout.samples(np.frombuffer(b"".join(content), np.uint8))
    kind = KINDS.get((directory.value(PHOTOMETRIC), layout.channels), "other")
    palette = _palette(directory, layout.depth) if kind == "palette" else None
    return Picture(samples, layout.depth, kind, palette, base.TIFF, out.done())


def rebuild(recipe: bytes, samples: NDArray[Any]) -> bytes:
    """Raises Corrupt on a recipe that no TIFF has."""
    source = Reader(recipe)
    width, height, channels, depth, rows = (source.number() for _ in range(5))
    flags = source.number(7)
    layout = Layout(
        width, height, channels, depth, rows, bool(flags & 1), bool(flags & 2), bool(flags & 4)
    )
    base.check(samples, height, width, channels, depth)
    content = layout.content(samples)
    strips = layout.strips()
    gaps = [source.number() for _ in strips]
    recipes = [source.blob() for _ in strips] if layout.deflated else []
    parts, y = [], 0
    for i, count in enumerate(strips):
        strip = content[y : y + count].tobytes()
        y += count
        parts.append(zlib_stream.rebuild(recipes[i], strip) if layout.deflated else strip)
    out = []
    for gap, part in zip(gaps, parts, strict=True):
        out += [source.raw(gap), part]
    return b"".join([*out, source.rest()])


def _palette(directory: Directory, depth: int) -> NDArray[np.uint8]:
    """(n, 3) of 8 bits, of the 16 that the file has."""
    colours = directory.values(COLOURS)
    if depth > 8 or len(colours) != 3 << depth:
        raise Odd
    return np.ascontiguousarray((colours.reshape(3, -1).T >> 8).astype(np.uint8))
