"""Image files taken apart: what is rebuilt is the file, and damage is no more than an error."""

from __future__ import annotations

import io
import random
import struct
import subprocess
import sys
import time
import zlib
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lmc.codecs import pictures
from lmc.codecs.pictures import Geometry, Picture, base, png, zlib_stream
from lmc.errors import Corrupt
from lmc.kernels import _native

MOST = 1 << 20
CLASSIC = "ng" not in zlib.ZLIB_RUNTIME_VERSION  # zlib itself, and not one with other choices
Array = NDArray[Any]


def scene(height: int, width: int, channels: int, depth: int, seed: int = 1) -> Array:
    """Something between a photograph and a drawing."""
    rng = np.random.default_rng(seed)
    y, x, c = np.mgrid[:height, :width, :channels]
    wave = np.sin(x / 9 + c) + np.cos(y / 7 - c) + rng.normal(0, 0.05, y.shape)
    wave[(x // 16 + y // 16) % 3 == 0] = 0.5
    most = (1 << depth) - 1
    samples = np.clip((wave / 4 + 0.5) * most, 0, most)
    return np.asarray(samples, np.uint16 if depth > 8 else np.uint8)


def chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def deflated(data: bytes, *options: Any) -> bytes:
    coder = zlib.compressobj(*options)
    return coder.compress(data) + coder.flush()


def filtered(samples: Array, depth: int, filters: random.Random | int) -> bytes:
    """Rows as PNG has them, with a filter for all or with random ones."""
    height, _, channels = samples.shape
    bits = np.unpackbits(
        samples.astype(">u2").reshape(height, -1, 1).view(np.uint8), axis=2, count=None
    )[:, :, 16 - depth :]
    rows = np.packbits(bits.reshape(height, -1), axis=1).astype(int)
    step = max(1, channels * depth // 8)
    out = []
    above = np.zeros(rows.shape[1], int)
    for row in rows:
        left = np.concatenate([np.zeros(step, int), row])[: len(row)]
        corner = np.concatenate([np.zeros(step, int), above])[: len(row)]
        guess = left + above - corner
        far = np.abs(np.array([guess - left, guess - above, guess - corner]))
        paeth = np.choose(far.argmin(axis=0), [left, above, corner])
        kind = filters if isinstance(filters, int) else filters.randrange(5)
        predicted = (0 * left, left, above, (left + above) // 2, paeth)[kind]
        out.append(bytes([kind]) + bytes(((row - predicted) % 256).tolist()))
        above = row
    return b"".join(out)


def make_png(
    samples: Array,
    depth: int,
    colour: int,
    interlaced: bool = False,
    filters: random.Random | int = 1,
    options: tuple[int, ...] = (6,),
    part: int = 8192,
    extra: bytes = b"",
) -> bytes:
    height, width, _ = samples.shape
    starts = [(0, 0, 1, 1)]
    if interlaced:
        starts = [
            (0, 0, 8, 8),
            (4, 0, 8, 8),
            (0, 4, 4, 8),
            (2, 0, 4, 4),
            (0, 2, 2, 4),
            (1, 0, 2, 2),
        ]
        starts.append((0, 1, 1, 2))
    rows = b""
    for x, y, dx, dy in starts:
        if samples[y::dy, x::dx].size:
            rows += filtered(samples[y::dy, x::dx], depth, filters)
    stream = deflated(rows, *options)
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlaced))
    palette = chunk(b"PLTE", bytes(range(256)) * 3) if colour == 3 else b""
    data = [chunk(b"IDAT", stream[at : at + part]) for at in range(0, len(stream), part)]
    return png.MAGIC + chunk(b"IHDR", head) + extra + palette + b"".join(data) + chunk(b"IEND", b"")


def make_bmp(samples: Array, bits: int, stray: int = 0) -> bytes:
    height, width, _ = samples.shape
    colours = 1 << bits if bits <= 8 else 0
    row = (width * bits + 31) // 32 * 4
    packed = base.pack(samples[::-1, :, ::-1] if bits == 24 else samples[::-1], min(bits, 8))
    rows = np.pad(packed, ((0, 0), (0, row - packed.shape[1])), constant_values=stray)
    start = 54 + 4 * colours
    head = struct.pack("<2sIIIIiiHHII16x", b"BM", 0, 0, start, 40, width, height, 1, bits, 0, 0)
    return (
        head
        + bytes(range(256)) * 4 * (colours > 0) * (colours == 256)
        + (bytes(4 * colours) if 0 < colours < 256 else b"")
        + rows.tobytes()
    )


def make_tiff(
    samples: Array, depth: int, order: str, compressed: bool, predicted: bool, rows: int
) -> bytes:
    height, width, channels = samples.shape
    strips = []
    for y in range(0, height, rows):
        part = samples[y : y + rows]
        if predicted:
            part = np.diff(part, axis=1, prepend=part.dtype.type(0))
        data = part.astype(f"{order}u{depth // 8}").tobytes()
        strips.append(zlib.compress(data, 6) if compressed else data)
    entries = [
        (256, 4, [width]),
        (257, 4, [height]),
        (258, 3, [depth] * channels),
        (259, 3, [8 if compressed else 1]),
        (262, 3, [2 if channels > 2 else 1]),
        (273, 4, [0] * len(strips)),
        (277, 3, [channels]),
        (278, 4, [rows]),
        (279, 4, [len(s) for s in strips]),
        (317, 3, [2 if predicted else 1]),
    ]
    at = 8 + 2 + 12 * len(entries) + 4
    sizes = {3: 2, 4: 4}
    at += sum(sizes[t] * len(v) for _, t, v in entries if sizes[t] * len(v) > 4)
    offsets = entries[5][2]
    for i, strip in enumerate(strips):
        offsets[i] = at
        at += len(strip)
    head = struct.pack(order + "2sHIH", b"II" if order == "<" else b"MM", 42, 8, len(entries))
    late, place = b"", 8 + 2 + 12 * len(entries) + 4
    for tag, type_, values in entries:
        data = struct.pack(f"{order}{len(values)}{'H' if type_ == 3 else 'I'}", *values)
        if len(data) > 4:
            late += data
            data, place = struct.pack(order + "I", place), place + len(data)
        head += struct.pack(order + "HHI", tag, type_, len(values)) + data.ljust(4, b"\0")
    return head + bytes(4) + late + b"".join(strips)


def taken(data: bytes) -> Picture:
    picture = pictures.take_apart(data, MOST)
    assert picture is not None
    assert pictures.rebuild(picture.format, picture.recipe, picture.samples) == data
    return picture


# ---- deflate ----

CONTENT = scene(90, 150, 3, 8).tobytes() + bytes(20000) + scene(60, 60, 1, 8, 2).tobytes() * 2


@pytest.mark.parametrize("level", range(1, 10))
@pytest.mark.parametrize("strategy", range(5))
def test_zlib_needs_only_its_parameters(level: int, strategy: int) -> None:
    for window, memory in ((15, 8), (15, 9), (9, 1), (12, 5)):
        stream = deflated(CONTENT, level, 8, window, memory, strategy)
        content, recipe = zlib_stream.take_apart(stream, len(CONTENT))
        assert content == CONTENT
        assert zlib_stream.rebuild(recipe, content) == stream
        if CLASSIC and memory > 1:  # the smallest memory stores some blocks, which hides tokens
            assert len(recipe) < 80


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 257, 258, 259, 260, 300, 32768, 65536 + 261])
def test_any_size(size: int) -> None:
    for content in (bytes(size), random.Random(size).randbytes(size), (b"abcab" * size)[:size]):
        for level in (0, 1, 6, 9):
            stream = zlib.compress(content, level)
            found, recipe = zlib_stream.take_apart(stream, size)
            assert found == content
            assert zlib_stream.rebuild(recipe, content) == stream


def test_flushes_and_changes_of_level() -> None:
    coder = zlib.compressobj(9)
    stream = coder.compress(CONTENT[:5000]) + coder.flush(zlib.Z_SYNC_FLUSH)
    stream += coder.compress(CONTENT[5000:9000]) + coder.flush(zlib.Z_FULL_FLUSH)
    stream += coder.compress(CONTENT[9000:]) + coder.flush()
    content, recipe = zlib_stream.take_apart(stream, len(CONTENT))
    assert zlib_stream.rebuild(recipe, content) == stream


class Cheapest:
    """A writer that is not zlib: every match as short and as near as it may be, fixed codes."""

    def __init__(self, content: bytes) -> None:
        self.bits = "110"  # the last block, fixed codes; bits in the order written
        at = 0
        while at < len(content):
            near = content.rfind(content[at : at + 3], max(0, at - 4), at + 2)
            if 0 <= near < at and at + 3 <= len(content):
                self.code(257 - 256, 7)
                self.code(at - near - 1, 5)
                at += 3
            else:
                byte = content[at]
                self.code(0x30 + byte if byte < 144 else 0x190 + byte - 144, 8 + (byte >= 144))
                at += 1
        self.code(0, 7)

    def code(self, value: int, bits: int) -> None:
        self.bits += format(value, f"0{bits}b")

    def stream(self) -> bytes:
        padded = self.bits + "0" * (-len(self.bits) % 8)
        return bytes(int(padded[i : i + 8][::-1], 2) for i in range(0, len(padded), 8))


def test_a_writer_that_is_not_zlib() -> None:
    content = CONTENT[:4000] + b"xyzxyzxyz" * 200
    stream = Cheapest(content).stream()
    assert zlib.decompress(stream, -15) == content
    found = _native.inflate(stream, len(content), 15, len(stream))
    assert found is not None
    assert found[0] == content
    assert found[2] == len(stream)
    assert _native.deflate(found[1], content) == stream


def test_inflate_stops_at_the_expected_size() -> None:
    bomb = zlib.compress(bytes(50_000_000), 9)[2:]
    began = time.perf_counter()
    assert _native.inflate(bomb, 1000, 15, 1000) is None
    assert time.perf_counter() - began < 0.5
    assert _native.inflate(zlib.compress(b"short")[2:], 1000, 15, 1000) is None
    assert _native.inflate(b"", 0, 15, 1000) is None


def test_damaged_streams_and_recipes() -> None:
    rng = random.Random(5)
    stream = zlib.compress(CONTENT[:6000], 9)[2:]
    found = _native.inflate(stream, 6000, 15, 6000)
    assert found is not None
    for _ in range(400):
        bad = bytearray(stream)
        bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        other = _native.inflate(bytes(bad), 6000, 15, 1 << 20)
        if other is not None:
            assert _native.deflate(other[1], other[0]) == bytes(bad)[: other[2]]
    for source in (found[1], _native.inflate(Cheapest(CONTENT[:900]).stream(), 900, 15, 9999)[1]):  # type: ignore[index]
        for _ in range(1500):
            bad = bytearray(source)
            for _ in range(rng.randrange(1, 4)):
                bad[rng.randrange(len(bad))] = rng.randrange(256)
            with suppress(_native.Damaged):
                assert len(_native.deflate(bytes(bad), CONTENT[:900])) < 1 << 20


def test_checksums() -> None:
    for content in (b"", b"a", CONTENT):
        assert _native.crc32(content) == zlib.crc32(content)
        assert _native.adler32(content) == zlib.adler32(content)


# ---- files ----

COLOURS = [(c, d) for c, depths in png.DEPTHS.items() for d in depths]


@pytest.mark.parametrize(("colour", "depth"), COLOURS)
@pytest.mark.parametrize("interlaced", [False, True])
def test_png_of_every_kind(colour: int, depth: int, interlaced: bool) -> None:
    kind, channels = png.COLOURS[colour]
    for height, width in ((1, 1), (3, 2), (37, 45)):
        samples = scene(height, width, channels, depth)
        data = make_png(samples, depth, colour, interlaced, random.Random(depth))
        picture = taken(data)
        assert picture.samples.dtype == samples.dtype
        assert np.array_equal(picture.samples, samples)
        assert (picture.kind, picture.depth, picture.format) == (kind, depth, 1)
        assert (picture.palette is not None) == (colour == 3)
        assert pictures.geometry(data[:64]) == Geometry(width, height, channels, depth)


def test_usual_pngs_have_small_recipes() -> None:
    samples = scene(120, 160, 3, 8)
    for filters in range(5):
        for options in ((9, 8, 15, 9, 1), (6, 8, 15, 8, 0), (1,)):
            picture = taken(make_png(samples, 8, 2, False, filters, options))
            assert not CLASSIC or len(picture.recipe) < 80


def test_filters_as_libpng_chooses_them() -> None:
    samples = scene(50, 60, 3, 8)
    rows = samples.reshape(50, -1).tobytes()
    usual = _native.png_usual_filters(rows, 50, 180, 3)
    assert len(set(usual)) > 1
    sums = [
        [
            sum(min(b, 256 - b) for b in filtered(samples, 8, f)[181 * y + 1 : 181 * y + 181])
            for f in range(5)
        ]
        for y in range(50)
    ]
    assert list(usual) == [row.index(min(row)) for row in sums]
    stream = _native.png_filter(rows, usual, 180, 3)
    assert _native.png_unfilter(stream, 50, 180, 3) == (rows, usual)


def test_png_with_other_chunks() -> None:
    profile = b"a profile " * 300
    text = b"Comment\0\1\0\0\0" + zlib.compress(profile)
    extra = chunk(b"iCCP", b"name\0\0" + zlib.compress(profile, 9)) + chunk(b"iTXt", text)
    extra += chunk(b"zTXt", b"no stream\0\0nothing") + chunk(b"tEXt", b"plain\0text")
    data = make_png(scene(20, 30, 3, 8), 8, 2, extra=extra)
    assert profile in taken(data).recipe
    picture = taken(data + b"behind the end")
    assert picture.samples.shape == (20, 30, 3)
    palette = make_png(scene(9, 9, 1, 8), 8, 3)
    place = palette.index(b"IDAT") - 4
    picture = taken(palette[:place] + chunk(b"tRNS", b"\x10\x20") + palette[place:])
    assert picture.palette is not None
    assert picture.palette[:3, 3].tolist() == [0x10, 0x20, 255]


def test_padding_bits_and_a_wrong_adler_stay() -> None:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 5, 2, 1, 0, 0, 0, 0))
    stream = zlib.compress(b"\0\xff\0\x07")
    for data in (stream, stream[:-1] + bytes([stream[-1] ^ 1]), stream + b"more"):
        taken(png.MAGIC + head + chunk(b"IDAT", data) + chunk(b"IEND", b""))


@pytest.mark.parametrize("part", [1, 50, 1000, 1 << 20])
def test_png_in_parts(part: int) -> None:
    taken(make_png(scene(20, 20, 1, 8), 8, 0, part=part))


@pytest.mark.parametrize("bits", [1, 4, 8, 24, 32])
def test_bmp(bits: int) -> None:
    channels = {24: 3, 32: 4}.get(bits, 1)
    for height, width in ((1, 1), (5, 7), (9, 32)):
        samples = scene(height, width, channels, min(bits, 8))
        picture = taken(make_bmp(samples, bits))
        assert picture.samples.shape == samples.shape
        if bits != 32:  # where make_bmp does not turn the colours
            assert np.array_equal(picture.samples, samples)
        assert pictures.geometry(make_bmp(samples, bits)[:64]) == Geometry(
            width, height, channels, min(bits, 8)
        )
    taken(make_bmp(scene(6, 5, 1, 8), 8, stray=7) + b"behind")


def test_pnm() -> None:
    grey, colour = scene(7, 9, 1, 8), scene(7, 9, 3, 8)
    for head, samples in (
        (b"P5\n9 7\n255\n", grey),
        (b"P5 # a comment\n9\n# more\n7 255\n", grey),
        (b"P6\n9 7\n255\n", colour),
        (b"P7\nWIDTH 9\nHEIGHT 7\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n", colour),
    ):
        picture = taken(head + samples.tobytes() + b"tail")
        assert np.array_equal(picture.samples, samples)
        assert picture.depth == 8
    wide = scene(7, 9, 3, 12)
    picture = taken(b"P6\n9 7\n4095\n" + wide.astype(">u2").tobytes())
    assert np.array_equal(picture.samples, wide)
    assert picture.depth == 12
    picture = taken(b"P4\n9 7\n" + bytes(range(100, 114)))
    assert picture.samples.shape == (7, 9, 1)
    assert (
        pictures.take_apart(b"P5\n9 7\n100\n" + b"\xff" * 63, MOST) is None
    )  # above the largest value


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(("compressed", "predicted"), [(False, False), (True, False), (True, True)])
def test_tiff(order: str, compressed: bool, predicted: bool) -> None:
    for channels, depth, rows in ((1, 8, 100), (3, 8, 7), (4, 16, 16), (2, 16, 40)):
        samples = scene(40, 30, channels, depth)
        data = make_tiff(samples, depth, order, compressed, predicted, rows)
        picture = taken(data + b"behind")
        assert np.array_equal(picture.samples, samples)
        assert picture.kind == ("grey", "grey+alpha", "rgb", "rgba")[channels - 1]
        assert picture.format == 4


# ---- what is not taken apart ----


def test_claims_are_not_believed() -> None:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 16, 6, 0, 0, 0))
    lies = [
        png.MAGIC + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""),
        b"P6\n99999 99999\n255\n",
        b"P5\n999999999 1\n255\n" + bytes(100),
        make_bmp(scene(3, 3, 3, 8), 24)[:18] + struct.pack("<ii", 1 << 30, 1 << 30) + bytes(99),
        make_tiff(scene(3, 3, 3, 8), 8, "<", True, False, 3)[:120],
    ]
    began = time.perf_counter()
    for lie in lies:
        assert pictures.take_apart(lie, 1 << 62) is None
        assert pictures.take_apart(lie, MOST) is None
    assert time.perf_counter() - began < 2


def test_more_pixels_than_allowed() -> None:
    data = make_png(scene(30, 40, 3, 8), 8, 2)
    assert pictures.take_apart(data, 1200) is not None
    assert pictures.take_apart(data, 1199) is None


def files() -> list[bytes]:
    return [
        make_png(scene(12, 17, 3, 8), 8, 2, True, random.Random(1)),
        make_png(scene(12, 17, 1, 4), 4, 3, False, 1),
        make_bmp(scene(12, 17, 1, 4), 4),
        b"P7\nWIDTH 9\nHEIGHT 7\nDEPTH 1\nMAXVAL 200\nENDHDR\n" + bytes(range(63)),
        make_tiff(scene(12, 17, 3, 8), 8, "<", True, True, 5),
    ]


@pytest.mark.parametrize("data", files(), ids=["png", "palette", "bmp", "pam", "tiff"])
def test_damaged_files(data: bytes) -> None:
    rng = random.Random(7)
    for end in range(0, len(data), 1 + len(data) // 150):
        picture = pictures.take_apart(data[:end], MOST)
        assert picture is None or len(picture.samples)
    for _ in range(300):
        bad = bytearray(data)
        for _ in range(rng.randrange(1, 4)):
            bad[rng.randrange(min(200, len(bad)))] = rng.randrange(256)
        picture = pictures.take_apart(bytes(bad), MOST)
        if picture is not None:
            assert pictures.rebuild(picture.format, picture.recipe, picture.samples) == bytes(bad)


@pytest.mark.parametrize("data", files(), ids=["png", "palette", "bmp", "pam", "tiff"])
def test_damaged_recipes(data: bytes) -> None:
    picture = taken(data)
    rng = random.Random(8)
    for _ in range(1000):
        bad = bytearray(picture.recipe)
        for _ in range(rng.randrange(1, 3)):
            bad[rng.randrange(len(bad))] = rng.randrange(256)
        try:
            again = pictures.rebuild(picture.format, bytes(bad), picture.samples)
        except Corrupt:
            continue
        assert len(again) < 1 << 20
    for end in range(len(picture.recipe)):
        try:
            pictures.rebuild(picture.format, picture.recipe[:end], picture.samples)
        except Corrupt:
            continue
    with pytest.raises(Corrupt):
        pictures.rebuild(picture.format, picture.recipe, picture.samples[1:])
    with pytest.raises(Corrupt):
        pictures.rebuild(picture.format, picture.recipe, picture.samples.astype(np.uint16))
    with pytest.raises(Corrupt):
        pictures.rebuild(99, picture.recipe, picture.samples)


@pytest.mark.parametrize("data", [b"", b"BM", b"P4", b"II*\0", png.MAGIC, b"text"])
def test_beginnings(data: bytes) -> None:
    assert pictures.take_apart(data, MOST) is None
    assert pictures.geometry(data) is None


# ---- pixels without their file ----


@pytest.mark.parametrize(("colour", "depth"), COLOURS)
def test_plain_pngs_keep_pixels_and_chunks(colour: int, depth: int) -> None:
    samples = scene(37, 45, png.COLOURS[colour][1], depth)
    extra = chunk(b"tEXt", b"Title\0a scene")
    odd = taken(make_png(samples, depth, colour, True, random.Random(3), (9, 8, 9, 2), 99, extra))
    plain = pictures.encode_plain(odd)
    assert plain is not None
    assert extra in plain
    picture = taken(plain)
    assert np.array_equal(picture.samples, samples)
    assert picture.kind == odd.kind
    assert len(picture.recipe) < 100 + 800 * (colour == 3)
    assert pictures.encode_plain(taken(make_bmp(scene(3, 3, 3, 8), 24))) is None


def test_plain_streams_are_deflate() -> None:
    for content in (b"", b"a", CONTENT, bytes(100_000)):
        assert zlib.decompress(_native.deflate_plain(content), -15) == content


def test_plain_pngs_of_other_files() -> None:
    image = pytest.importorskip("PIL.Image")
    samples = scene(30, 40, 3, 8)
    for name, options in (("WEBP", {"lossless": True}), ("TGA", {}), ("TIFF", {})):
        out = io.BytesIO()
        image.fromarray(samples).save(out, name, **options)
        plain = pictures.encode_plain_file(out.getvalue())
        assert plain is not None
        assert np.array_equal(taken(plain).samples, samples)
        pictures.encode_plain_file(out.getvalue()[:300])  # raises nothing
    out = io.BytesIO()
    image.fromarray(samples).save(out, "WEBP", quality=50)
    assert pictures.encode_plain_file(out.getvalue()) is None
    assert pictures.encode_plain_file(b"no image") is None


def test_the_systems_zlib_is_not_used() -> None:
    """Its output may change; what rebuilds a file for ever may not."""
    data = make_png(scene(20, 30, 3, 8), 8, 2)
    code = (
        "import sys, numpy; sys.modules['zlib'] = None\n"
        "from lmc.codecs import pictures\n"
        f"data = bytes.fromhex('{data.hex()}')\n"
        "p = pictures.take_apart(data, 1000)\n"
        "print(pictures.rebuild(p.format, p.recipe, p.samples) == data)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
