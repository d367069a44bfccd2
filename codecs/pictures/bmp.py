"""BMP of Windows: uncompressed, 1, 4, 8, 24 or 32 bits a pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmc.codecs.pictures import base
from lmc.codecs.pictures.base import Geometry, Odd, Picture, Reader, Samples, Writer
from lmc.errors import Corrupt

BITS = {1: 1, 4: 1, 8: 1, 24: 3, 32: 4}  # of a pixel: the channels


class Header:
    """The file header and the info header. Raises Odd for what is not understood."""

    def __init__(self, data: bytes) -> None:
        def number(at: int, size: int, signed: bool = False) -> int:
            return int.from_bytes(data[at : at + size], "little", signed=signed)

        if len(data) < 54 or data[:2] != b"BM" or number(14, 4) not in (40, 52, 56, 64, 108, 124):
            raise Odd
        self.pixels = number(10, 4)  # where they begin
        self.width, self.height = number(18, 4, True), number(22, 4, True)
        self.bits, compression = number(28, 2), number(30, 4)
        self.top_down = self.height < 0
        self.height = abs(self.height)
        # Compression 3 only names the masks of the channels, whose order does not matter here.
        if self.bits not in BITS or (compression != 0 and (compression != 3 or self.bits != 32)):
            raise Odd
        if self.width <= 0 or self.height == 0:
            raise Odd
        self.channels = BITS[self.bits]
        self.depth = min(8, self.bits)
        colours = number(46, 4) or 1 << self.depth
        self.table = 14 + number(14, 4)  # where the palette begins
        self.colours = min(colours, 1 << self.depth) if self.bits <= 8 else 0
        self.row = (self.width * self.bits + 31) // 32 * 4
        self.used = (self.width * self.bits + 7) // 8


def geometry(prefix: bytes) -> Geometry:
    header = Header(prefix)
    return Geometry(header.width, header.height, header.channels, header.depth)


def take_apart(data: bytes, most_pixels: int) -> Picture:
    """Raises Odd for what is not understood."""
    header = Header(data)
    end = header.pixels + header.height * header.row
    start = header.table + 4 * header.colours
    if header.width * header.height > most_pixels or not start <= header.pixels <= end <= len(data):
        raise Odd
    if header.pixels > 1 << 16:
        raise Odd
    rows = np.frombuffer(data[header.pixels : end], np.uint8).reshape(header.height, header.row)
    samples = _samples(rows, header)
    stray = rows ^ _rows(samples, header)
    out = Writer()
    out.blob(data[: header.pixels])
    if stray.any():
        # Bits behind the last sample of a row: as bytes from the last one with samples in it.
        out.number(1)
        out.raw(stray[:, header.used - 1 :].tobytes())
    else:
        out.number(0)
    out.raw(data[end:])
    palette = None
    if header.colours:
        table = np.frombuffer(data[header.table : start], np.uint8).reshape(-1, 4)
        palette = table[:, 2::-1].copy()
    kind = "palette" if header.colours else {3: "rgb", 4: "rgba"}[header.channels]
    return Picture(samples, header.depth, kind, palette, base.BMP, out.done())


def rebuild(recipe: bytes, samples: NDArray[Any]) -> bytes:
    """Raises Corrupt on a recipe that no BMP has."""
    source = Reader(recipe)
    head = source.blob()
    try:
        header = Header(head)
    except Odd:
        raise Corrupt("the recipe of a BMP has no valid header") from None
    base.check(samples, header.height, header.width, header.channels, header.depth)
    rows = _rows(samples, header)
    if source.number(1):
        width = header.row - header.used + 1
        stray = np.frombuffer(source.raw(header.height * width), np.uint8)
        rows[:, header.used - 1 :] ^= stray.reshape(-1, width)
    return head + rows.tobytes() + source.rest()


def _samples(rows: NDArray[np.uint8], header: Header) -> Samples:
    """Blue, green, red from below become red, green, blue from above; a fourth byte stays last."""
    samples = base.unpack(rows[:, : header.used], header.width, header.channels, header.depth)
    return np.ascontiguousarray(_turned(samples, header))


def _rows(samples: NDArray[Any], header: Header) -> NDArray[np.uint8]:
    rows = base.pack(_turned(samples, header), header.depth)
    return np.pad(rows, ((0, 0), (0, header.row - header.used)))


def _turned(samples: NDArray[Any], header: Header) -> NDArray[Any]:
    """Its own inverse."""
    if not header.top_down:
        samples = samples[::-1]
    return samples[:, :, [2, 1, 0, 3][: header.channels]] if header.channels > 1 else samples
