"""Netpbm: PBM, PGM and PPM in binary (P4, P5, P6), and PAM (P7)."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmc.codecs.pictures import base
from lmc.codecs.pictures.base import Geometry, Odd, Picture, Reader, Writer
from lmc.errors import Corrupt

MAGICS = (b"P4", b"P5", b"P6", b"P7")
KINDS = {1: "grey", 2: "grey+alpha", 3: "rgb", 4: "rgba"}
_GAP = rb"(?:\s|#[^\n\r]*[\n\r])+"
_PLAIN = re.compile(
    rb"(P4)" + _GAP + rb"(\d{1,9})" + _GAP + rb"(\d{1,9})\s"
    rb"|(P[56])" + _GAP + rb"(\d{1,9})" + _GAP + rb"(\d{1,9})" + _GAP + rb"(\d{1,5})\s"
)
_MOST_HEADER = 4096


class Header:
    """What a header says. Raises Odd for one that is not understood."""

    def __init__(self, data: bytes) -> None:
        if data.startswith(b"P7\n"):
            self._read_pam(data)
        else:
            found = _PLAIN.match(data)
            if found is None:
                raise Odd
            magic = found[1] or found[4]
            numbers = [int(n) for n in (found.groups()[4:] if found[4] else found.groups()[1:3])]
            self.width, self.height = numbers[:2]
            most = numbers[2] if found[4] else 1
            self.channels = 3 if magic == b"P6" else 1
            self.packed = magic == b"P4"
            self._set(most, found.end())

    def _read_pam(self, data: bytes) -> None:
        fields: dict[bytes, bytes] = {}
        at = 3
        while not data.startswith(b"ENDHDR\n", at):
            end = data.find(b"\n", at)
            if end < 0:
                raise Odd
            name, _, value = data[at:end].partition(b" ")
            fields[name] = value.strip()
            at = end + 1
        try:
            self.width, self.height, self.channels, most = (
                int(fields[name]) if fields[name].isdigit() else 0
                for name in (b"WIDTH", b"HEIGHT", b"DEPTH", b"MAXVAL")
            )
        except KeyError:
            raise Odd from None
        self.packed = False
        self._set(most, at + len(b"ENDHDR\n"))

    def _set(self, most: int, size: int) -> None:
        self.size = size  # of the header
        if not 0 < most < 1 << 16 or not 1 <= self.channels <= 4 or not self.width * self.height:
            raise Odd
        self.depth = most.bit_length()
        self.bytes = 2 if most > 255 else 1  # of a sample, where they are not packed

    @property
    def row(self) -> int:
        """Bytes of a row."""
        if self.packed:
            return base.row_bytes(self.width, 1, 1)
        return self.width * self.channels * self.bytes


def geometry(prefix: bytes) -> Geometry:
    header = Header(prefix)
    return Geometry(header.width, header.height, header.channels, header.depth)


def take_apart(data: bytes, most_pixels: int) -> Picture:
    """Raises Odd for what is not understood."""
    header = Header(data[:_MOST_HEADER])
    end = header.size + header.height * header.row
    if header.width * header.height > most_pixels or end > len(data):
        raise Odd
    rows = np.frombuffer(data[header.size : end], np.uint8).reshape(header.height, header.row)
    samples = base.unpack(
        rows, header.width, header.channels, 1 if header.packed else 8 * header.bytes
    )
    if int(samples.max()) >> header.depth:
        raise Odd  # more than the largest value that the header names
    out = Writer()
    out.blob(data[: header.size])
    if header.packed:
        base.write_padding(out, rows, base.pack(samples, 1))
    out.raw(data[end:])
    return Picture(samples, header.depth, KINDS[header.channels], None, base.PNM, out.done())


def rebuild(recipe: bytes, samples: NDArray[Any]) -> bytes:
    """Raises Corrupt on a recipe that no such file has."""
    source = Reader(recipe)
    head = source.blob()
    try:
        header = Header(head)
    except Odd:
        raise Corrupt("the recipe of a PNM has no valid header") from None
    base.check(samples, header.height, header.width, header.channels, header.depth)
    rows = base.pack(samples, 1 if header.packed else 8 * header.bytes)
    if header.packed:
        rows = base.read_padding(source, rows)
    return head + rows.tobytes() + source.rest()
