"""Video files as frames: layouts, odd cases, damage, hostile headers."""

from __future__ import annotations

import hashlib
import io
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import lmc
from lmc import codecs
from lmc.codecs import clips, video
from lmc.codecs.base import Frame, Settings
from lmc.codecs.clips import Geometry
from lmc.errors import Corrupt
from lmc.info import inspect
from lmc.models.small import NONE, VIDEOS

Array = NDArray[Any]

SPACES = {
    "420jpeg": ((1, 1), (1, 1)),
    "420mpeg2": ((1, 1), (1, 1)),
    "420paldv": ((1, 1), (1, 1)),
    "420": ((1, 1), (1, 1)),
    "411": ((2, 0), (2, 0)),
    "410": ((2, 2), (2, 2)),
    "422": ((1, 0), (1, 0)),
    "440": ((0, 1), (0, 1)),
    "444": ((0, 0), (0, 0)),
    "444alpha": ((0, 0), (0, 0), (0, 0)),
    "mono": (),
    **{f"420p{bits}": ((1, 1), (1, 1)) for bits in (9, 10, 12, 14, 16)},
    "422p10": ((1, 0), (1, 0)),
    "444p12": ((0, 0), (0, 0)),
    "mono16": (),
}


def bits_of(space: str) -> int:
    tail = space.removeprefix("mono").split("p")[-1]
    return int(tail) if tail.isdigit() and int(tail) <= 16 else 8


def moving(count: int, geometry: Geometry, noise: float = 0.01) -> Array:
    """(frames, samples): a pattern that moves, a quarter of full range at most."""
    rng = np.random.default_rng(count + geometry.depth)
    frames = []
    for f in range(count):
        planes = []
        for c, (w, h, right, down) in enumerate(geometry.planes):
            y, x = np.mgrid[:h, :w]
            x, y = (x << right) + 2 * f, (y << down) + f
            grey = 0.5 + 0.3 * np.sin(x / 5 + c) * np.cos(y / 7) + rng.normal(0, noise, (h, w))
            planes.append((grey.clip(0, 1) * ((1 << geometry.depth) - 1)).reshape(-1))
        frames.append(np.concatenate(planes))
    return np.array(frames).astype(np.uint16)


def make_y4m(samples: Array, geometry: Geometry, words: str, line: bytes = b"FRAME\n") -> bytes:
    kind = "<u2" if geometry.depth > 8 else np.uint8
    head = f"YUV4MPEG2 W{geometry.width} H{geometry.height} F25:1 {words}\n".encode()
    return head + b"".join(line + frame.astype(kind).tobytes() for frame in samples)


def small(count: int = 3, depth: int = 8) -> tuple[Array, Geometry]:
    geometry = Geometry(34, 21, ((1, 1), (1, 1)), depth)
    return moving(count, geometry), geometry


def layout_of(data: bytes, packed: bytes) -> video.Layout:
    """Of the video frame that a file must have become, and must come back from."""
    frame = inspect(io.BytesIO(packed)).members[0].frames[0]
    assert frame.method == "video"
    assert lmc.decompress(packed) == data
    return video.Layout.from_params(frame.params)


@pytest.mark.parametrize("space", SPACES)
def test_colour_spaces_come_back(space: str) -> None:
    geometry = Geometry(19, 14, SPACES[space], bits_of(space))
    data = make_y4m(moving(2, geometry), geometry, f"Ip A1:1 C{space}")
    assert layout_of(data, lmc.compress(data, 1)).geometry == geometry


def test_the_networks_are_those_of_the_format() -> None:
    text = (Path(__file__).parents[2] / "FORMAT.md").read_text()
    for number in (1, 2):
        digest = hashlib.sha256(VIDEOS.path(number).read_bytes()).hexdigest()
        assert f"| {number} | `{digest}` |" in text
    assert VIDEOS.optional(NONE) is None
    assert VIDEOS.open(1) is VIDEOS.open(1)
    with pytest.raises(KeyError):
        VIDEOS.open(15)


@pytest.mark.parametrize("level", [1, 6, 9])
@pytest.mark.parametrize("words", ["", "It A1:1", "Ib C420mpeg2 XCOLORRANGE=LIMITED XYSCSS=X"])
def test_levels_and_flags_come_back(level: int, words: str) -> None:
    samples, geometry = small()
    data = make_y4m(samples, geometry, words)
    packed = lmc.compress(data, level)
    layout = layout_of(data, packed)
    assert layout.effort == video.EFFORTS[level]
    assert layout.network == video.NETWORKS[level]
    assert len(packed) < 0.75 * len(data)


@pytest.mark.parametrize("width", [1, 2, 17])
@pytest.mark.parametrize("height", [1, 2, 3, 33])
def test_odd_sizes_come_back(width: int, height: int) -> None:
    geometry = Geometry(width, height, ((1, 1), (1, 1)), 8)
    data = make_y4m(moving(9, geometry), geometry, "C420jpeg")
    assert lmc.decompress(lmc.compress(data, 1)) == data


def test_what_lies_between_and_behind_frames_comes_back() -> None:
    samples, geometry = small()
    plain = make_y4m(samples, geometry, "Ip")
    for data in (
        make_y4m(samples, geometry, "Ip", b"FRAME Ixyz XNOTE=a b\n"),
        plain + b"FRAME\n" + b"cut",
        plain + b"FRA",
        plain + bytes(500),
    ):
        assert layout_of(data, lmc.compress(data, 1)).frames == 3


def test_bits_that_a_colour_space_has_not() -> None:
    samples, geometry = small(2, 10)
    samples[0, 7] = 1024
    data = make_y4m(samples, geometry, "C420p10")
    assert layout_of(data, lmc.compress(data, 1)).geometry.depth == 16


@pytest.mark.parametrize(
    "data",
    [
        b"YUV4MPEG2 ",
        b"YUV4MPEG2 W8 H8\n",
        b"YUV4MPEG2 W8 H8\nFRAME\n" + bytes(95),
        b"YUV4MPEG2 W8\nFRAME\n" + bytes(400),
        b"YUV4MPEG2 W0 H8\nFRAME\n" + bytes(400),
        b"YUV4MPEG2 W-8 H8\nFRAME\n" + bytes(400),
        b"YUV4MPEG2 W99999999 H99999999\nFRAME\n" + bytes(400),
        b"YUV4MPEG2 W8 H8 C420p11\nFRAME\n" + bytes(400),
        b"YUV4MPEG2 W8 H8 Cxyz\nFRAME\n" + bytes(400),
        b"YUV4MPEG2 W8 H8 XA=" + b"a" * 5000 + b"\nFRAME\n" + bytes(400),
        b"YUV4MPEG2 W8 H8\nFRAME" + bytes(5000),
    ],
)
def test_what_is_no_video_is_bytes(data: bytes) -> None:
    packed = lmc.compress(data, 1)
    assert lmc.decompress(packed) == data
    assert inspect(io.BytesIO(packed)).members[0].frames[0].method != "video"


LAYOUTS = {
    "yuv420p": (((1, 1), (1, 1)), 8),
    "yuv422p10le": (((1, 0), (1, 0)), 10),
    "yuv444p": (((0, 0), (0, 0)), 8),
    "yuva420p": (((1, 1), (1, 1), (0, 0)), 8),
    "gray": ((), 8),
    "gray16le": ((), 16),
    "gbrp": (((0, 0), (0, 0)), 8),
    "gbrap12le": (((0, 0), (0, 0), (0, 0)), 12),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_frames_without_a_header_come_back(layout: str) -> None:
    geometry = Geometry(22, 15, *LAYOUTS[layout])
    samples = moving(3, geometry)
    data = samples.astype("<u2" if geometry.depth > 8 else np.uint8).tobytes() + b"tail"
    packed = lmc.compress(data, 1, video=f"22x15:{layout}:30000/1001")
    assert layout_of(data, packed).geometry == geometry


@pytest.mark.parametrize("layout", ["rgb24", "bgr24", "rgba", "bgra", "rgb48le"])
def test_packed_pixels_come_back(layout: str) -> None:
    order = clips.raw.PACKED[layout]
    geometry = Geometry(20, 15, ((0, 0),) * (len(order) - 1), 16 if "48" in layout else 8)
    planes = moving(2, geometry).reshape(2, len(order), -1)
    pixels = np.empty_like(planes)
    pixels[:, list(order)] = planes
    kind = "<u2" if geometry.depth == 16 else np.uint8
    data = pixels.transpose(0, 2, 1).astype(kind).tobytes()
    packed = lmc.compress(data, 1, video=f"20x15:{layout}")
    assert layout_of(data, packed).geometry == geometry
    # Planes one after another are the same to the model.
    planar = {(3, 8): "gbrp", (4, 8): "gbrap", (3, 16): "gbrp16le"}
    name = planar[len(order), geometry.depth]
    alike = lmc.compress(planes.astype(kind).tobytes(), 1, video=f"20x15:{name}")
    assert abs(len(packed) - len(alike)) <= 8


@pytest.mark.parametrize(
    "stated",
    [
        *("", "x", "8x8", "8x8:", "0x8:gray", "8x8:yuv420", "8x8:yuv420p11le", "8x8:yuv420p10"),
        *("99999x8:gray", "8x8:gray:", "8x8:gray:25:1", "8x8:rgb", "8x8:gray8x8", "8x8:gray:a"),
    ],
)
def test_geometries_that_are_none(stated: str) -> None:
    if stated:
        with pytest.raises(lmc.Usage):
            Settings(video=stated)
    else:
        assert Settings(video=stated).video == ""


def test_a_geometry_that_does_not_fit_is_bytes() -> None:
    data = bytes(range(256)) * 4
    packed = lmc.compress(data, 1, video="640x480:yuv420p")
    assert lmc.decompress(packed) == data
    assert inspect(io.BytesIO(packed)).members[0].frames[0].method != "video"


def test_segments_and_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "SEGMENT_FRAMES", 3)
    samples, geometry = small(7)
    data = make_y4m(samples, geometry, "C420jpeg")
    packed = [lmc.compress(data, 1, threads=n) for n in (1, 2)]
    assert packed[0] == packed[1]
    assert layout_of(data, packed[0]).segments == 3
    assert lmc.decompress(packed[0], threads=1) == data


def test_still_pictures_cost_nearly_nothing() -> None:
    geometry = Geometry(64, 48, ((1, 1), (1, 1)), 8)
    one = moving(1, geometry)
    single, many = (
        len(lmc.compress(make_y4m(np.repeat(one, n, 0), geometry, "Ip"), 6)) for n in (1, 9)
    )
    assert many < single * 1.15


def test_a_scene_cut_costs_no_more_than_a_beginning() -> None:
    a = Geometry(64, 48, (), 8)
    first = moving(3, a)
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:48, :64]
    other = (128 + 90 * np.sin(x / 3) * np.sin(y / 2) + rng.normal(0, 2, (48, 64))).astype(
        np.uint16
    )
    second = np.repeat(other.reshape(1, -1), 1, 0)
    sizes = [
        len(lmc.compress(make_y4m(s, a, "Cmono"), 6))
        for s in (first, second, np.concatenate([first, second]))
    ]
    assert sizes[2] < 1.02 * (sizes[0] + sizes[1])


def test_other_codecs_take_it_as_bytes() -> None:
    samples, geometry = small()
    data = make_y4m(samples, geometry, "Ip")
    for codec in ("bytes", "image", "audio"):
        packed = lmc.compress(data, 1, codec=codec)
        assert inspect(io.BytesIO(packed)).members[0].frames[0].method != "video"
        assert lmc.decompress(packed) == data


def made() -> tuple[bytes, Frame]:
    samples, geometry = small(2)
    data = make_y4m(samples, geometry, "Ip")
    frame = video.encode(data, Settings(level=1))
    assert frame is not None
    return data, frame


def decode(data: bytes, params: bytes, payload: bytes) -> bytes:
    return codecs.decode_frame(video.METHOD, params, payload, len(data), None, 1)


def test_damaged_parts_are_told_or_differ() -> None:
    data, frame = made()
    assert decode(data, frame.params, frame.payload) == data
    rng = np.random.default_rng(1)
    for _ in range(60):
        payload = bytearray(frame.payload)
        payload[int(rng.integers(len(payload)))] ^= 1 << int(rng.integers(8))
        with suppress(Corrupt):
            decode(data, frame.params, bytes(payload))
    for cut in (0, 1, 5, len(frame.payload) // 2):
        with suppress(Corrupt):
            assert decode(data, frame.params, frame.payload[:cut]) != data


@given(st.binary(max_size=30))
@settings(max_examples=200, deadline=None)
def test_any_parameters_are_taken_or_corrupt(params: bytes) -> None:
    try:
        video.needs(params, 1000)
    except Corrupt:
        return
    video.describe(params)


@pytest.mark.parametrize(
    ("at", "to"),
    [(0, 0), (0, 3), (1, 3), (1, 33), (2, 40), (3, 2), (4, 0), (4, 17), (5, 4), (6, 3), (7, 48)],
)
def test_parameters_out_of_range_are_corrupt(at: int, to: int) -> None:
    data, frame = made()
    params = bytearray(frame.params)
    params[at] = to
    with pytest.raises(Corrupt):
        decode(data, bytes(params), frame.payload)


def test_a_claim_of_many_samples_takes_no_memory() -> None:
    layout = video.Layout(1, 0, 0, 1, 1, 1 << 8, Geometry(1 << 10, 1 << 10, (), 8))
    assert video.needs(layout.to_params(), 1 << 28) > 1 << 30
    with pytest.raises(Corrupt):
        decode(b"", layout.to_params(), b"\0\0\0\0")
    much = video.Layout(1, 0, 0, 1, 1, 1 << 8, Geometry(1 << 11, 1 << 11, (), 8))
    with pytest.raises(Corrupt):
        video.needs(much.to_params(), 1 << 28)


def test_recipes_for_another_shape_are_corrupt() -> None:
    samples, geometry = small(2)
    data = make_y4m(samples, geometry, "Ip")
    taken = clips.take_apart(data, None, 1 << 20)
    assert taken is not None
    assert clips.rebuild(1, taken.recipe, taken.samples, geometry) == data
    other = Geometry(21, 34, geometry.coarse, 8)
    for recipe in (b"", b"\0", taken.recipe[:9], b"\x05abcd\n" + taken.recipe):
        with pytest.raises(Corrupt):
            clips.rebuild(1, recipe, taken.samples, geometry)
    for format, shape in ((1, other), (3, geometry)):
        with pytest.raises(Corrupt):
            clips.rebuild(format, taken.recipe, taken.samples, shape)
    with pytest.raises(Corrupt):  # too large for a byte
        clips.rebuild(1, taken.recipe, taken.samples + np.uint16(250), geometry)
    with pytest.raises(Corrupt):
        clips.rebuild(2, struct.pack("BB", 0, 1), taken.samples, geometry)


def test_the_list_says_what_it_is() -> None:
    samples, geometry = small()
    packed = lmc.compress(make_y4m(samples, geometry, "Ip"), 1)
    frame = inspect(io.BytesIO(packed)).members[0].frames[0]
    assert frame.video == "Y4M, 34x21, 3 planes, 8 bit, 3 frames"
    assert frame.sample_bits is not None
    assert 0 < frame.sample_bits < 8


def encoded(codec: str, layout: str, samples: Array, geometry: Geometry) -> bytes:
    """An AVI file of these frames."""
    av = pytest.importorskip("av")
    out = io.BytesIO()
    with av.open(out, "w", format="avi") as file:
        stream = file.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = geometry.width, geometry.height, layout
        for values in samples:
            frame = av.VideoFrame(geometry.width, geometry.height, layout)
            at = 0
            for plane, (width, height, *_) in zip(frame.planes, geometry.planes, strict=True):
                kind = np.dtype("<u2" if geometry.depth > 8 else np.uint8)
                rows = np.frombuffer(memoryview(plane), kind)
                rows = rows.reshape(-1, plane.line_size // kind.itemsize)
                rows[:height, :width] = values[at : at + width * height].reshape(height, width)
                at += width * height
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return out.getvalue()


@pytest.mark.parametrize(
    ("layout", "coarse", "depth"),
    [("yuv420p", ((1, 1), (1, 1)), 8), ("yuv422p10le", ((1, 0), (1, 0)), 10), ("gray", (), 8)],
)
def test_frames_alone(layout: str, coarse: Any, depth: int) -> None:
    geometry = Geometry(34, 22, coarse, depth)
    samples = moving(3, geometry)
    data = encoded("ffv1", layout, samples, geometry)
    frames = lmc.decompress(lmc.compress(data, 1, frames=True))
    taken = clips.take_apart(frames, None, 1 << 20)
    assert taken is not None
    assert taken.geometry == geometry
    np.testing.assert_array_equal(taken.samples, samples)
    assert taken.rate == "25:1"
    # Else the file itself comes back, and so does what has no frames.
    assert lmc.decompress(lmc.compress(data, 1)) == data
    for other in (b"no video at all" * 40, data[:300]):
        assert lmc.decompress(lmc.compress(other, 1, frames=True)) == other
