"""The photo model: C++ against the Python integers, round trips, damage, ARM under emulation."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lmc.kernels import _native, reference_photo
from lmc.models.small import PHOTOS

Samples = NDArray[np.uint16]
Make = Callable[[int, int, int, int], Samples]


@cache
def layers() -> list[list[reference_photo.Layer]]:
    """The layers of the first networks, by place."""
    places = []
    with np.load(PHOTOS.path(1), allow_pickle=False) as file:
        for place in PHOTOS.places:
            count = sum(name.startswith(f"{place}.w") for name in file.files)
            parts = [[file[f"{place}.{part}{k}"] for part in "wbfs"] for k in range(count)]
            places.append([(w, b, f, int(s[0])) for w, b, f, s in parts])
    return places


def soft(height: int, width: int, channels: int, depth: int) -> Samples:
    """Waves, an edge and noise."""
    rng = np.random.default_rng(height * 1000 + width + channels + depth)
    y, x = np.mgrid[:height, :width]
    grey = 0.5 + 0.3 * np.sin(x / 5 + y / 9) + 0.15 * (x > y + 3)
    shades = grey[:, :, None] * np.linspace(1, 0.7, channels)
    shades += rng.normal(0, 0.02, (height, width, 1)) + rng.normal(0, 0.01, shades.shape)
    scaled: Samples = (shades.clip(0, 1) * ((1 << depth) - 1)).astype(np.uint16)
    return scaled


def size(samples: Samples) -> tuple[int, int, int]:
    height, width, channels = samples.shape
    return height, width, channels


def hard(height: int, width: int, channels: int, depth: int) -> Samples:
    """The least and the greatest value in any order, behind a quiet start: the largest errors."""
    rng = np.random.default_rng(depth)
    bits = rng.integers(0, 2, (height, width, channels))
    bits[: height // 3] = 0
    return (bits * ((1 << depth) - 1)).astype(np.uint16)


@pytest.mark.parametrize(
    ("samples", "depth"),
    [
        (soft(7, 12, 3, 8), 8),
        (soft(12, 16, 1, 8), 8),
        (soft(4, 8, 3, 16), 16),
        (hard(7, 7, 3, 16), 16),
        (hard(9, 12, 1, 16), 16),
        (soft(40, 1, 1, 12), 12),
        (soft(1, 20, 3, 5), 5),
        (hard(5, 7, 1, 1), 1),
    ],
    ids=lambda v: "x".join(map(str, v.shape)) if isinstance(v, np.ndarray) else str(v),
)
def test_the_model_is_the_reference(samples: Samples, depth: int) -> None:
    strip = reference_photo.Strip(samples, depth, layers())
    bits, p = (np.array(column) for column in zip(*strip.coded, strict=True))
    coded = _native.encode_bits(bits.astype(np.uint8), p.astype(np.uint32))
    assert _native.photo_encode(PHOTOS.open(1), samples, depth) == coded


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("make", [soft, hard])
@pytest.mark.parametrize(("channels", "depth"), [(1, 8), (3, 8), (1, 16), (3, 16)])
def test_variants_agree(number: int, make: Make, channels: int, depth: int) -> None:
    samples = make(33, 40, channels, depth)
    networks = PHOTOS.open(number)
    payload = _native.photo_encode(networks, samples, depth, variant="scalar")
    shape = size(samples)
    for variant in _native.photo_variants():
        coded = _native.photo_encode(networks, samples, depth, variant=variant)
        assert coded == payload, variant
        back = _native.photo_decode(networks, payload, *shape, depth, variant=variant)
        np.testing.assert_array_equal(back, samples)


@pytest.mark.parametrize("depth", range(1, 17))
def test_all_shapes_and_depths_come_back(depth: int) -> None:
    networks = PHOTOS.open(1)
    sizes = [(1, 1), (1, 2), (2, 1), (1, 50), (50, 1), (2, 3), (3, 2), (19, 5), (5, 19)]
    for i, (height, width) in enumerate(sizes):
        channels = 1 if (i + depth) % 2 else 3
        for samples in (make(height, width, channels, depth) for make in (soft, hard)):
            payload = _native.photo_encode(networks, samples, depth)
            back = _native.photo_decode(networks, payload, height, width, channels, depth)
            np.testing.assert_array_equal(back, samples)


def test_noise_costs_what_it_has() -> None:
    samples = np.random.default_rng(1).integers(0, 256, (64, 64, 3)).astype(np.uint16)
    assert len(_native.photo_encode(PHOTOS.open(1), samples, 8)) < samples.size * 1.06


def test_damage_is_told() -> None:
    networks = PHOTOS.open(1)
    samples = soft(24, 24, 3, 8)
    payload = _native.photo_encode(networks, samples, 8)
    with pytest.raises(_native.Damaged):
        _native.photo_decode(networks, payload[: len(payload) // 2], *size(samples), 8)
    with pytest.raises(_native.Damaged):
        _native.photo_decode(networks, b"", *size(samples), 8)
    rng = np.random.default_rng(2)
    for _ in range(20):
        bad = bytearray(payload)
        bad[rng.integers(len(bad))] ^= 1 << int(rng.integers(8))
        try:  # what is not told here, the checksum of the file tells
            back = _native.photo_decode(networks, bytes(bad), *size(samples), 8)
        except _native.Damaged:
            continue
        assert back.shape == samples.shape
        assert (back < 256).all()
        assert (back != samples).any()


def test_sizes_that_no_payload_can_hold_are_refused() -> None:
    networks = PHOTOS.open(1)
    payload = _native.photo_encode(networks, soft(9, 9, 1, 8), 8)
    for height, width in ((1 << 15, 1 << 15), (64, 1 << 24), (1 << 24, 64)):
        with pytest.raises(_native.Damaged):
            _native.photo_decode(networks, payload[:20], height, width, 1, 8)
    for wrong in ((0, 9, 1, 8), (9, -1, 1, 8), (9, 9, 2, 8), (9, 9, 1, 17), (1 << 24, 65, 1, 8)):
        height, width, channels, depth = wrong
        with pytest.raises(ValueError, match="samples are"):
            _native.photo_decode(networks, payload, height, width, channels, depth)
    with pytest.raises(ValueError, match="more bits"):
        _native.photo_encode(networks, np.full((2, 2, 1), 256, np.uint16), 8)


def test_networks_that_could_overflow_are_refused() -> None:
    last = np.ones((16, 64), np.int8), np.zeros(16, np.int32)
    factor = np.full(16, 1 << 20, np.int32)
    _native.PhotoNetworks([[(*last, factor, 8)]] * 4)
    with pytest.raises(ValueError, match="reach"):
        _native.PhotoNetworks([[(*last, factor, 1)]] * 4)


@pytest.mark.slow
def test_arm_writes_the_same_bytes(tmp_path: Path) -> None:
    compiler, emulator = "aarch64-linux-gnu-g++", "qemu-aarch64"
    for tool in (compiler, emulator):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    here = Path(__file__).parent
    source = here.parents[1] / "kernels" / "src"
    flags = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off", "-static"]
    names = ("photo.cpp", "photo_scalar.cpp", "layers.cpp", "quantiles.cpp")
    files = [here / "arm" / "photo.cpp", *(source / name for name in names)]
    program = tmp_path / "photo"
    command = [compiler, *flags, "-I", str(source), *map(str, files), "-o", str(program)]
    subprocess.run(command, check=True)
    for channels, depth in ((3, 8), (1, 16)):
        samples = soft(20, 30, channels, depth)
        numbers = [np.array([*samples.shape, depth], np.int32).tobytes()]
        for place in layers():
            numbers.append(np.int32(len(place)).tobytes())
            for weights, bias, factor, shift in place:
                numbers.append(np.array([*weights.shape, shift], np.int32).tobytes())
                numbers += [weights.tobytes(), bias.tobytes(), factor.tobytes()]
        given = b"".join([*numbers, samples.tobytes()])
        run = subprocess.run([emulator, str(program)], input=given, check=True, capture_output=True)
        assert run.stdout == _native.photo_encode(PHOTOS.open(1), samples, depth)
