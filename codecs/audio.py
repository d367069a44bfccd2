"""The codec for audio files: samples by a model of samples, the rest as a recipe, the file again.

A frame is a whole file, taken apart by `codecs.sounds` and put together again bit for bit. What all
samples lack is taken off before they are coded: channels that say nothing new, values that never
occur. FORMAT.md, section 5.10, has the layout; kernels/src/sound.hpp codes the samples.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmc.codecs import sounds, text
from lmc.codecs.base import Frame, Report, Settings
from lmc.codecs.recipe import Reader, Writer
from lmc.codecs.side_by_side import Tell, cuts_of, share, side_by_side
from lmc.codecs.sounds.base import Samples
from lmc.errors import Corrupt
from lmc.kernels import _native
from lmc.models.small import NONE, SOUNDS

METHOD = 10
MOST_SAMPLES = 1 << 28
MOST_CHANNELS = 16
MOST_MEMORY = 3 << 30  # so that every decoder takes what is written (FORMAT.md, 2.2)

WEIGHTED, SWAPPED, LEVELS = 1, 8, 16  # flags of the way; bits 1 and 2 are the fade
DEPTH = 24  # bits that the model takes; of what has more, the rest is coded apart
MOST_RATE = 1 << 21
EFFORTS = {1: 0, 2: 0, 3: 0, 4: 1, 5: 1, 6: 1, 7: 2, 8: 2, 9: 2}
NETWORKS = (NONE, 1, 2)  # of the efforts

# Segments are worked on side by side, and each learns anew. Their number is a power of two, so that
# it fits the cores: two from SEGMENT_SAMPLES on (12 s of stereo), where halves cost 0.05 % of most
# sounds (at 8 s 0.06 to 0.3 %, once 1.1 %), four from four times as many on, and so on.
SEGMENT_SAMPLES = 1 << 20
MAX_SEGMENTS = 32
# Of each channel this many samples, or fewer if it is short, are coded in several ways, to see
# which is best.
TRIAL = 1 << 15


@dataclass(frozen=True, slots=True)
class Layout:
    """The parameters of a frame. format: of the file, see sounds. way: flags of how samples are
    coded. network: number of the one that foretells samples, 0 for none. fine: lowest bits of each
    sample that are coded apart. rate: samples a second, 0 if there is no room for it. length: of
    each channel."""

    format: int
    way: int
    effort: int
    network: int
    segments: int
    channels: int
    bits: int
    fine: int
    rate: int
    length: int

    def to_params(self) -> bytes:
        out = Writer()
        means = self.effort | self.network << 4
        out.raw(bytes([self.format, self.way, means, self.segments - 1]))
        out.raw(bytes([self.channels, self.bits, self.fine]))
        out.number(self.rate)
        out.number(self.length)
        return out.done()

    @classmethod
    def from_params(cls, params: bytes) -> Layout:
        """Raises Corrupt on parameters that no encoder writes."""
        reader = Reader(params)
        format, way, means, segments, channels, bits, fine = reader.raw(7)
        effort, network = means & 15, means >> 4
        rate, length = reader.number(), reader.number()
        reader.end()
        layout = cls(
            *(format, way, effort, network),
            *(segments + 1, channels, bits, fine, rate, length),
        )
        right = (
            format in sounds.FORMATS
            and way < 32
            and effort in EFFORTS.values()
            and SOUNDS.known(network)
            and 1 <= channels <= MOST_CHANNELS
            and 1 <= bits <= 32
            and fine <= max(0, bits - DEPTH)
            and rate < MOST_RATE
            and 1 <= length <= MOST_SAMPLES // channels
            and layout.segments <= min(MAX_SEGMENTS, length)
            and (not way & SWAPPED or channels == 2)
        )
        if not right:
            raise Corrupt("the layout of an audio frame is out of range")
        return layout


Ranges = list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Manner:
    """How the model is to code samples."""

    effort: int
    fade: int
    weighted: bool
    network: int = NONE

    def encode(self, samples: Samples, ranges: Ranges, report: Report | None = None) -> bytes:
        whole = np.ascontiguousarray(samples)
        network = SOUNDS.optional(self.network)
        way = self.effort, self.fade, self.weighted
        return _native.sound_encode(whole, ranges, *way, network, report)

    def decode(self, payload: bytes, length: int, ranges: Ranges, report: Report) -> Samples:
        network = SOUNDS.optional(self.network)
        way = self.effort, self.fade, self.weighted
        return _native.sound_decode(payload, length, ranges, *way, network, report)


def encode(data: bytes, settings: Settings, report: Report | None = None) -> Frame | None:
    """A frame of an audio file; None if it is none that can be rebuilt, or gets no smaller."""
    file = sounds.take_apart(data, MOST_SAMPLES)
    if file is None or file.kind != "integer":
        return None
    channels, length = file.samples.shape
    if not 1 <= channels <= MOST_CHANNELS or length == 0:
        return None
    rate = file.rate if file.rate < MOST_RATE else 0
    layout = Layout(file.format, 0, 0, 0, 1, channels, file.bits, 0, rate, length)
    layout = replace(layout, segments=_segments(file.samples.size, length))
    if needs(layout.to_params(), len(data)) > MOST_MEMORY:
        return None
    tell = share(report, len(data), file.samples.size)
    out = Writer()
    out.number(len(file.recipe))
    out.blob(text.encode_aside(file.recipe))

    samples = file.samples
    fine = max(0, _depth(samples) - DEPTH)
    if fine:
        low = (samples & np.int32((1 << fine) - 1)).astype(np.uint8)
        out.blob(text.encode_aside(low.tobytes()))
        samples = samples >> np.int32(fine)
    first = [
        next(k for k in range(c + 1) if np.array_equal(samples[c], samples[k]))
        for c in range(channels)
    ]
    values = _sparse(samples[sorted(set(first))])
    if values is not None:
        out.raw(_table(values))
        samples = _places(samples, values)

    # The channels that the model has to code: neither constant nor copies.
    kept: list[int] = []
    ranges: Ranges = []
    for c in range(channels):
        low_, high = int(samples[c].min()), int(samples[c].max())
        if first[c] in kept:
            out.number(2 + first[c])
            continue
        out.number(int(low_ != high))
        out.signed(low_)
        if low_ != high:
            out.number(high - low_ - 1)
            kept.append(c)
            ranges.append((low_, high))
    active = samples[kept]

    effort = EFFORTS[max(1, settings.level)]
    manner, swapped = Manner(effort, 0, True), False
    segments = 1
    if kept:
        manner, swapped = _manner(active, ranges, effort, settings.threads)
        if swapped:
            active, ranges = active[::-1], ranges[::-1]
        segments = layout.segments

        def encode_segment(cut: slice, tell: Report) -> bytes:
            return manner.encode(active[:, cut], ranges, tell)

        parts = side_by_side(encode_segment, cuts_of(length, segments), settings.threads, tell)
        for part in parts[:-1]:
            out.blob(part)
        out.raw(parts[-1])
    payload = out.done()
    if len(payload) + 32 >= len(data):
        return None
    way = manner.fade << 1 | WEIGHTED * manner.weighted | SWAPPED * swapped
    way |= LEVELS * (values is not None)
    means = {"effort": effort, "network": manner.network}
    layout = replace(layout, way=way, **means, segments=segments, fine=fine)
    params = layout.to_params()
    return Frame(METHOD, params, payload, None, needs(params, len(data)))


def decode_frame(
    method: int,
    params: bytes,
    payload: bytes,
    size: int,
    model: object | None,
    threads: int,
    report: Report | None = None,
) -> bytes:
    """The file of `size` bytes. Raises Corrupt."""
    layout = Layout.from_params(params)
    channels, length = layout.channels, layout.length
    reader = Reader(payload)
    recipe_size = reader.number(size + (1 << 16))
    recipe = text.decode_aside(reader.blob(), recipe_size, threads)
    low = None
    if layout.fine:
        coded = text.decode_aside(reader.blob(), channels * length, threads)
        low = np.frombuffer(coded, np.uint8).reshape(channels, length)
    values = None
    if layout.way & LEVELS:
        values = _values(reader, channels * length, threads)
    sources, constants, ranges = _channels(reader, channels)
    kept = [c for c in range(channels) if sources[c] == c]
    samples = np.zeros((channels, length), np.int32)
    if kept:
        order = kept[::-1] if layout.way & SWAPPED and len(kept) == 2 else kept
        tell = share(report, size, len(kept) * length)
        try:
            active = _decode_segments(layout, reader, [ranges[c] for c in order], threads, tell)
        except (_native.Damaged, ValueError) as error:
            raise Corrupt(f"a sound is damaged: {error}") from error
        for c, row in zip(order, active, strict=True):
            samples[c] = row
    else:
        reader.end()
    for c in range(channels):
        if c in constants:
            samples[c] = constants[c]
        elif sources[c] != c:
            samples[c] = samples[sources[c]]
    if values is not None:
        zero = int(np.searchsorted(values, 0))
        at = samples.astype(np.int64) + zero
        if at.min() < 0 or at.max() >= len(values):
            raise Corrupt("a sound has a sample that is not in its list of values")
        samples = values[at]
    if low is not None:
        if int(low.max()) >> layout.fine:
            raise Corrupt("a sound has fine bits that are out of range")
        samples = samples << np.int32(layout.fine) | low
    return sounds.rebuild(layout.format, recipe, np.ascontiguousarray(samples, np.int32))


def needs(params: bytes, size: int) -> int:
    """Bytes that decoding a frame takes at most, beside payload and content. Raises Corrupt."""
    layout = Layout.from_params(params)
    samples = layout.channels * layout.length
    memory = 16 * samples + 2 * size + _native.mixer_bytes(text.STRONG, max(size, samples))
    together = min(layout.segments, 8)
    return memory + together * _native.sound_bytes(layout.channels) + (16 << 20)


def describe(params: bytes) -> str:
    """What a frame's parameters say to people."""
    layout = Layout.from_params(params)
    seconds = layout.length / layout.rate if layout.rate else 0
    name = sounds.NAMES[layout.format]
    return (
        f"{name}, {layout.rate} Hz, {layout.channels} x {layout.bits} bit, {seconds:.1f} s"
        f"{', levels' if layout.way & LEVELS else ''}"
    )


def samples_of(params: bytes) -> int:
    """How many samples a frame has, of all channels."""
    layout = Layout.from_params(params)
    return layout.channels * layout.length


# ---- parts ---------------------------------------------------------------------------------------


def _depth(samples: Samples) -> int:
    """Bits of the largest sample, with its sign."""
    return max(int(samples.max()), ~int(samples.min())).bit_length() + 1


def _sparse(samples: Samples) -> NDArray[np.int32] | None:
    """All values that occur, rising, where their places are worth coding instead; else None."""
    low, high = int(samples.min()), int(samples.max())
    if high - low >= 1 << DEPTH or samples.size < 256:
        return None
    counts = np.bincount((samples - np.int32(low)).reshape(-1))
    # How many there would be, if neighbouring values were as frequent as each other.
    sums = np.concatenate([[0], np.cumsum(counts)])
    places = np.arange(len(counts))
    first, last = np.maximum(places - 32, 0), np.minimum(places + 33, len(counts))
    rates = (sums[last] - sums[first]) / (last - first)
    usual = float((1 - np.exp(-rates)).sum())
    found = np.flatnonzero(counts)
    if len(found) >= 0.8 * usual or len(found) < 2:
        return None
    values = (found + low).astype(np.int32)
    # Where samples are few, too, or repeat each other, it may look so and not be: a piece decides.
    piece = _middle(samples[:1])
    saved = _quick(piece) - _quick(_places(piece, values))
    return values if saved * samples.size // piece.size > len(_table(values)) else None


def _places(samples: Samples, values: NDArray[np.int32]) -> Samples:
    """Where samples stand in the list of values, 0 for the first one that is not negative."""
    zero = int(np.searchsorted(values, 0))
    return (np.searchsorted(values, samples) - zero).astype(np.int32)


def _table(values: NDArray[np.int32]) -> bytes:
    """The list of values, coded."""
    out, steps = Writer(), Writer()
    for step in np.diff(values).tolist():
        steps.number(step - 1)
    plain = steps.done()
    out.number(len(values))
    out.signed(int(values[0]))
    out.number(len(plain))
    out.blob(text.encode_aside(plain))
    return out.done()


def _middle(samples: Samples, length: int = TRIAL) -> Samples:
    """The piece that is coded in several ways."""
    start = max(0, samples.shape[1] - length) // 2
    return samples[:, start : start + length]


def _quick(samples: Samples) -> int:
    """Bytes of a channel, coded fast."""
    low, high = int(samples.min()), int(samples.max())
    return len(Manner(0, 0, True).encode(samples, [(low, high)])) if low < high else 0


def _values(reader: Reader, most: int, threads: int) -> NDArray[np.int32]:
    """The list that `_sparse` made, of at most so many values."""
    count, first = reader.number(min(most, 1 << DEPTH)), reader.signed(1 << 33)
    size = reader.number(4 * count)
    steps = Reader(text.decode_aside(reader.blob(), size, threads))
    values = [first]
    for _ in range(count - 1):
        values.append(values[-1] + 1 + steps.number(1 << DEPTH))
    steps.end()
    if count == 0 or values[0] < -(1 << (DEPTH - 1)) or values[-1] >= 1 << (DEPTH - 1):
        raise Corrupt("the list of a sound's values is out of range")
    return np.array(values, np.int32)


def _channels(
    reader: Reader, channels: int
) -> tuple[list[int], dict[int, int], dict[int, tuple[int, int]]]:
    """Where each channel comes from; the value of those that have one; the range of the others."""
    sources: list[int] = []
    constants: dict[int, int] = {}
    ranges: dict[int, tuple[int, int]] = {}
    for c in range(channels):
        kind = reader.number(1 + channels)
        if kind >= 2:
            if kind - 2 not in ranges:
                raise Corrupt("a channel of a sound copies one that is not there")
            sources.append(kind - 2)
            continue
        low = reader.signed(1 << DEPTH)
        high = low + reader.number(1 << DEPTH) + 1 if kind else low
        if low < -(1 << (DEPTH - 1)) or high >= 1 << (DEPTH - 1):
            raise Corrupt("the range of a channel is too wide")
        if kind:
            ranges[c] = low, high
        else:
            constants[c] = low
        sources.append(c if kind else -1)
    return sources, constants, ranges


def _segments(samples: int, length: int) -> int:
    """How many segments samples of all channels, each of that length, are cut into."""
    if samples < SEGMENT_SAMPLES or length < 2:
        return 1
    most = min(MAX_SEGMENTS, max(2, samples // SEGMENT_SAMPLES), length)
    return 1 << (most.bit_length() - 1)


def _manner(samples: Samples, ranges: Ranges, effort: int, threads: int) -> tuple[Manner, bool]:
    """The best way for pieces of the samples, and whether the second channel comes first."""
    length = samples.shape[1]
    # Long sounds change: half of the trial from each half of the sound.
    halves = (
        [samples] if length < 8 * TRIAL else [samples[:, : length // 2], samples[:, length // 2 :]]
    )
    each = min(TRIAL, max(TRIAL // 4, length // 16)) // len(halves)
    pieces = [_middle(half, each) for half in halves]
    Way = tuple[int, bool, bool]  # the fade, weighted, swapped

    def cost(way: Way, _: Report) -> int:
        fade, weighted, swapped = way
        step = -1 if swapped else 1
        manner = Manner(0, fade, weighted)
        return sum(len(manner.encode(piece[::step], ranges[::step])) for piece in pieces)

    def least(ways: list[Way]) -> tuple[int, Way]:
        costs = side_by_side(cost, ways, threads, lambda _: None)
        return min(zip(costs, ways, strict=True), key=lambda both: both[0])

    first = least([(fade, True, False) for fade in range(4)])
    fade = first[1][0]
    others = [(fade, False, False)] + [(fade, True, True)] * (len(samples) == 2)
    _, (fade, weighted, swapped) = min(first, least(others), key=lambda both: both[0])
    return Manner(effort, fade, weighted, NETWORKS[effort]), swapped


def _decode_segments(
    layout: Layout, reader: Reader, ranges: Ranges, threads: int, tell: Tell
) -> Samples:
    fade, weighted = layout.way >> 1 & 3, bool(layout.way & WEIGHTED)
    manner = Manner(layout.effort, fade, weighted, layout.network)
    cuts = cuts_of(layout.length, layout.segments)
    payloads = [reader.blob() for _ in cuts[:-1]]
    payloads.append(reader.rest())

    def decode_segment(work: tuple[slice, bytes], tell: Report) -> Samples:
        cut, payload = work
        return manner.decode(payload, cut.stop - cut.start, ranges, tell)

    works: list[Any] = list(zip(cuts, payloads, strict=True))
    return np.concatenate(side_by_side(decode_segment, works, threads, tell), axis=1)
