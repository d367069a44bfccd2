"""Files of lossless video codecs: given back byte for byte; damage; other codecs; hostile parts."""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from dataclasses import replace
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
from lmc.codecs.base import Settings
from lmc.codecs.clips import Geometry, Video, ffv1, streams
from lmc.errors import Corrupt, LmcError
from lmc.info import inspect
from lmc.kernels import _native

HERE = Path(__file__).parent / "video"
MOST = 1 << 22
FILES = ("ffv1-3.mkv", "ffv1-3-sound.mkv", "ffv1-1.avi")
ALL = (*FILES, "ut-video.avi", "huffyuv.avi")

Array = NDArray[Any]


def file_of(name: str) -> bytes:
    return (HERE / name).read_bytes()


def intact(data: bytes) -> Video:
    """The video of a file that must be taken apart, and rebuilt from it."""
    pytest.importorskip("av")
    taken = clips.take_apart(data, None, MOST)
    assert taken is not None
    assert clips.rebuild(taken.format, taken.recipe, taken.samples, taken.geometry) == data
    return taken


def moving(frames: int, geometry: Geometry, seed: int = 0) -> list[list[Array]]:
    """Planes of frames with edges, noise, and flat parts."""
    rng = np.random.default_rng(seed)
    out = []
    for t in range(frames):
        planes = []
        for i, (width, height, *_) in enumerate(geometry.planes):
            y, x = np.mgrid[0:height, 0:width]
            wave = 0.45 + 0.3 * np.sin((x + 2 * t) / 6 + i) * np.cos((y - t) / 5)
            wave += 0.1 * ((x + t) // 9 % 2) + rng.normal(0, 0.01, x.shape)
            wave[: height // 3] = 0.25
            wave[-1] = rng.random(width)
            planes.append((wave.clip(0, 1) * ((1 << geometry.depth) - 1)).astype(np.uint16))
        out.append(planes)
    return out


def written(
    codec: str,
    layout: str,
    width: int,
    height: int,
    options: dict[str, Any],
    *,
    container: str = "matroska",
    frames: int = 4,
) -> tuple[bytes, list[list[Array]] | None]:
    """A file by FFmpeg, and its planes as PyAV decodes them; None for those of packed pixels."""
    av = pytest.importorskip("av")
    packed = layout in ("bgr0", "bgra")
    named = {"bgr0": "gray", "bgra": "gray"}.get(layout, layout)
    geometry = clips.state(f"{width * 4 if packed else width}x{height}:{named}").geometry
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as out:
        stream = out.add_stream(
            codec, rate=25, options={key: str(value) for key, value in options.items()}
        )
        stream.width, stream.height, stream.pix_fmt = width, height, layout
        for planes in moving(frames, geometry):
            frame = av.VideoFrame(width, height, layout)
            for plane, values in zip(frame.planes, planes, strict=True):
                kind = np.dtype("<u2" if geometry.depth > 8 else np.uint8)
                rows = np.zeros((values.shape[0], plane.line_size // kind.itemsize), kind)
                rows[:, : values.shape[1]] = values
                plane.update(rows.tobytes())
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    data = buffer.getvalue()
    if packed:
        return data, None
    decoded = []
    with av.open(io.BytesIO(data)) as file:
        for frame in file.decode(video=0):
            kind = np.dtype("<u2" if geometry.depth > 8 else np.uint8)
            decoded.append(
                [
                    np.frombuffer(memoryview(plane), kind).reshape(plane.height, -1)[
                        :, : plane.width
                    ]
                    for plane in frame.planes
                ]
            )
    return data, decoded


def packets_of(data: bytes) -> tuple[bytes, int, int, list[bytes]]:
    """Extradata, width, height and packets."""
    pytest.importorskip("av")
    _, extradata, width, height, _, packets = streams._demuxed(data)
    return extradata, width, height, packets


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("level", [1, 6])
def test_files_come_back(name: str, level: int) -> None:
    pytest.importorskip("av")
    data = file_of(name)
    packed = lmc.compress(data, level)
    assert lmc.decompress(packed) == data
    frame = inspect(io.BytesIO(packed)).members[0].frames[0]
    assert frame.video is not None
    assert frame.video.startswith(("FFV1, ", "Ut Video, ", "HuffYUV, "))
    assert len(packed) < len(lmc.compress(data, level, codec="bytes"))


@pytest.mark.parametrize("level", [0, 1, 3])
@pytest.mark.parametrize("coder", [0, 1, -2])
@pytest.mark.parametrize("context", [0, 1])
def test_ffv1_of_all_versions_and_coders(level: int, coder: int, context: int) -> None:
    options = {"level": level, "coder": coder, "context": context, "g": 2}
    data, decoded = written("ffv1", "yuv420p", 35, 22, options)
    check(data, decoded)


@pytest.mark.parametrize(
    "layout",
    [
        *("gray", "yuv410p", "yuv411p", "yuv420p", "yuv422p", "yuv440p", "yuv444p", "yuva444p"),
        *("gray10le", "gray16le", "yuv420p9le", "yuv422p10le", "yuv444p12le", "yuv444p14le"),
        *("yuv422p16le", "gbrp16le", "gbrap12le"),
    ],
)
def test_ffv1_of_all_layouts(layout: str) -> None:
    check(*written("ffv1", layout, 29, 23, {"level": 3}))


@pytest.mark.parametrize("layout", ["bgr0", "bgra", "gbrp10le"])
def test_ffv1_of_colours_in_an_order_of_its_own(layout: str) -> None:
    data, _ = written("ffv1", layout, 29, 23, {"level": 3})
    assert len(intact(data).geometry.planes) == 3 + (layout == "bgra")


@pytest.mark.parametrize("slices", [4, 6, 9, 12])
@pytest.mark.parametrize("more", [{"slicecrc": 0}, {"g": 1}, {"g": 4}, {"coder": 0, "slicecrc": 0}])
def test_ffv1_of_slices(slices: int, more: dict[str, int]) -> None:
    data, decoded = written("ffv1", "yuv420p", 68, 52, {"level": 3, "slices": slices, **more})
    check(data, decoded)


@pytest.mark.parametrize("level", [0, 1])
def test_ffv1_of_the_first_writers(level: int) -> None:
    """Their runs of coded bits end without a last 0."""
    av = pytest.importorskip("av")
    width, height = 34, 26
    options = {"level": level, "coder": 1, "g": 2}
    data, decoded = written("ffv1", "yuv420p", width, height, options, frames=30)
    _, _, _, packets = packets_of(data)
    taken = ffv1.take(packets, b"", width, height, MOST)
    assert taken is not None
    assert taken.side[0] == 0
    first = ffv1.give(taken.frames, "yuv420p", width, height, b"", b"\1" + taken.side[1:])
    assert first != packets  # but for most of them that 0 makes no difference
    context = av.CodecContext.create("ffv1", "r")
    context.width, context.height = width, height
    for packet, planes in zip(first, decoded or [], strict=True):
        (frame,) = context.decode(av.Packet(packet))
        luma = np.frombuffer(memoryview(frame.planes[0]), np.uint8).reshape(height, -1)
        np.testing.assert_array_equal(luma[:, :width], planes[0])
    again = ffv1.take(first, b"", width, height, MOST)
    assert again is not None
    assert again.side[0] == 1
    assert ffv1.give(again.frames, "yuv420p", width, height, b"", again.side) == first


@pytest.mark.parametrize("layout", ["yuv420p", "yuv422p", "yuv444p", "gbrp"])
def test_ut_video(layout: str) -> None:
    data, decoded = written("utvideo", layout, 36, 24, {"pred": "median"}, container="avi")
    check(data, decoded)
    assert lmc.decompress(lmc.compress(data, 1)) == data


@pytest.mark.parametrize(
    ("codec", "layout"),
    [
        ("huffyuv", "yuv422p"),
        ("ffvhuff", "yuv420p"),
        ("ffvhuff", "yuv444p10le"),
        ("ffvhuff", "gray"),
    ],
)
@pytest.mark.parametrize("pred", ["left", "median"])
def test_huffyuv(codec: str, layout: str, pred: str) -> None:
    data, decoded = written(codec, layout, 36, 24, {"pred": pred}, container="avi")
    check(data, decoded)
    assert lmc.decompress(lmc.compress(data, 1)) == data


def test_ffv1_in_other_containers() -> None:
    for container in ("avi", "nut"):
        data, decoded = written("ffv1", "yuv420p", 34, 26, {"level": 3}, container=container)
        if container == "avi":
            check(data, decoded)
        else:  # one that is not looked into
            packed = lmc.compress(data, 1)
            assert inspect(io.BytesIO(packed)).members[0].frames[0].video is None
            assert lmc.decompress(packed) == data


def check(data: bytes, decoded: list[list[Array]] | None) -> None:
    """The file comes back, and its samples are those that PyAV decodes."""
    taken = intact(data)
    assert decoded is not None
    flat = np.array([np.concatenate([plane.ravel() for plane in planes]) for planes in decoded])
    np.testing.assert_array_equal(taken.samples, flat)


def atom(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I", 8 + len(content)) + kind + content


def mov(
    code: bytes, extradata: bytes, width: int, height: int, packets: list[bytes], *, late: bool
) -> bytes:
    """A QuickTime file of one stream. late: what it says of itself comes last."""
    count, first = len(packets), 16 + 8
    matrix = struct.pack(">9I", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)

    def head(place: int) -> bytes:
        entry = bytes(6) + struct.pack(
            ">H16xHHIIIH32xHh", 1, width, height, 72 << 16, 72 << 16, 0, 1, 24, -1
        )
        entry += atom(b"glbl", extradata)
        table = atom(
            b"stbl",
            atom(b"stsd", struct.pack(">II", 0, 1), atom(code, entry)),
            atom(b"stts", struct.pack(">IIII", 0, 1, count, 1)),
            atom(b"stsc", struct.pack(">IIIII", 0, 1, 1, count, 1)),
            atom(b"stsz", struct.pack(f">III{count}I", 0, 0, count, *map(len, packets))),
            atom(b"stco", struct.pack(">III", 0, 1, place)),
        )
        media = atom(
            b"mdia",
            atom(b"mdhd", struct.pack(">IIIIIHH", 0, 0, 0, 25, count, 0, 0)),
            atom(b"hdlr", struct.pack(">I4s4s12xB", 0, b"mhlr", b"vide", 0)),
            atom(b"minf", atom(b"vmhd", struct.pack(">IHHHH", 1, 0, 0, 0, 0)), table),
        )
        track = struct.pack(">IIIIII8xHHHH", 1, 0, 0, 1, 0, count, 0, 0, 0, 0) + matrix
        movie = struct.pack(">IIIIIIH10x", 0, 0, 0, 25, count, 1 << 16, 256) + matrix
        return atom(
            b"moov",
            atom(b"mvhd", movie, bytes(24), struct.pack(">I", 2)),
            atom(
                b"trak", atom(b"tkhd", track, struct.pack(">II", width << 16, height << 16)), media
            ),
        )

    start = atom(b"ftyp", b"qt  ", bytes(4))
    content = atom(b"mdat", *packets)
    if late:
        return start + content + head(first)
    return start + head(first + len(head(0))) + content


@pytest.mark.parametrize("late", [False, True])
def test_mov(late: bool) -> None:
    data, decoded = written("ffv1", "yuv420p", 34, 26, {"level": 3})
    check(mov(b"FFV1", *packets_of(data), late=late), decoded)
    data, decoded = written("huffyuv", "yuv422p", 34, 26, {}, container="avi")
    check(mov(b"HFYU", *packets_of(data), late=late), decoded)
    data, decoded = written("utvideo", "yuv420p", 34, 26, {}, container="avi")
    whole = mov(b"ULY0", *packets_of(data), late=late)
    check(whole, decoded)
    assert lmc.decompress(lmc.compress(whole, 1)) == whole


def test_other_codecs_are_files_of_bytes() -> None:
    data, _ = written("mpeg4", "yuv420p", 48, 32, {}, container="avi")
    assert clips.take_apart(data, None, MOST) is None
    assert clips.take_apart(data.replace(b"FMP4", b"FFV1"), None, MOST) is None
    assert lmc.decompress(lmc.compress(data, 1)) == data
    two = file_of("ffv1-1.avi")
    assert lmc.decompress(lmc.compress(two, 1, codec="bytes")) == two
    assert clips.take_apart(two, None, 100) is None  # too many samples


def test_nothing_is_lost_without_pyav(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    data = file_of("ffv1-3.mkv")
    monkeypatch.setitem(sys.modules, "av", None)
    assert clips.take_apart(data, None, MOST) is None
    assert lmc.decompress(lmc.compress(data, 1)) == data


@pytest.mark.parametrize("name", ALL)
def test_files_that_are_damaged(name: str) -> None:
    pytest.importorskip("av")
    data, rng = file_of(name), np.random.default_rng(4)
    for cut in (0, 5, 40, len(data) // 2, len(data) - 1):
        assert lmc.decompress(lmc.compress(data[:cut], 1)) == data[:cut]
    for at in rng.integers(0, len(data), 60):
        other = bytearray(data)
        other[at] ^= 1 << int(rng.integers(8))
        taken = clips.take_apart(bytes(other), None, MOST)
        if taken is not None:
            again = clips.rebuild(taken.format, taken.recipe, taken.samples, taken.geometry)
            assert again == other


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_hostile_packets(drawn: st.DataObject) -> None:
    name = drawn.draw(st.sampled_from(FILES))
    extradata, width, height, packets = packets_of(file_of(name))
    packets, record = packets[:2], bytearray(extradata)
    victim = bytearray(packets[drawn.draw(st.integers(0, 1))])
    for _ in range(drawn.draw(st.integers(1, 4))):
        target = drawn.draw(st.sampled_from([victim, record])) or victim
        target[drawn.draw(st.integers(0, len(target) - 1))] = drawn.draw(st.integers(0, 255))
    victim = victim[: drawn.draw(st.integers(0, len(victim)))] or victim
    side_ways = drawn.draw(st.sampled_from([(width, height), (1, 1), (height, width), (4096, 3)]))
    taken = ffv1.take([bytes(victim), *packets], bytes(record), *side_ways, MOST)
    if taken is not None:
        with suppress(Corrupt):
            ffv1.give(taken.frames, taken.format, *side_ways, bytes(record), taken.side)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_hostile_sides(drawn: st.DataObject) -> None:
    name = drawn.draw(st.sampled_from(FILES))
    extradata, width, height, packets = packets_of(file_of(name))
    taken = ffv1.take(packets[:2], extradata, width, height, MOST)
    assert taken is not None
    side, record = bytearray(taken.side), bytearray(extradata)
    for _ in range(drawn.draw(st.integers(1, 4))):
        target = drawn.draw(st.sampled_from([side, side, record])) or side
        target[drawn.draw(st.integers(0, len(target) - 1))] = drawn.draw(st.integers(0, 255))
    side = side[: drawn.draw(st.integers(0, len(side)))] if drawn.draw(st.booleans()) else side
    with suppress(Corrupt):
        made = ffv1.give(taken.frames, taken.format, width, height, bytes(record), bytes(side))
        assert sum(map(len, made)) < 100 * width * height * 2


def test_hostile_recipes() -> None:
    taken = intact(file_of("ffv1-3.mkv"))
    recipe, samples, geometry = taken.recipe, taken.samples, taken.geometry
    others = (
        replace(geometry, depth=11),
        replace(geometry, depth=10),
        replace(geometry, coarse=((1, 0), (1, 0))),
        replace(geometry, coarse=((1, 1), (2, 0))),
        replace(geometry, coarse=()),
    )
    for other in others:
        wrong = np.zeros((len(samples), other.frame), np.uint16)
        with pytest.raises(Corrupt):
            clips.rebuild(taken.format, recipe, wrong, other)
    for bad in (b"", b"\1" + recipe[1:], recipe[:30], recipe[:-3000], b"\2" + recipe[1:]):
        with pytest.raises(Corrupt):
            clips.rebuild(taken.format, bad, samples, geometry)
    with pytest.raises(Corrupt):
        clips.rebuild(taken.format, recipe, samples[:-1], geometry)


def test_hostile_frames() -> None:
    pytest.importorskip("av")
    data, rng = file_of("ffv1-3.mkv"), np.random.default_rng(5)
    frame = codecs.whole_of(data, Settings(level=1))
    assert frame is not None
    assert frame.method == video.METHOD
    for at in rng.integers(0, len(frame.payload), 100):
        payload = bytearray(frame.payload)
        payload[at] ^= 1 << int(rng.integers(8))
        with suppress(LmcError):
            video.decode_frame(11, frame.params, bytes(payload), len(data), None, 1)
    packed = bytearray(lmc.compress(data, 1))
    packed[len(packed) // 2] ^= 4
    with pytest.raises(LmcError):
        lmc.decompress(bytes(packed))


def test_the_most_that_a_side_can_ask_for() -> None:
    """A grid of slices that all have the whole picture, or contexts beyond all measure."""
    extradata, width, height, packets = packets_of(file_of("ffv1-3.mkv"))
    found = _native.ffv1_take(packets[:1], extradata, width, height, MOST)
    assert found is not None
    samples, bits, coarse, colours, side = found
    shape = bits, coarse, colours
    fields = list(side[2:])
    assert len(fields) == side[1] - 1
    each = (len(fields) - 2) // 4  # fields of a slice
    doubled = [fields[0] * 2, fields[1], *fields[2:], *fields[2 : 2 + 4 * each]]
    with pytest.raises(_native.Damaged):
        _native.ffv1_give(
            samples, *shape, bytes([0, len(doubled) + 1, *doubled]), extradata, width, height
        )
    with pytest.raises(_native.Damaged):
        _native.ffv1_give(
            samples, *shape, b"\0\xff\xff\xff\xff\x0f" + side[1:], extradata, width, height
        )
