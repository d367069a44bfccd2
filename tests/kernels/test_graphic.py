"""The coder of drawn images: C++ against the Python integers, and against damage."""

import os
import subprocess
import sys
from contextlib import suppress

import numpy as np
import pytest
from numpy.typing import NDArray

from lmc.codecs import graphic
from lmc.errors import Corrupt
from lmc.kernels import _native, reference_graphic

Image = NDArray[np.uint8]


def drawing(height: int, width: int, channels: int, depth: int = 8, seed: int = 1) -> Image:
    """Flat boxes, a glyph that comes again, and, if there are values enough, a noisy gradient."""
    rng = np.random.default_rng(seed)
    top = (1 << depth) - 1

    def colour() -> Image:
        return rng.integers(0, top + 1, channels).astype(np.uint8)

    image = np.zeros((height, width, channels), np.uint8)
    image[:] = colour()
    for _ in range(6):
        y, x = int(rng.integers(0, height)), int(rng.integers(0, width))
        image[y : y + rng.integers(2, 9), x : x + rng.integers(2, 12)] = colour()
    glyph = rng.integers(0, top + 1, (5, 4, channels))
    for y in range(3, height - 5, 6):
        image[y : y + 5, 5:9] = glyph[:, : max(0, min(4, width - 5))]
    if depth == 8:
        h, w = height - height // 2, width - width // 2
        slope = np.add.outer(np.arange(h) * 3, np.arange(w) * 2)[..., None]
        noisy = slope + rng.integers(0, 4, (h, w, channels))
        image[height // 2 :, width // 2 :] = np.minimum(noisy, 255)
    return image


@pytest.mark.parametrize(
    ("channels", "depth", "effort"),
    [(1, 1, 0), (1, 4, 2), (1, 5, 1), (1, 8, 2), (2, 8, 1), (3, 8, 0), (3, 8, 1), (4, 8, 2)],
)
def test_it_equals_the_reference(channels: int, depth: int, effort: int) -> None:
    image = drawing(15, 16, channels, depth, seed=channels * 8 + depth)
    coded = reference_graphic.Encoder(image, depth, effort).coded
    bits = np.array([bit for bit, _ in coded], np.uint8)
    p = np.array([q for _, q in coded], np.uint32)
    payload = _native.encode_graphic(image, depth, effort)
    assert payload == _native.encode_bits(bits, p)
    height, width, _ = image.shape
    decoded = _native.decode_graphic(payload, height, width, channels, depth, effort)
    assert (decoded == image).all()


@pytest.mark.parametrize("effort", graphic.EFFORTS)
@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (1, 1, 4), (1, 70, 3), (70, 1, 3), (2, 2, 2), (90, 130, 3), (33, 257, 1)]
)
def test_what_is_coded_comes_back(shape: tuple[int, int, int], effort: int) -> None:
    for image in (
        drawing(*shape),
        np.zeros(shape, np.uint8),
        np.full(shape, 255, np.uint8),
        np.random.default_rng(3).integers(0, 256, shape).astype(np.uint8),
    ):
        payload = graphic.encode(image, 8, effort)
        assert (graphic.decode(payload, shape, 8, effort) == image).all()


def test_more_colours_than_are_remembered() -> None:
    image = np.random.default_rng(4).integers(0, 256, (250, 250, 3)).astype(np.uint8)
    image[200:] = image[:50]  # and back to the first ones
    payload = graphic.encode(image, 8, 0)
    assert (graphic.decode(payload, image.shape, 8, 0) == image).all()
    assert len(payload) < image.size * 0.85  # what comes again costs nearly nothing


def test_scalar_by_environment_writes_the_same_bytes() -> None:
    image = drawing(80, 90, 3)
    code = (
        "import sys, numpy as np; from lmc.kernels import _native\n"
        "image = np.frombuffer(sys.stdin.buffer.read(), np.uint8).reshape(80, 90, 3)\n"
        "sys.stdout.buffer.write(_native.encode_graphic(image, 8, 2))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        input=image.tobytes(), capture_output=True, check=True,
        env={**os.environ, "LMC_KERNELS": "scalar"},
    )  # fmt: skip
    assert run.stdout == _native.encode_graphic(image, 8, 2)


def test_it_learns() -> None:
    flat = np.full((300, 400, 3), 240, np.uint8)
    assert len(graphic.encode(flat, 8, 1)) < 16
    tile = drawing(40, 40, 3)
    once = len(graphic.encode(tile, 8, 1))
    assert len(graphic.encode(np.tile(tile, (4, 4, 1)), 8, 1)) < 2 * once
    sizes = [len(graphic.encode(drawing(120, 160, 3), 8, effort)) for effort in graphic.EFFORTS]
    assert sizes[2] < 1.02 * sizes[1] < 1.04 * sizes[0]


def test_damage_is_no_crash() -> None:
    image = drawing(60, 70, 3)
    payload = graphic.encode(image, 8, 1)
    rng = np.random.default_rng(5)
    found = 0
    for _ in range(40):
        broken = bytearray(payload)
        broken[rng.integers(0, len(broken))] ^= 1 << rng.integers(0, 8)
        try:
            other = graphic.decode(bytes(broken), image.shape, 8, 1)
        except Corrupt:
            found += 1
        else:
            assert (other != image).any()  # the caller's checksum finds it
    assert found > 0
    size = len(payload)
    for wrong in (b"", payload[: size // 2], bytes(size), b"\xff" * size):
        with suppress(Corrupt):
            assert (graphic.decode(wrong, image.shape, 8, 1) != image).any()


def test_a_size_is_only_a_claim() -> None:
    with pytest.raises(_native.Damaged, match="cannot hold"):
        _native.decode_graphic(b"", 1 << 14, 1 << 14, 1, 8, 0)
    with pytest.raises(_native.Damaged, match="lead nowhere"):
        _native.decode_graphic(np.random.default_rng(6).bytes(99), 1 << 13, 1 << 13, 4, 8, 0)


def test_wrong_geometries_are_refused() -> None:
    for shape, depth in (
        ((0, 4, 1), 8), ((4, 0, 1), 8), ((4, 4, 0), 8), ((4, 4, 5), 8), ((4, 4, 1), 0),
        ((4, 4, 1), 9), ((4, 4, 3), 4), ((1 << 28, 1, 1), 8), ((1 << 14, 1 << 13, 3), 8),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"no such|channels|narrow"):
            _native.decode_graphic(bytes(1000), *shape, depth, 1)
    with pytest.raises(ValueError, match="effort"):
        _native.encode_graphic(np.zeros((2, 2, 1), np.uint8), 8, 3)
    with pytest.raises(ValueError, match="deeper"):
        _native.encode_graphic(np.full((2, 2, 1), 16, np.uint8), 4, 1)
    with pytest.raises(ValueError, match="height"):
        _native.encode_graphic(np.zeros((2, 2), np.uint8), 8, 1)


def test_progress_is_told_and_can_stop_the_work() -> None:
    image = drawing(200, 300, 3)
    told: list[int] = []
    payload = graphic.encode(image, 8, 0, told.append)
    assert told == sorted(told)
    assert 0 < len(told) < 40
    assert told[-1] < image.size

    class Stop(Exception):
        pass

    def stop(_: int) -> None:
        raise Stop

    with pytest.raises(Stop):
        graphic.decode(payload, image.shape, 8, 0, stop)


def test_memory_is_bounded() -> None:
    assert graphic.memory((4, 4, 3), 2) < 80 << 20
    assert graphic.memory((2000, 3000, 3), 2) < 300 << 20
    assert graphic.memory((1000, 1000, 3), 0) < graphic.memory((1000, 1000, 3), 2)


def test_drawings_are_told_from_photographs() -> None:
    noise = np.random.default_rng(7).integers(0, 256, (50, 60, 3)).astype(np.uint8)
    assert _native.looks_drawn(noise) < 3
    assert _native.looks_drawn(np.zeros((50, 60, 3), np.uint8)) == 100
    assert _native.looks_drawn(np.zeros((1, 1, 1), np.uint8)) == 100
    assert 40 < _native.looks_drawn(drawing(50, 60, 3)) < 95
