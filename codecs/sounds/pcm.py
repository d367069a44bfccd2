"""Samples in a row with bytes before and behind: what WAV, AIFF and AU have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmc.codecs.sounds import base
from lmc.codecs.sounds.base import Geometry, Odd, Reader, Samples, Sound, Writer
from lmc.errors import Corrupt

# How a recipe tells the samples of the file: bytes of one (1 to 4) and these.
BIG, UNSIGNED, FLOAT, SCALED = 8, 16, 32, 64
SCALE = np.float32(1 << 23)
UNKNOWN = 0xFFFFFFFF  # a size in headers of streams


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a file has its samples, and how they are written there.

    rate: samples a second. start: of the samples, in bytes. size: what the file claims they take,
    which may be more than there is.
    """

    channels: int
    width: int
    rate: int
    start: int
    size: int
    big: bool = False
    unsigned: bool = False
    float: bool = False

    def __post_init__(self) -> None:
        right = (
            1 <= self.channels <= base.MOST_CHANNELS
            and 1 <= self.width <= 4
            and (not self.float or self.width == 4)
            and 0 <= self.rate < 1 << 32
        )
        if not right:
            raise Odd

    @property
    def frame(self) -> int:
        """Bytes of a sample of all channels."""
        return self.channels * self.width

    @property
    def code(self) -> int:
        return self.width | BIG * self.big | UNSIGNED * self.unsigned | FLOAT * self.float


Guess = Callable[[Layout, int, int], bytes]
"""The head that a plain file of a layout has, given its own length and that of the whole file."""


def geometry(name: str, layout: Layout) -> Geometry:
    kind = "float" if layout.float else "integer"
    samples = layout.size // layout.frame if layout.size != UNKNOWN else 0
    return Geometry(name, kind, layout.channels, layout.rate, 8 * layout.width, samples)


def take_apart(data: bytes, layout: Layout, format: int, guess: Guess, most: int) -> Sound:
    """A file of this layout. Raises Odd where it has no samples, or more than `most`."""
    claimed = min(layout.size, len(data) - layout.start)
    count = claimed // layout.frame
    if not 0 < count * layout.channels <= most:
        raise Odd
    end = layout.start + count * layout.frame
    samples = unpack(data[layout.start : end], layout)
    code = layout.code
    bits, kind, shift = 8 * layout.width, "integer", 0
    if layout.float:
        scaled = _integers(samples)
        if scaled is None:
            bits, kind = 32, "float"
        else:
            samples, code, bits = scaled, code | SCALED, 24
    if kind == "integer":
        shift = base.narrow(samples)
        samples = np.ascontiguousarray(samples >> np.int32(shift))
    out = Writer()
    out.raw(bytes([code, shift, layout.channels]))
    out.number(layout.rate)
    out.number(layout.size)
    out.number(layout.start)
    head = np.frombuffer(data, np.uint8, layout.start)
    change = head ^ np.frombuffer(guess(layout, layout.start, len(data)), np.uint8)
    out.number(int(change.any()))
    if change.any():
        out.raw(change.tobytes())
    out.raw(data[end:])
    return Sound(samples, bits - shift, kind, layout.rate, format, out.done())


def rebuild(recipe: bytes, samples: NDArray[Any], guess: Guess) -> bytes:
    """Raises Corrupt on a recipe that no such file has."""
    source = Reader(recipe)
    code, shift, channels = source.raw(3)
    rate, size = source.number((1 << 32) - 1), source.number()
    start = source.number(len(recipe) + MOST_GUESS)
    try:
        layout = Layout(
            channels,
            code & 7,
            rate,
            start,
            size,
            bool(code & BIG),
            bool(code & UNSIGNED),
            bool(code & FLOAT),
        )
    except Odd:
        raise Corrupt("the recipe of a sound has no layout that is known") from None
    scaled = bool(code & SCALED)
    if code & 128 or (scaled and not layout.float) or (layout.float and not scaled and shift):
        raise Corrupt("the recipe of a sound has no layout that is known")
    base.check(samples, channels)
    changed = source.number(1)
    change = source.raw(start) if changed else b""
    tail = source.rest()
    if scaled:
        samples = (base.widen(samples, shift, 24).astype(np.float32) / SCALE).view(np.int32)
    elif not layout.float:
        samples = base.widen(samples, shift, 8 * layout.width)
    body = pack(samples, layout)
    head = guess(layout, start, start + len(body) + len(tail))
    if changed:
        pairs = np.frombuffer(head, np.uint8) ^ np.frombuffer(change, np.uint8)
        head = pairs.tobytes()
    return head + body + tail


MOST_GUESS = 64
"""Bytes of a head that may be no part of its recipe."""


def unpack(data: bytes, layout: Layout) -> Samples:
    """Samples (channels, time) of the bytes of whole frames."""
    order = ">" if layout.big else "<"
    if layout.width == 3:
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        # The sign ends up at the top of the word, and the shift below spreads it.
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)[:, :: -1 if layout.big else 1]
        flat = wide.view("<i4")[:, 0].astype(np.int32) >> np.int32(8)
    else:
        flat = np.frombuffer(data, f"{order}i{layout.width}").astype(np.int32)
    if layout.unsigned:
        flat = _other_sign(flat, layout.width)
    return np.ascontiguousarray(flat.reshape(-1, layout.channels).T)


def pack(samples: Samples, layout: Layout) -> bytes:
    """The inverse of `unpack`."""
    flat = np.ascontiguousarray(samples.T).reshape(-1)
    if layout.unsigned:
        flat = _other_sign(flat, layout.width)
    if layout.width == 3:
        parts = np.ascontiguousarray(flat, "<i4").view(np.uint8).reshape(-1, 4)[:, :3]
        return parts[:, :: -1 if layout.big else 1].tobytes()
    return flat.astype(f"{'>' if layout.big else '<'}i{layout.width}").tobytes()


def _other_sign(flat: Samples, width: int) -> Samples:
    """Signed samples of unsigned ones that were read as signed, and back."""
    unused = 32 - 8 * width
    words = (flat.astype(np.uint32) << np.uint32(unused)) ^ np.uint32(1 << 31)
    return words.view(np.int32) >> np.int32(unused)


def _integers(patterns: Samples) -> Samples | None:
    """Floats, given by their bits, as integers of 24 bits, where all are so many 2^-23ths."""
    floats = patterns.view(np.float32)
    with np.errstate(all="ignore"):
        scaled = floats * SCALE
        if not bool(((scaled >= -SCALE) & (scaled < SCALE)).all()):
            return None
    whole = scaled.astype(np.int32)
    again = (whole.astype(np.float32) / SCALE).view(np.int32)
    return whole if np.array_equal(again, patterns) else None
