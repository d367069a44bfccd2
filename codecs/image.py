"""The codec for image files: pixels by a model of pixels, the rest as a recipe, the file again.

A frame is a whole file, taken apart by `codecs.pictures` and put together again bit for bit. The
pixels go one of several ways, whichever is smallest; FORMAT.md, section 5.4, has the layout.

- drawn: screens, plots, palettes (kernels/src/graphic.hpp);
- photo: everything else (kernels/src/photo.hpp), in strips that are worked on side by side;
- disc: photos that once were a PhotoCD, as luma and thinned-out chroma (codecs/photocd.py);
- jpeg: pictures that once were a JPEG file, as its coefficients (codecs/exjpeg.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmc.codecs import exjpeg, graphic, photocd, pictures, strays, text
from lmc.codecs.base import Frame, Report, Settings
from lmc.codecs.pictures.base import Picture
from lmc.codecs.recipe import Reader, Writer
from lmc.codecs.side_by_side import Tell, cuts_of, share, side_by_side
from lmc.errors import Corrupt
from lmc.kernels import _native
from lmc.models.small import PHOTOS

METHOD = 8
DRAWN, PHOTO, DISC, EXJPEG = 1, 2, 3, 4
WAYS = {DRAWN: "drawn", PHOTO: "photo", DISC: "photocd", EXJPEG: "ex-jpeg"}
WELL = {DISC: 8.0, EXJPEG: 1.0}
"""Ways of an origin, and below how many bits a sample no other way is tried."""
PLAIN = 0x80  # beside the number of the file format
MOST_PIXELS = 1 << 28

# A picture with this share (in 100) of pixels that equal a neighbour is drawn, one with less than
# the second a photo; between them both ways are tried.
SURELY_DRAWN, SURELY_PHOTO = 70, 12
# Strips are worked on side by side, and each learns anew: two of 125,000 pixels cost 0.13 %. Their
# number is a power of two, so that it fits the cores.
STRIP_PIXELS = 1 << 16
MAX_STRIPS = 32
GREEN_FIRST = [1, 0, 2]


@dataclass(frozen=True, slots=True)
class Layout:
    """The parameters of a frame. format: of the file, see pictures. way: of the pixels. effort: of
    the drawn way 0 to 2, of the others the number of the networks. plain: the file is not the one
    that was given, but a PNG with its pixels."""

    format: int
    way: int
    effort: int
    strips: int
    channels: int
    depth: int
    width: int
    height: int
    plain: bool = False

    def to_params(self) -> bytes:
        out = Writer()
        first = self.format | (PLAIN if self.plain else 0)
        out.raw(bytes([first, self.way, self.effort, self.strips - 1]))
        out.raw(bytes([self.channels, self.depth]))
        out.number(self.width)
        out.number(self.height)
        return out.done()

    @classmethod
    def from_params(cls, params: bytes) -> Layout:
        """Raises Corrupt on parameters that no encoder writes."""
        reader = Reader(params)
        first, way, effort, strips, channels, depth = reader.raw(6)
        format, plain = first & ~PLAIN, bool(first & PLAIN)
        width, height = reader.number(), reader.number()
        layout = cls(format, way, effort, strips + 1, channels, depth, width, height, plain)
        reader.end()
        pixels = layout.width * layout.height
        right = (
            way in WAYS
            and 1 <= channels <= 4
            and 1 <= depth <= 16
            and 1 <= pixels <= MOST_PIXELS
            and layout.strips <= min(MAX_STRIPS, layout.height)
            and (way != DRAWN or (depth <= 8 and effort in graphic.EFFORTS))
            and (way != DISC or (depth == 8 and channels >= 3))
            and (way != EXJPEG or (depth == 8 and channels in (1, 3)))
        )
        if not right:
            raise Corrupt("the layout of an image frame is out of range")
        return layout

    @property
    def dtype(self) -> type[np.uint8] | type[np.uint16]:
        return np.uint16 if self.depth > 8 else np.uint8


def effort_of(level: int) -> tuple[int, int]:
    """A level's effort of the drawn way, and its networks."""
    if level <= 4:
        return (0 if level <= 2 else 1), 1
    return 2, 2 if level <= 6 else 3


def encode(
    data: bytes, settings: Settings, report: Report | None = None, *, plain: bool = False
) -> Frame | None:
    """A frame of an image file, which may be a plain one made for its pixels.

    None if it is none that can be rebuilt, or gets no smaller.
    """
    picture = pictures.take_apart(data, MOST_PIXELS)
    if picture is None:
        return None
    drawn, networks = effort_of(settings.level)
    tell = share(report, len(data), picture.samples.size)
    recipe = text.encode_aside(picture.recipe)
    candidates: list[Coded] = []
    for way in _ways(picture):
        coded = _encode_pixels(picture, way, drawn, networks, settings.threads, tell)
        if coded is not None:
            candidates.append(coded)
            # What has such an origin, nothing else codes as well, unless it has little of it left.
            bits = 8 * sum(map(len, coded[1])) / picture.samples.size
            if bits < WELL.get(way, 0):
                break
    if not candidates:
        return None
    layout, parts, memory = min(candidates, key=lambda coded: sum(map(len, coded[1])))
    out = Writer()
    out.number(len(picture.recipe))
    out.blob(recipe)
    for part in parts[:-1]:
        out.blob(part)
    out.raw(parts[-1])
    payload = out.done()
    if len(payload) + 32 >= len(data):
        return None
    params = replace(layout, plain=plain).to_params()
    return Frame(METHOD, params, payload, None, max(memory, needs(params, len(data))))


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
    tell = share(report, size, layout.width * layout.height * layout.channels)
    try:
        samples = _decode_pixels(layout, reader, threads, tell)
    except _native.Damaged as error:
        raise Corrupt(f"an image is damaged: {error}") from error
    return pictures.rebuild(layout.format, recipe, samples)


def needs(params: bytes, size: int) -> int:
    """Bytes that decoding a frame takes at most, beside payload and content. Raises Corrupt."""
    layout = Layout.from_params(params)
    shape = (layout.height, layout.width, layout.channels)
    samples = layout.height * layout.width * layout.channels
    memory = samples * 8 + 4 * size + _native.mixer_bytes(text.STRONG, size) + (16 << 20)
    if layout.way == DRAWN:
        return memory + graphic.memory(shape, layout.effort)
    if layout.way == EXJPEG:
        return memory + 64 * samples + (1 << 28)
    rows = -(-layout.height // layout.strips)
    colours = 3 if layout.channels >= 3 and layout.way == PHOTO else 1
    memory += _native.photo_bytes(rows, layout.width, colours, layout.depth)
    if layout.way == DISC:
        memory += samples * 16
    if layout.way == DISC or layout.channels in (2, 4):
        memory += graphic.memory((layout.height, layout.width, 1), 2)
    return memory


def describe(params: bytes) -> str:
    """What a frame's parameters say to people: geometry, and the way of the pixels."""
    layout = Layout.from_params(params)
    return (
        f"{layout.width}x{layout.height}, {layout.channels} x {layout.depth} bit, "
        f"{WAYS[layout.way]}{', pixels only' if layout.plain else ''}"
    )


def sub_pixels(params: bytes) -> int:
    """How many samples a frame has."""
    layout = Layout.from_params(params)
    return layout.width * layout.height * layout.channels


# ---- the ways of the pixels ----------------------------------------------------------------------

Coded = tuple[Layout, list[bytes], int]
"""parts, and bytes of memory that decoding takes where the layout does not tell."""


def _ways(picture: Picture) -> Iterator[int]:
    """The ways that are worth trying."""
    samples = picture.samples
    photographic = picture.kind not in ("palette", "other") and picture.depth >= 8
    if samples.dtype == np.uint8:
        drawn = _native.looks_drawn(np.asarray(samples, np.uint8))
        if drawn >= SURELY_PHOTO or not photographic:
            yield DRAWN
        if drawn >= SURELY_DRAWN:
            return
    if photographic or samples.dtype == np.uint16:
        if samples.dtype == np.uint8 and samples.shape[2] >= 3:
            yield DISC
        if samples.dtype == np.uint8 and samples.shape[2] in (1, 3):
            yield EXJPEG
        yield PHOTO


def _encode_pixels(
    picture: Picture, way: int, drawn: int, networks: int, threads: int, tell: Tell
) -> Coded | None:
    samples = picture.samples
    height, width, channels = samples.shape
    effort = drawn if way == DRAWN else networks
    strips = 1 if way in (DRAWN, EXJPEG) else _strips(height, width)
    layout = Layout(picture.format, way, effort, strips, channels, picture.depth, width, height)
    if way == DRAWN:
        drawing = graphic.encode(np.asarray(samples, np.uint8), picture.depth, drawn, tell)
        return layout, [drawing], 0
    if way == EXJPEG:
        found = exjpeg.encode(np.asarray(samples, np.uint8), threads, tell)
        return None if found is None else (layout, [found[0]], found[1])
    colours = samples[..., :3] if channels >= 3 else samples[..., :1]
    parts: list[bytes] = []
    if way == DISC:
        disc = photocd.split(np.ascontiguousarray(colours, np.uint8))
        if disc is None:
            return None
        parts.append(bytes(disc.phase))
        parts += strays.encode(disc.stray, disc.moved, 2)
        for plane in (*disc.chroma, disc.luma):
            parts += _encode_strips(plane[..., None], 8, strips, networks, threads, tell)
    else:
        ordered = colours[..., GREEN_FIRST] if channels >= 3 else colours
        parts += _encode_strips(ordered, picture.depth, strips, networks, threads, tell)
    if channels in (2, 4):
        rest = samples[..., -1:]
        if picture.depth <= 8:
            parts.append(graphic.encode(np.ascontiguousarray(rest, np.uint8), picture.depth, 2))
        else:
            parts += _encode_strips(rest, picture.depth, strips, networks, threads, tell)
    return layout, parts, 0


def _decode_pixels(layout: Layout, reader: Reader, threads: int, tell: Tell) -> NDArray[Any]:
    height, width, channels, depth = layout.height, layout.width, layout.channels, layout.depth
    if layout.way == DRAWN:
        shape = (height, width, channels)
        return graphic.decode(reader.rest(), shape, depth, layout.effort, tell)
    if layout.way == EXJPEG:
        return exjpeg.decode(reader.rest(), height, width, channels, threads, tell)
    try:
        networks = PHOTOS.open(layout.effort)
    except KeyError:
        raise Corrupt("an image names networks that do not exist") from None
    opaque = channels not in (2, 4)
    if layout.way == DISC:
        phase = reader.blob()
        if len(phase) != 2 or max(phase) > 1 or min(height, width) < 2:
            raise Corrupt("the phase of a picture from a PhotoCD is out of range")
        map, coded = reader.blob(), reader.blob()
        stray, moved = strays.decode(map, coded, (height, width), 3, 2, threads)
        thin = photocd.thin_shape((height, width), (phase[0], phase[1]))
        planes = [
            _decode_strips(reader, (*shape, 1), 8, layout, networks, threads, tell, last)[..., 0]
            for shape, last in ((thin, False), (thin, False), ((height, width), opaque))
        ]
        disc = photocd.Disc(
            planes[2].astype(np.uint8),
            (planes[0].astype(np.uint8), planes[1].astype(np.uint8)),
            (phase[0], phase[1]),
            stray,
            moved,
        )
        colours: NDArray[Any] = photocd.merge(disc)
    else:
        shape3 = (height, width, 3 if channels >= 3 else 1)
        colours = _decode_strips(reader, shape3, depth, layout, networks, threads, tell, opaque)
        if channels >= 3:
            colours = colours[..., GREEN_FIRST]  # its own inverse
    if opaque:
        return np.ascontiguousarray(colours, layout.dtype)
    one = (height, width, 1)
    if depth <= 8:
        rest: NDArray[Any] = graphic.decode(reader.rest(), one, depth, 2)
    else:
        rest = _decode_strips(reader, one, depth, layout, networks, threads, tell, True)
    return np.concatenate([colours, rest], axis=2).astype(layout.dtype)


def _strips(height: int, width: int) -> int:
    most = min(MAX_STRIPS, height * width // STRIP_PIXELS, height // 16)
    return 1 << max(0, most.bit_length() - 1)


def _encode_strips(
    samples: NDArray[Any], depth: int, strips: int, networks: int, threads: int, tell: Tell
) -> list[bytes]:
    whole = np.ascontiguousarray(samples, np.uint16)
    nets = PHOTOS.open(networks)
    cuts = cuts_of(len(whole), min(strips, len(whole)))

    def encode_strip(cut: slice, tell: Report) -> bytes:
        return _native.photo_encode(nets, whole[cut], depth, tell)

    return side_by_side(encode_strip, cuts, threads, tell)


def _decode_strips(
    reader: Reader,
    shape: tuple[int, int, int],
    depth: int,
    layout: Layout,
    networks: _native.PhotoNetworks,
    threads: int,
    tell: Tell,
    last: bool,
) -> NDArray[np.uint16]:
    cuts = cuts_of(shape[0], min(layout.strips, shape[0]))
    payloads = [reader.blob() for _ in cuts[:-1]]
    payloads.append(reader.rest() if last else reader.blob())

    def decode_strip(work: tuple[slice, bytes], tell: Report) -> NDArray[np.uint16]:
        cut, payload = work
        rows = cut.stop - cut.start
        return _native.photo_decode(networks, payload, rows, shape[1], shape[2], depth, tell)

    parts = side_by_side(decode_strip, list(zip(cuts, payloads, strict=True)), threads, tell)
    return np.concatenate(parts)
