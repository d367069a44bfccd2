"""The image codec: whole files to frames and back, its ways, damage, and lies."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

import lmc
from lmc import codecs
from lmc.codecs import image, photocd, pictures
from lmc.codecs.base import Settings
from lmc.errors import Corrupt, LmcError
from lmc.info import inspect
from lmc.models.small import PHOTOS

RNG = np.random.default_rng(7)


def scene(height: int, width: int) -> NDArray[np.uint8]:
    """Something like a photo: smooth shapes, edges, noise."""
    y, x = np.mgrid[:height, :width]
    base = 120 + 60 * np.sin(x / 17 + y / 29) + 40 * ((x // 23 + y // 31) % 2)
    planes = [base * k + 9 * RNG.standard_normal((height, width)) for k in (1.0, 0.8, 0.6)]
    return np.stack(planes, -1).clip(0, 255).astype(np.uint8)


def drawing(height: int, width: int) -> NDArray[np.uint8]:
    out = np.full((height, width, 3), 240, np.uint8)
    out[10:30, 5:60] = (20, 40, 200)
    out[20:50, 30:40] = (200, 30, 30)
    return out


def a_disc(height: int, width: int, phase: tuple[int, int]) -> NDArray[np.uint8]:
    """A picture as a PhotoCD gives it, cut off at white in places."""
    y, x = np.mgrid[:height, :width]
    luma = 100 + 45 * np.sin(x / 19 + y / 23) + 6 * RNG.standard_normal((height, width))
    rows, columns = photocd.thin_shape((height, width), phase)
    v, u = np.mgrid[:rows, :columns]
    blue = np.rint(153 + 12 * np.sin(u / 9 + v / 14)).astype(np.int32)
    red = np.rint(138 + 12 * np.cos(u / 12 - v / 7)).astype(np.int32)
    whole = [photocd.fill(plane, (height, width), phase) for plane in (blue, red)]
    return photocd.to_rgb(np.clip(np.rint(luma), 0, 255).astype(np.int32), *whole)


def file_of(pixels: NDArray[np.uint8], format: str = "PNG", mode: str | None = None) -> bytes:
    out = io.BytesIO()
    picture = Image.fromarray(pixels)
    (picture.convert(mode) if mode else picture).save(out, format)
    return out.getvalue()


def way_of(packed: bytes) -> str:
    (frame,) = inspect(io.BytesIO(packed)).members[0].frames
    assert frame.picture is not None
    return frame.picture.rpartition(", ")[2]


@pytest.mark.parametrize("format", ["PNG", "BMP", "PPM", "TIFF"])
@pytest.mark.parametrize(("picture", "way"), [(scene, "photo"), (drawing, "drawn")])
def test_files_come_back(format: str, picture: object, way: str) -> None:
    data = file_of(picture(70, 90), format)  # type: ignore[operator]
    packed = lmc.compress(data, 3)
    assert way_of(packed) == way
    assert len(packed) < 0.8 * len(data) or format == "PNG"
    assert lmc.decompress(packed) == data


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1"])
def test_modes(mode: str) -> None:
    data = file_of(scene(40, 50), "PNG", mode)
    packed = lmc.compress(data, 3)
    assert lmc.decompress(packed) == data


def test_sixteen_bits() -> None:
    pixels = (scene(40, 50)[..., 0].astype(np.uint16) << 8) + RNG.integers(0, 256, (40, 50), "u2")
    data = file_of(pixels)
    packed = lmc.compress(data, 3)
    assert way_of(packed) == "photo"
    assert lmc.decompress(packed) == data


@pytest.mark.parametrize("level", [1, 4, 6, 9])
def test_levels(level: int) -> None:
    data = file_of(scene(48, 64))
    packed = lmc.compress(data, level)
    assert len(packed) < len(data)
    assert lmc.decompress(packed) == data


@pytest.mark.parametrize("phase", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_discs(phase: tuple[int, int]) -> None:
    pixels = a_disc(64, 81, phase)
    disc = photocd.split(pixels)
    assert disc is not None
    assert disc.phase == phase
    assert len(disc.moved) < pixels[..., 0].size // 50
    assert (photocd.merge(disc) == pixels).all()
    data = file_of(pixels)
    packed = lmc.compress(data, 3)
    assert way_of(packed) == "photocd"
    assert lmc.decompress(packed) == data


def test_no_disc() -> None:
    assert photocd.split(scene(64, 81)) is None
    assert photocd.split(np.zeros((64, 64, 3), np.uint8)) is None


def test_threads_change_nothing() -> None:
    data = file_of(scene(300, 500))
    one, three = (lmc.compress(data, 1, threads=n) for n in (1, 3))
    assert one == three
    layout = image.Layout.from_params(inspect(io.BytesIO(one)).members[0].frames[0].params)
    assert layout.strips == 2
    assert lmc.decompress(one, threads=3) == data


def test_a_picture_is_one_frame_however_large_and_however_it_comes() -> None:
    data = file_of(scene(200, 300), "BMP")  # 180,054 bytes
    whole = lmc.compress(data, 1, frame_size=1 << 16)
    compressor = lmc.Compressor(1, frame_size=1 << 16)
    pieces = [compressor.compress(data[i : i + 7]) for i in range(0, 70, 7)]
    pieces += [compressor.compress(data[70:]), compressor.flush()]
    assert b"".join(pieces) == whole
    assert way_of(whole) == "photo"


def test_pixels_only() -> None:
    pixels = scene(60, 70)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "WEBP", lossless=True)
    webp, png = out.getvalue(), file_of(pixels)
    for data in (webp, png):
        packed = lmc.compress(data, 3, pixels=True)
        assert way_of(packed) == "pixels only"
        restored = lmc.decompress(packed)
        assert restored.startswith(b"\x89PNG")
        assert (np.asarray(Image.open(io.BytesIO(restored))) == pixels).all()
        assert len(packed) < len(webp)
    for data in (b"no picture at all", b"a"):
        assert lmc.decompress(lmc.compress(data, 3, pixels=True)) == data


def test_the_beginnings_that_are_looked_for_are_those_that_are_known() -> None:
    magics = [magic for magic, _ in pictures.MAGICS] + [codecs.JPEG]
    assert all(any(begin.startswith(magic) for begin in codecs.PICTURES) for magic in magics)
    assert all(any(begin.startswith(magic) for magic in magics) for begin in codecs.PICTURES)


def test_what_only_begins_like_a_picture_is_bytes() -> None:
    for data in (b"BM, said the crow. " * 9000, file_of(scene(60, 60))[:-9] + b"damaged!!"):
        packed = lmc.compress(data, 1, frame_size=1 << 16)
        assert lmc.decompress(packed) == data


def test_codecs_can_be_forced() -> None:
    data = file_of(scene(60, 60), "BMP")
    assert way_of(lmc.compress(data, 1, codec="image")) == "photo"
    methods = inspect(io.BytesIO(lmc.compress(data, 1, codec="bytes"))).methods
    assert set(methods) == {"primed-fast"}


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    shape = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", shape) + chunk(b"IDAT", b"x\x9c\x03\0\0\0\0\1")


def test_a_bomb_is_bytes() -> None:
    data = png_header(100_000, 100_000)
    assert lmc.decompress(lmc.compress(data, 1)) == data


FRAME = image.encode(file_of(scene(24, 33)), Settings(1))


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_damage_is_found_or_harmless(data: st.DataObject) -> None:
    assert FRAME is not None
    payload, params = bytearray(FRAME.payload), bytearray(FRAME.params)
    target = data.draw(st.sampled_from([payload, params]))
    place = data.draw(st.integers(0, len(target) - 1))
    target[place] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(payload)))
    try:
        if image.needs(bytes(params), 4000) < 1 << 28:
            image.decode_frame(8, bytes(params), bytes(payload[:cut]), 4000, None, 1)
    except LmcError:
        pass


@pytest.mark.parametrize(
    "params",
    [
        b"",
        FRAME.params[:-1] if FRAME else b"",
        bytes([1, 9, 1, 0, 3, 8, 5, 5]),
        bytes([1, 2, 1, 0, 5, 8, 5, 5]),
        bytes([1, 2, 1, 0, 3, 17, 5, 5]),
        bytes([1, 2, 1, 0, 3, 8, 0, 5]),
        bytes([1, 2, 1, 9, 3, 8, 5, 5]),
        bytes([1, 1, 3, 0, 3, 8, 5, 5]),
        bytes([1, 3, 1, 0, 1, 8, 5, 5]),
        bytes([1, 2, 1, 0, 3, 8, 255, 255, 255, 255, 127, 5]),
    ],
)
def test_params_out_of_range(params: bytes) -> None:
    with pytest.raises(Corrupt):
        image.Layout.from_params(params)


def test_a_file_that_declares_too_little_memory_is_refused() -> None:
    data = file_of(scene(48, 64))
    packed = bytearray(lmc.compress(data, 1))
    assert lmc.decompress(bytes(packed)) == data
    from lmc.container import parse_header, write_header

    header = parse_header(packed)
    small = type(header)(header.long, 1 << 20, header.model, header.frame)
    lie = write_header(small) + bytes(packed[header.length :])
    with pytest.raises(Corrupt, match="memory"):
        lmc.decompress(lie)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_networks_are_there(number: int) -> None:
    assert PHOTOS.open(number) is PHOTOS.open(number)
    with pytest.raises(KeyError):
        PHOTOS.open(99)


def test_no_picture_comes_out_larger(tmp_path: Path) -> None:
    for k, pixels in enumerate((RNG.integers(0, 256, (20, 20, 3), "u1"), drawing(60, 70))):
        for format in ("PNG", "BMP"):
            data = file_of(np.asarray(pixels, np.uint8), format)
            packed = lmc.compress(data, 2)
            assert len(packed) <= len(data) + 25, (k, format)
            assert lmc.decompress(packed) == data
