"""The codec for video files: frames by a model of videos, the rest as a recipe, the file again.

A frame of the container is a whole file, taken apart by `codecs.clips` and put together again bit
for bit. FORMAT.md, section 5.11, has the layout; kernels/src/video.hpp codes the samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from lmc.codecs import clips, text
from lmc.codecs.base import Frame, Report, Settings
from lmc.codecs.clips import Geometry, Samples
from lmc.codecs.recipe import Reader, Writer
from lmc.codecs.side_by_side import Tell, cuts_of, share, side_by_side
from lmc.errors import Corrupt
from lmc.kernels import _native
from lmc.models.small import NONE, VIDEOS
from lmc.pipeline import cores

METHOD = 11
MOST_SAMPLES = 1 << 28
MOST_MEMORY = 3 << 30  # so that every decoder takes what is written (FORMAT.md, 2.2)
EFFORTS = {1: 0, 2: 0, 3: 0, 4: 1, 5: 1, 6: 1, 7: 1, 8: 1, 9: 1}
NETWORKS = {1: NONE, 2: NONE, 3: NONE, 4: 1, 5: 1, 6: 1, 7: 2, 8: 2, 9: 2}

# Segments are worked on side by side, and each learns anew.
SEGMENT_FRAMES = 128
MAX_SEGMENTS = 256
# So are strips of a frame. Two cost 0.3 to 0.6 % of a small one: the best levels have half as many.
STRIPS = ((64 * 48, 1), (640 * 480, 2), (1280 * 720, 4))
MOST_STRIPS = 8
FEWER_STRIPS = 7  # from this level on


@dataclass(frozen=True, slots=True)
class Layout:
    """The parameters of a frame. format: of the file, see clips. network: number of the set that
    foretells samples, 0 for none."""

    format: int
    effort: int
    network: int
    strips: int
    segments: int
    frames: int
    geometry: Geometry

    def to_params(self) -> bytes:
        out, geometry = Writer(), self.geometry
        means = self.effort | self.network << 4
        out.raw(bytes([self.format, means, self.strips - 1, self.segments - 1]))
        out.raw(bytes([geometry.depth, len(geometry.coarse)]))
        out.raw(bytes(right | down << 4 for right, down in geometry.coarse))
        for number in (geometry.width, geometry.height, self.frames):
            out.number(number)
        return out.done()

    @classmethod
    def from_params(cls, params: bytes) -> Layout:
        """Raises Corrupt on parameters that no encoder writes."""
        reader = Reader(params)
        format, means, strips, segments, depth, others = reader.raw(6)
        effort, network = means & 15, means >> 4
        if others > 3:
            raise Corrupt("a video has too many planes")
        coarse = tuple((byte & 15, byte >> 4) for byte in reader.raw(others))
        width, height, frames = (reader.number() for _ in range(3))
        reader.end()
        right = (
            format in clips.NAMES
            and effort in EFFORTS.values()
            and VIDEOS.known(network)
            and 1 <= depth <= 16
            and all(r <= 2 and d <= 2 for r, d in coarse)
            and 1 <= width <= clips.base.MOST_SIDE
            and 1 <= height <= clips.base.MOST_SIDE
            and 1 <= frames <= MOST_SAMPLES
        )
        if not right:
            raise Corrupt("the layout of a video frame is out of range")
        layout = cls(
            *(format, effort, network, strips + 1, segments + 1, frames),
            Geometry(width, height, coarse, depth),
        )
        if (
            layout.segments > frames
            or frames * layout.geometry.frame > MOST_SAMPLES
            or layout.strips > _native.video_most_strips(layout.geometry.planes)
        ):
            raise Corrupt("the layout of a video frame is out of range")
        return layout


def encode(data: bytes, settings: Settings, report: Report | None = None) -> Frame | None:
    """A frame of a video file; None if it is none that can be rebuilt, or gets no smaller."""
    stated = clips.state(settings.video) if settings.video else None
    video = clips.take_apart(data, stated, MOST_SAMPLES)
    if video is None:
        return None
    geometry, frames = video.geometry, len(video.samples)
    pixels = geometry.width * geometry.height
    strips = next((n for most, n in STRIPS if pixels <= most), MOST_STRIPS)
    if settings.level >= FEWER_STRIPS:
        strips = (strips + 1) // 2
    strips = min(strips, _native.video_most_strips(geometry.planes))
    segments = min(MAX_SEGMENTS, -(-frames // SEGMENT_FRAMES))
    level = max(1, settings.level)
    effort, network = EFFORTS[level], NETWORKS[level]
    layout = Layout(video.format, effort, network, strips, segments, frames, geometry)
    params = layout.to_params()
    if needs(params, len(data)) > MOST_MEMORY:
        return None
    tell = share(report, len(data), video.samples.size)
    threads = _threads(layout, settings.threads)

    def encode_segment(cut: slice, tell: Report) -> list[bytes]:
        samples = np.ascontiguousarray(video.samples[cut]).reshape(-1)
        return _native.video_encode(
            *(samples, cut.stop - cut.start, geometry.planes, geometry.depth, effort, strips),
            *(VIDEOS.optional(network), threads, tell),
        )

    out = Writer()
    out.number(len(video.recipe))
    out.blob(text.encode_aside(video.recipe))
    cuts = cuts_of(frames, segments)
    parts = [
        part
        for segment in side_by_side(encode_segment, cuts, settings.threads, tell)
        for part in segment
    ]
    for part in parts[:-1]:
        out.blob(part)
    out.raw(parts[-1])
    payload = out.done()
    if len(payload) + 32 >= len(data):
        return None
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
    reader = Reader(payload)
    recipe_size = reader.number(size + (1 << 16))
    recipe = text.decode_aside(reader.blob(), recipe_size, threads)
    tell = share(report, size, samples_of(params))
    try:
        samples = _decode_segments(layout, reader, threads, tell)
    except _native.Damaged as error:
        raise Corrupt(f"a video is damaged: {error}") from error
    return clips.rebuild(layout.format, recipe, samples, layout.geometry)


def _decode_segments(layout: Layout, reader: Reader, threads: int, tell: Tell) -> Samples:
    geometry = layout.geometry
    cuts = cuts_of(layout.frames, layout.segments)
    count = layout.segments * (layout.strips + 1)
    parts = [reader.blob() for _ in range(count - 1)]
    parts.append(reader.rest())
    each = _threads(layout, threads)

    def decode_segment(i: int, tell: Report) -> Samples:
        mine = parts[i * (layout.strips + 1) : (i + 1) * (layout.strips + 1)]
        frames = cuts[i].stop - cuts[i].start
        return _native.video_decode(
            *(mine, frames, geometry.planes, geometry.depth, layout.effort, layout.strips),
            *(VIDEOS.optional(layout.network), each, tell),
        )

    segments = side_by_side(partial(decode_segment), list(range(len(cuts))), threads, tell)
    return np.concatenate(segments).reshape(layout.frames, -1)


def _threads(layout: Layout, threads: int) -> int:
    """Threads of each segment."""
    return max(1, cores(threads) // layout.segments)


def needs(params: bytes, size: int) -> int:
    """Bytes that decoding a frame takes at most, beside payload and content. Raises Corrupt."""
    layout = Layout.from_params(params)
    memory = 8 * samples_of(params) + 2 * size + _native.mixer_bytes(text.STRONG, size)
    together = min(layout.segments, 8)
    segment = _native.video_bytes(layout.geometry.planes, layout.strips)
    return memory + together * segment + clips.memory(layout.format) + (16 << 20)


def describe(params: bytes) -> str:
    """What a frame's parameters say to people."""
    layout = Layout.from_params(params)
    geometry = layout.geometry
    return (
        f"{clips.NAMES[layout.format]}, {geometry.width}x{geometry.height}, "
        f"{len(geometry.planes)} planes, {geometry.depth} bit, {layout.frames} frames"
    )


def samples_of(params: bytes) -> int:
    """How many samples a frame has, of all planes."""
    layout = Layout.from_params(params)
    return layout.frames * layout.geometry.frame
