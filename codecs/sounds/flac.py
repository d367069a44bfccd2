"""Native FLAC (RFC 9639): metadata, and frames that kernels/src/flac.hpp takes apart."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmc.codecs.sounds import base, usual_heads
from lmc.codecs.sounds.base import Geometry, Odd, Reader, Samples, Sound, Writer
from lmc.errors import Corrupt
from lmc.kernels import _native

MAGICS = (b"fLaC", b"ID3")
STREAMINFO, SEEKTABLE = 0, 3
MOST_BLOCKS = 1000  # of metadata
PLACEHOLDER = (1 << 64) - 1  # a seek point that is none
SECONDS = 10  # between the seek points of the program `flac`


class Info:
    """The fields of a block STREAMINFO. Raises Odd where they are out of range."""

    def __init__(self, data: bytes) -> None:
        if len(data) != 34:
            raise Odd
        fields = int.from_bytes(data[10:18], "big")
        self.rate = fields >> 44
        self.channels = (fields >> 41 & 7) + 1
        self.bits = (fields >> 36 & 31) + 1
        self.samples = fields & ((1 << 36) - 1)
        if self.bits < 4:
            raise Odd


def geometry(prefix: bytes) -> Geometry:
    at = _start(prefix)
    info = Info(prefix[at + 8 : at + 42])
    return Geometry("FLAC", "integer", info.channels, info.rate, info.bits, info.samples)


def take_apart(data: bytes, most_samples: int) -> Sound:
    """Raises Odd for what is not understood."""
    start = _start(data)
    blocks = list(_blocks(data, start))
    info = Info(data[blocks[0][1] : blocks[0][2]])
    at = blocks[-1][2]
    found = _native.flac_read(data, at, info.channels, info.bits, most_samples)
    if found is None:
        raise Odd
    samples, how, size, sizes, counts = found
    tail = data[at + size :]
    if len(tail) > size:
        raise Odd  # what is worth most lies behind something that is not understood
    shift = base.narrow(samples)
    out = Writer()
    out.raw(bytes([info.bits, shift, info.channels]))
    out.number(info.rate)
    out.number(start)
    out.number(at)
    out.number(len(tail))
    guess = Guess(samples, info.bits, info.rate, sizes, counts)
    usual, head = usual_heads.nearest(_veil(data[:at], start, guess, True), start, guess.points)
    out.number(usual)
    out.raw(head)
    out.raw(tail)
    out.raw(how)
    narrow = np.ascontiguousarray(samples >> np.int32(shift))
    return Sound(narrow, info.bits - shift, "integer", info.rate, base.FLAC, out.done())


def rebuild(recipe: bytes, samples: NDArray[Any]) -> bytes:
    """Raises Corrupt on a recipe that no such file has."""
    source = Reader(recipe)
    bits, shift, channels = source.raw(3)
    rate, start = source.number((1 << 20) - 1), source.number()
    head_size, tail_size = source.number(), source.number()
    usual = source.number(usual_heads.COUNT)
    head, tail, how = source.raw(head_size), source.raw(tail_size), source.rest()
    if not 4 <= bits <= 32 or not 1 <= channels <= 8:
        raise Corrupt("the recipe of a FLAC file is for samples that none has")
    base.check(samples, channels)
    wide = np.ascontiguousarray(base.widen(samples, shift, bits))
    frames, sizes, counts = _native.flac_write(how, wide, bits)
    guess = Guess(wide, bits, rate, sizes, counts)
    try:
        front = _veil(usual_heads.differ(head, start, usual, guess.points), start, guess, False)
    except Odd:
        raise Corrupt("the recipe of a FLAC file has no valid metadata") from None
    return front + frames + tail


def _start(data: bytes) -> int:
    """Where "fLaC" is, behind ID3 tags."""
    at = 0
    while data[at : at + 3] == b"ID3":
        size = data[at + 6 : at + 10]
        if len(size) < 4 or max(size) > 127:
            raise Odd
        length = size[0] << 21 | size[1] << 14 | size[2] << 7 | size[3]
        at += 10 + length + (10 if data[at + 5] & 16 else 0)
    if data[at : at + 4] != b"fLaC":
        raise Odd
    return at


def _blocks(data: bytes, start: int) -> Iterator[tuple[int, int, int]]:
    """(type, start, end) of each metadata block, the first of them STREAMINFO. Raises Odd."""
    at = start + 4
    for i in range(MOST_BLOCKS):
        head, size = data[at : at + 1], int.from_bytes(data[at + 1 : at + 4], "big")
        end = at + 4 + size
        if end > len(data) or not head:
            raise Odd
        kind = head[0] & 127
        if (kind == STREAMINFO) != (i == 0) or (i == 0 and size != 34):
            raise Odd
        yield kind, at + 4, end
        if head[0] & 128:
            return
        at = end
    raise Odd


class Guess:
    """What metadata say about frames, from the frames.

    samples: (channels, time). sizes, counts: bytes and samples of each frame.
    """

    def __init__(
        self,
        samples: Samples,
        bits: int,
        rate: int,
        sizes: NDArray[np.uint32],
        counts: NDArray[np.uint32],
    ) -> None:
        self._samples, self._bits, self._rate = samples, bits, rate
        self._sizes, self._counts = sizes, counts
        self._offsets = [0, *itertools.accumulate(sizes.tolist())]
        self._firsts = np.array([0, *itertools.accumulate(counts.tolist())], np.int64)
        # The seek points that the program `flac` makes.
        self.points = -(-samples.shape[1] // max(1, SECONDS * rate))

    def info(self) -> bytes:
        """A block STREAMINFO."""
        block = max(int(self._counts.max()), 4096 if len(self._counts) == 1 else 0) & 0xFFFF
        channels, count = self._samples.shape
        fields = self._rate << 44 | channels - 1 << 41 | self._bits - 1 << 36
        sizes = (int(s) & 0xFFFFFF for s in (self._sizes.min(), self._sizes.max()))
        return b"".join(
            [
                block.to_bytes(2, "big") * 2,
                *(s.to_bytes(3, "big") for s in sizes),
                (fields | count & ((1 << 36) - 1)).to_bytes(8, "big"),
                self._digest(),
            ]
        )

    def _digest(self) -> bytes:
        """MD5 of the samples, each in the fewest whole bytes."""
        width = (self._bits + 7) // 8
        digest = hashlib.md5(usedforsecurity=False)
        step = 1 << 16
        for at in range(0, self._samples.shape[1], step):
            part = np.ascontiguousarray(self._samples[:, at : at + step].T, "<i4")
            digest.update(part.reshape(-1, 1).view(np.uint8)[:, :width].tobytes())
        return digest.digest()

    def sample(self, i: int) -> int:
        """The first sample of the frame that the seek point i of the program `flac` names."""
        return self._firsts_before(i * SECONDS * self._rate)[0]

    def place(self, sample: int) -> bytes:
        """Where a frame of that first sample begins, and how many samples it has."""
        if sample == PLACEHOLDER:
            return bytes(10)
        _, frame = self._firsts_before(sample)
        count = int(self._counts[frame]) & 0xFFFF
        return bytes(self._offsets[frame].to_bytes(8, "big") + count.to_bytes(2, "big"))

    def _firsts_before(self, sample: int) -> tuple[int, int]:
        frame = int(np.searchsorted(self._firsts, min(sample, 1 << 62), "right")) - 1
        frame = min(frame, len(self._counts) - 1)
        return int(self._firsts[frame]), frame


def _veil(head: bytes, start: int, guess: Guess, plain: bool) -> bytes:
    """Metadata with what `guess` says taken off by exclusive or; if not `plain`, put on again."""
    out = bytearray(head)
    blocks = list(_blocks(head, start))
    if blocks[-1][2] != len(head):
        raise Odd
    _, at, end = blocks[0]
    out[at:end] = _differ(head[at:end], guess.info())
    for kind, at, end in blocks:
        if kind != SEEKTABLE:
            continue
        for i, point in enumerate(range(at, end - 17, 18)):
            usual = guess.sample(i).to_bytes(8, "big")
            first = _differ(head[point : point + 8], usual)
            sample = int.from_bytes(head[point : point + 8] if plain else first, "big")
            rest = _differ(head[point + 8 : point + 18], guess.place(sample))
            out[point : point + 18] = first + rest
    return bytes(out)


def _differ(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=True))
