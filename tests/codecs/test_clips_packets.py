"""Packets of lossless video, taken apart and made again; PyAV writes and decodes them, too."""

from __future__ import annotations

import io
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmc.codecs.clips import huffyuv, utvideo
from lmc.codecs.clips import packets as base
from lmc.codecs.clips.packets import Frame, Taken
from lmc.errors import Corrupt
from lmc.kernels import _native

av = pytest.importorskip("av")

INFO = b"\xf0\0\0\1YV24\4\0\0\0\1\0\0"  # the last byte is the number of slices less one


def picture(kind: str, width: int, height: int, seed: int) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    if kind == "flat":
        return np.full((height, width), 77)
    if kind == "noise":
        return rng.integers(0, 1 << 16, (height, width))
    ramp: np.ndarray[Any, Any] = 2 * x + 3 * y + 5 * seed + rng.integers(0, 6, (height, width))
    return ramp


def write(
    codec: str,
    layout: str,
    size: tuple[int, int] = (48, 32),
    kind: str = "ramp",
    frames: int = 3,
    **options: Any,
) -> tuple[list[bytes], bytes, list[Frame]]:
    """Packets, extradata, and what PyAV decodes."""
    width, height = size
    file = io.BytesIO()
    with av.open(file, "w", format="avi") as out:
        stream = out.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.options = width, height, layout, options
        for t in range(frames):
            frame = av.VideoFrame(width, height, layout)
            for i, plane in enumerate(frame.planes):
                samples = picture(kind, plane.width, plane.height, 7 * t + i)
                depth = frame.format.components[0].bits
                kept = (samples & ((1 << depth) - 1)).astype("<u2" if depth > 8 else np.uint8)
                rows = np.zeros((plane.height, plane.line_size // kept.itemsize), kept.dtype)
                rows[:, : plane.width] = kept
                plane.update(rows.tobytes())
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    with av.open(io.BytesIO(file.getvalue())) as source:
        stream = source.streams.video[0]
        packets = [packet for packet in source.demux(stream) if packet.size]
        extradata = bytes(stream.codec_context.extradata)
        pictures = [planes(f) for packet in packets for f in stream.codec_context.decode(packet)]
        pictures += [planes(f) for f in stream.codec_context.decode(None)]
    assert len(packets) == frames == len(pictures)
    return [bytes(packet) for packet in packets], extradata, pictures


def planes(frame: Any) -> Frame:
    kind = np.dtype("<u2" if frame.format.components[0].bits > 8 else np.uint8)
    return [
        np.frombuffer(memoryview(p), kind).reshape(p.height, -1)[:, : p.width] for p in frame.planes
    ]


def check(codec: ModuleType, size: tuple[int, int], written: Any, layout: str) -> Taken:
    packets, extradata, pictures = written
    taken: Taken | None = codec.take(packets, extradata, *size)
    assert taken is not None
    assert taken.format == layout
    for mine, decoded in zip(taken.frames, pictures, strict=True):
        for a, b in zip(mine, decoded, strict=True):
            np.testing.assert_array_equal(a, b)
    assert codec.give(taken.frames, layout, *size, extradata, taken.side) == packets
    return taken


@pytest.mark.parametrize("layout", ["yuv420p", "yuv422p", "yuv444p", "gbrp", "gbrap"])
@pytest.mark.parametrize("pred", ["none", "left", "median"])
@pytest.mark.parametrize("slices", ["1", "3", "16"])
def test_utvideo(layout: str, pred: str, slices: str) -> None:
    written = write("utvideo", layout, pred=pred, slices=slices)
    taken = check(utvideo, (48, 32), written, layout)
    assert len(taken.side) < 10  # FFmpeg's own: nothing but the rules


@pytest.mark.parametrize("kind", ["flat", "noise"])
@pytest.mark.parametrize("size", [(2, 2), (4, 34), (130, 18)])
def test_utvideo_of_other_content(kind: str, size: tuple[int, int]) -> None:
    for layout in ("yuv420p", "yuv444p"):
        check(utvideo, size, write("utvideo", layout, size, kind, pred="median"), layout)


def test_utvideo_of_odd_sides() -> None:
    size = (33, 17)
    check(utvideo, size, write("utvideo", "yuv444p", size, pred="median", slices="4"), "yuv444p")


@pytest.mark.parametrize("layout", ["yuv420p", "yuv444p"])
@pytest.mark.parametrize("pred", [1, 3])
def test_utvideo_interlaced(layout: str, pred: int) -> None:
    """FFmpeg only reads it."""
    size, extradata = (40, 36), INFO[:13] + b"\x08\0\2"
    sides = base.sides(layout, *size)
    assert sides is not None
    frame = [picture("ramp", w, h, w).astype(np.uint8) for w, h in sides]
    side = b"\1\0" + bytes([pred]) + bytes(5)
    packets = utvideo.give([frame] * 2, layout, *size, extradata, side)
    tag = "ULY0" if layout == "yuv420p" else "ULY4"
    assert decoded(packets[1], extradata, size, tag) == [plane.tobytes() for plane in frame]
    taken = utvideo.take(packets, extradata, *size)
    assert taken is not None
    assert (taken.format, taken.side) == (layout, side)
    assert utvideo.take(packets, extradata, 40, 38) is None


@pytest.mark.parametrize("info", [b"\0\0\0\0", b"\0\1\0\0", b"\0\2\0\0", b"\x12\3\0\x34"])
@pytest.mark.parametrize("rule", [0, 1, 2])
def test_utvideo_of_other_writers(info: bytes, rule: int) -> None:
    """Each prediction and each rule of lengths: PyAV decodes what is written."""
    size, extradata = (40, 30), INFO + b"\2"
    frame = [picture("ramp", *size, i).astype(np.uint8) for i in range(3)]
    side = b"\1" + info + bytes([rule] * 3)
    packets = utvideo.give([frame] * 2, "yuv444p", *size, extradata, side)
    assert decoded(packets[1], extradata, size) == [plane.tobytes() for plane in frame]
    taken = utvideo.take(packets, extradata, *size)
    assert taken is not None
    assert utvideo.give(taken.frames, "yuv444p", *size, extradata, taken.side) == packets
    assert len(taken.side) == len(side)  # two rules may give the same lengths
    assert all(np.array_equal(a, b) for a, b in zip(taken.frames[0], frame, strict=True))


def test_utvideo_with_lengths_of_no_rule() -> None:
    size, extradata = (40, 30), INFO + b"\2"
    frame = [picture("ramp", *size, i).astype(np.uint8) for i in range(3)]
    plain = b"\0\1\0\0"
    usual = utvideo.give([frame], "yuv444p", *size, extradata, b"\1" + plain + bytes(3))[0][:256]
    flat = bytes((8 - length) % 256 for length in usual)
    side = b"\0" + 2 * (plain + b"\3" + flat + bytes(2)) + plain + bytes(3)
    packets = utvideo.give([frame] * 3, "yuv444p", *size, extradata, side)
    assert packets[1][:256] == bytes([8]) * 256
    assert decoded(packets[1], extradata, size) == [plane.tobytes() for plane in frame]
    taken = utvideo.take(packets, extradata, *size)
    assert taken is not None
    assert taken.side == side


def decoded(
    packet: bytes, extradata: bytes, size: tuple[int, int], tag: str = "ULY4"
) -> list[bytes]:
    context = av.CodecContext.create("utvideo", "r")
    context.extradata, context.width, context.height = extradata, *size
    context.codec_tag = tag
    frames = [*context.decode(av.Packet(packet)), *context.decode(None)]
    return [plane.tobytes() for plane in planes(frames[0])]


def test_utvideo_that_is_not_understood() -> None:
    packets, extradata, _ = write("utvideo", "yuv420p")
    size = (48, 32)
    assert utvideo.take([], extradata, *size) is None
    assert utvideo.take([b""], extradata, *size) is None
    assert utvideo.take(packets, extradata[:15], *size) is None
    assert utvideo.take(packets, extradata[:12] + b"\0" + extradata[13:], *size) is None
    assert utvideo.take(packets, extradata, 50, 32) is None
    assert utvideo.take(packets, extradata, *size, 3 * 48 * 32) is None  # more samples than that
    assert utvideo.take([*packets, packets[0] + bytes(4)], extradata, *size) is None
    assert utvideo.take(packets, extradata, 1 << 30, 1 << 30) is None


PREDICTIONS = ["left", "plane", "median"]
FIELDS: list[dict[str, Any]] = [{}, {"flags": "+ilme"}]
LAYOUTS = [
    "yuv420p",
    "yuv422p",
    "yuv444p",
    "yuv440p",
    "yuv411p",
    "yuv410p",
    "gray",
    "gbrp",
    "yuv420p10le",
    "yuv422p16le",
    "yuv444p12le",
    "gbrp10le",
    "gray16le",
]


@pytest.mark.parametrize("pred", PREDICTIONS)
@pytest.mark.parametrize("fields", FIELDS)
def test_huffyuv(pred: str, fields: dict[str, Any]) -> None:
    written = write("huffyuv", "yuv422p", pred=pred, **fields)
    taken = check(huffyuv, (48, 32), written, "yuv422p")
    assert taken.side == b"\1"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("pred", PREDICTIONS)
@pytest.mark.parametrize("fields", FIELDS)
@pytest.mark.parametrize("context", ["0", "1"])
def test_ffvhuff(layout: str, pred: str, fields: dict[str, Any], context: str) -> None:
    """With tables in the extradata, and in each packet: those follow from the packets before."""
    options: dict[str, Any] = {"pred": pred, "context": context, "non_deterministic": "0"}
    taken = check(huffyuv, (48, 32), write("ffvhuff", layout, **options, **fields), layout)
    assert taken.side == b"\1"


@pytest.mark.parametrize("kind", ["flat", "noise"])
@pytest.mark.parametrize("layout", ["yuv420p", "yuv422p", "yuv444p", "yuv444p10le", "gray16le"])
@pytest.mark.parametrize("size", [(8, 8), (52, 38), (20, 290)])
def test_ffvhuff_of_other_content(kind: str, layout: str, size: tuple[int, int]) -> None:
    for context in "01":
        written = write("ffvhuff", layout, size, kind, 2, pred="median", context=context)
        check(huffyuv, size, written, layout)


def test_ffvhuff_of_odd_sides() -> None:
    for layout in ("yuv444p", "gray"):
        check(huffyuv, (33, 17), write("ffvhuff", layout, (33, 17), pred="plane"), layout)


def test_tables_that_do_not_follow() -> None:
    """A stream that begins in its middle: the tables are said."""
    size = (48, 32)
    packets, extradata, pictures = write("ffvhuff", "yuv422p", context="1", non_deterministic="0")
    taken = check(huffyuv, size, (packets[1:], extradata, pictures[1:]), "yuv422p")
    assert len(taken.side) > 768
    with pytest.raises(Corrupt):
        huffyuv.give(taken.frames, "yuv422p", *size, extradata, taken.side[:-1])


def test_huffyuv_that_is_not_understood() -> None:
    size = (48, 32)
    packets, extradata, _ = write("ffvhuff", "yuv420p", pred="median")
    assert huffyuv.take([], extradata, *size) is None
    assert huffyuv.take([b""], extradata, *size) is None
    assert huffyuv.take(packets, b"", *size) is None
    assert huffyuv.take(packets, extradata[:-1], *size) is None
    assert huffyuv.take(packets, b"\3" + extradata[1:], *size) is None
    assert huffyuv.take(packets, extradata, 46, 32) is None
    assert huffyuv.take(packets, extradata, 48, 2) is None  # rows that are always there
    assert huffyuv.take(packets, extradata, 1 << 14, 1 << 14) is None
    assert huffyuv.take(packets, extradata, *size, 3 * 48 * 32) is None
    assert huffyuv.take([packets[0] + bytes(4)], extradata, *size) is None
    packets, extradata, _ = write("huffyuv", "rgb24")  # packed colours
    assert huffyuv.take(packets, extradata, *size) is None
    packets, extradata, _ = write("ffvhuff", "yuva420p")
    assert huffyuv.take(packets, extradata, *size) is None


@pytest.fixture(scope="module")
def streams() -> list[tuple[ModuleType, list[bytes], bytes, Taken]]:
    """One of each kind, small."""
    out = []
    kinds: list[tuple[ModuleType, str, dict[str, str]]] = [
        (utvideo, "utvideo", {"pred": "median", "slices": "2"}),
        (huffyuv, "huffyuv", {"pred": "median"}),
        (huffyuv, "ffvhuff", {"pred": "plane", "context": "1"}),
    ]
    for codec, name, options in kinds:
        packets, extradata, _ = write(name, "yuv422p", (16, 8), frames=2, **options)
        taken = codec.take(packets, extradata, 16, 8)
        assert taken is not None
        out.append((codec, packets, extradata, taken))
    return out


def damage(data: bytes, at: int, how: int) -> bytes:
    at %= len(data)
    return data[:at] if how == 0 else data[:at] + bytes([data[at] ^ how]) + data[at + 1 :]


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 1 << 20), st.integers(0, 255))
def test_damaged_packets(streams: Any, at: int, how: int) -> None:
    """What is taken comes back; most is not taken."""
    for codec, packets, extradata, _ in streams:
        for wrong, head in (
            ([damage(packets[0], at, how), packets[1]], extradata),
            (packets, damage(extradata, at, how)),
        ):
            taken = codec.take(wrong, head, 16, 8)
            if taken is not None:
                again = codec.give(taken.frames, taken.format, 16, 8, head, taken.side)
                assert again == wrong


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 1 << 20), st.integers(0, 255), st.binary(max_size=40))
def test_damaged_descriptions(streams: Any, at: int, how: int, other: bytes) -> None:
    for codec, _, extradata, taken in streams:
        for head, side in (
            (extradata, damage(taken.side, at, how)),
            (damage(extradata, at, how), taken.side),
            (extradata, taken.side + other),
            (extradata, other),
            (other, taken.side),
        ):
            try:
                packets = codec.give(taken.frames, taken.format, 16, 8, head, side)
            except Corrupt:
                continue
            assert len(packets) == len(taken.frames)
            assert sum(map(len, packets)) < 1 << 20


def test_frames_of_another_shape(streams: Any) -> None:
    for codec, _, extradata, taken in streams:
        frame = taken.frames[0]
        for wrong in (frame[:-1], [plane[1:] for plane in frame]):
            with pytest.raises(Corrupt):
                codec.give([wrong], taken.format, 16, 8, extradata, taken.side)
        wide = [plane.astype(np.uint16) << 8 for plane in frame]
        with pytest.raises(Corrupt):
            codec.give([wide], taken.format, 16, 8, extradata, taken.side)


def test_kernels_say_no_to_shapes_that_none_has() -> None:
    for shape, slices in (
        ([], 1),
        ([(4, 4, False)], 0),
        ([(4, 4, False)], 257),
        ([(4, 3, True)], 1),
        ([(0, 4, False)], 1),
    ):
        with pytest.raises(ValueError, match="no such"):
            _native.utvideo_read(b"", shape, slices)


def test_sides() -> None:
    assert base.sides("yuv420p", 6, 4) == [(6, 4), (3, 2), (3, 2)]
    assert base.sides("yuv420p", 6, 5) is None
    assert base.sides("yuv410p16le", 8, 4) == [(8, 4), (2, 1), (2, 1)]
    assert base.sides("bgr0", 6, 4) is None
    assert base.sides("", 6, 4) is None
    assert base.sides("gray", 0, 4) is None
