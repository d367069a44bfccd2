"""The video model: C++ against the Python integers, round trips, damage."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lmc.kernels import _native, reference_photo, reference_video
from lmc.kernels.reference_video import Shape
from lmc.models.small import NONE, VIDEOS, layers

Frames = list[list[NDArray[np.uint16]]]


def planes_of(width: int, height: int, *coarse: tuple[int, int]) -> list[Shape]:
    """The first plane and others, by log2 of how much coarser they are."""
    return [(-(-width // (1 << r)), -(-height // (1 << d)), r, d) for r, d in ((0, 0), *coarse)]


def clip(count: int, planes: list[Shape], depth: int, noise: float = 0.02) -> Frames:
    """A pattern that moves to the right and down, with noise; the second frame repeats the first"""
    rng = np.random.default_rng(count + depth)
    frames: Frames = []
    for f in range(count):
        if f == 1:
            frames.append([plane.copy() for plane in frames[0]])
            continue
        frame = []
        for c, (width, height, right, down) in enumerate(planes):
            y, x = np.mgrid[:height, :width]
            x, y = (x << right) - 2 * f, (y << down) - f
            grey = 0.5 + 0.2 * np.sin(x / 4 + c) * np.cos(y / 5) + 0.2 * ((x // 7 + y // 5) % 2)
            grey += rng.normal(0, noise, grey.shape) if noise else 0
            frame.append((grey.clip(0, 1) * ((1 << depth) - 1)).astype(np.uint16))
        frames.append(frame)
    return frames


def hard(count: int, planes: list[Shape], depth: int) -> Frames:
    """The least and the greatest value in any order, behind a quiet frame: the largest errors."""
    rng = np.random.default_rng(depth)
    return [
        [
            (rng.integers(0, 2, (h, w)) * (f > 0) * ((1 << depth) - 1)).astype(np.uint16)
            for w, h, *_ in planes
        ]
        for f in range(count)
    ]


def flat(frames: Frames) -> NDArray[np.uint16]:
    return np.concatenate([plane.reshape(-1) for frame in frames for plane in frame])


def code(bits: list[tuple[int, int]]) -> bytes:
    if not bits:
        return b""
    bit, p = (np.array(column) for column in zip(*bits, strict=True))
    return _native.encode_bits(bit.astype(np.uint8), p.astype(np.uint32))


def reference_networks(number: int) -> list[list[reference_photo.Layer]]:
    with np.load(VIDEOS.path(number)) as file:
        return [list(layers(file, f"{place}.")) for place in VIDEOS.places]


NUMBERS = (NONE, 1, 2)
C420, C422, GREY = ((1, 1), (1, 1)), ((1, 0), (1, 0)), ()


@pytest.mark.parametrize(
    ("make", "count", "planes", "depth", "effort", "strips"),
    [
        (clip, 4, planes_of(9, 7, *C420), 8, 1, 1),
        (clip, 4, planes_of(6, 5, *C420), 10, 1, 2),
        (clip, 3, planes_of(19, 6, *C422), 8, 0, 2),
        (clip, 2, planes_of(4, 4, (0, 0), (0, 0), (0, 0)), 16, 1, 1),
        (hard, 3, planes_of(5, 4, *C420), 16, 1, 1),
        (hard, 2, planes_of(9, 4), 1, 0, 3),
        (clip, 2, planes_of(5, 4, (2, 0), (2, 0)), 8, 1, 1),
    ],
)
def test_the_model_is_the_reference(
    make: object, count: int, planes: list[Shape], depth: int, effort: int, strips: int
) -> None:
    frames: Frames = make(count, planes, depth)  # type: ignore[operator]
    for number in NUMBERS:
        networks = reference_networks(number) if number else None
        given = VIDEOS.optional(number)
        wanted = reference_video.Clip(frames, planes, depth, effort, strips, networks)
        coded = _native.video_encode(flat(frames), count, planes, depth, effort, strips, given)
        assert coded == [code(wanted.vectors), *map(code, wanted.strips)]


@pytest.mark.parametrize(("effort", "number"), [(0, NONE), (1, 1), (1, 2)])
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("make", [clip, hard])
def test_variants_agree(make: object, depth: int, effort: int, number: int) -> None:
    planes = planes_of(23, 18, *C420)
    samples = flat(make(3, planes, depth))  # type: ignore[operator]
    way = planes, depth, effort, 2, VIDEOS.optional(number)
    coded = _native.video_encode(samples, 3, *way, variant="scalar")
    for variant in _native.video_variants():
        for threads in (1, 2):
            again = _native.video_encode(samples, 3, *way, threads, variant=variant)
            assert again == coded, variant
            back = _native.video_decode(coded, 3, *way, threads, variant=variant)
            np.testing.assert_array_equal(back, samples)


SHAPES = [
    planes_of(1, 1),
    planes_of(1, 1, *C420),
    planes_of(2, 1, *C420),
    planes_of(1, 30, *C422),
    planes_of(33, 2, (2, 2), (2, 2)),
    planes_of(5, 19, (0, 0), (0, 0)),
    planes_of(21, 5, (1, 1), (1, 1), (0, 0)),
    planes_of(16, 17, (0, 1)),
]


@pytest.mark.parametrize("depth", [1, 5, 8, 10, 16])
def test_all_shapes_and_depths_come_back(depth: int) -> None:
    for i, planes in enumerate(SHAPES):
        for make in (clip, hard):
            samples = flat(make(2, planes, depth))
            strips = 1 + (i + depth) % _native.video_most_strips(planes)
            way = planes, depth, (i + depth) % 2, strips, VIDEOS.optional(i % 3)
            coded = _native.video_encode(samples, 2, *way)
            back = _native.video_decode(coded, 2, *way)
            np.testing.assert_array_equal(back, samples)


def test_what_repeats_costs_nearly_nothing() -> None:
    planes = planes_of(64, 48, *C420)
    still = clip(1, planes, 8) * 9
    one, all_ = (
        sum(map(len, _native.video_encode(flat(frames), len(frames), planes, 8, 1, 1)))
        for frames in (still[:1], still)
    )
    assert all_ < one * 1.15


def test_motion_is_found() -> None:
    planes = planes_of(96, 64)
    rng = np.random.default_rng(3)
    wall = rng.integers(0, 256, (128, 160)).astype(np.uint16)
    frames = [[wall[9 + 3 * f :, 20 - 5 * f :][:64, :96].copy()] for f in range(4)]
    coded = _native.video_encode(flat(frames), 4, planes, 8, 1, 1)
    # Noise does not get smaller, but what of it was seen before.
    assert sum(map(len, coded)) < 1.6 * 96 * 64


def test_damage_is_told() -> None:
    planes = planes_of(24, 24, *C420)
    samples = flat(clip(3, planes, 8))
    coded = _native.video_encode(samples, 3, planes, 8, 1, 2, VIDEOS.open(2))

    def decode(parts: list[bytes]) -> NDArray[np.uint16]:
        return _native.video_decode(parts, 3, planes, 8, 1, 2, VIDEOS.open(2))

    with pytest.raises(_native.Damaged):
        decode([coded[0], coded[1][: len(coded[1]) // 2], coded[2]])
    with pytest.raises(_native.Damaged):
        decode([b"", b"", b""])
    with pytest.raises(_native.Damaged):
        _native.video_decode([b"", b""], 1 << 20, planes_of(4000, 4000), 8, 1, 1)
    rng = np.random.default_rng(2)
    for _ in range(30):
        parts = [bytearray(part) for part in coded]
        part = parts[int(rng.integers(3))] or parts[1]
        part[int(rng.integers(len(part)))] ^= 1 << int(rng.integers(8))
        try:
            back = decode([bytes(p) for p in parts])
        except _native.Damaged:
            continue
        assert not np.array_equal(back, samples)
    for _ in range(30):  # vectors that lead anywhere
        try:
            decode([rng.bytes(40), *coded[1:]])
        except _native.Damaged:
            continue


@pytest.mark.parametrize(
    ("planes", "depth", "effort", "strips"),
    [
        ([(8, 8, 0, 0), (5, 4, 1, 1)], 8, 1, 1),
        ([(8, 8, 0, 0)] * 5, 8, 1, 1),
        ([(0, 8, 0, 0)], 8, 1, 1),
        ([(8, 8, 0, 0)], 17, 1, 1),
        ([(8, 8, 0, 0)], 8, 3, 1),
        ([(8, 8, 0, 0)], 8, 1, 9),
    ],
)
def test_what_cannot_be(planes: list[Shape], depth: int, effort: int, strips: int) -> None:
    with pytest.raises(ValueError, match=r"plane|effort|strips"):
        _native.video_decode([b""] * (strips + 1), 1, planes, depth, effort, strips)
    with pytest.raises(ValueError, match=r"plane|effort|strips"):
        _native.video_encode(np.zeros(64, np.uint16), 1, planes, depth, effort, strips)


def test_a_report_can_stop_the_work() -> None:
    planes = planes_of(256, 128, *C420)
    samples = flat(clip(2, planes, 8))

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _native.video_encode(samples, 2, planes, 8, 0, 2, progress=stop)


@pytest.mark.slow
def test_arm_writes_the_same_bytes(tmp_path: Path) -> None:
    compiler, emulator = "aarch64-linux-gnu-g++", "qemu-aarch64"
    for tool in (compiler, emulator):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    here = Path(__file__).parent
    source = here.parents[1] / "kernels" / "src"
    flags = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off", "-static"]
    flags.append("-pthread")
    names = ("video.cpp", "video_scalar.cpp", "quantiles.cpp", "threads.cpp", "layers.cpp")
    files = [here / "arm" / "video.cpp", *(source / name for name in names)]
    program = tmp_path / "video"
    command = [compiler, *flags, "-I", str(source), *map(str, files), "-o", str(program)]
    subprocess.run(command, check=True)
    for planes, depth, effort, number in (
        (planes_of(20, 13, *C420), 8, 1, 1),
        (planes_of(12, 9, *C420), 8, 1, 2),
        (planes_of(12, 9), 16, 0, NONE),
    ):
        networks = reference_networks(number) if number else []
        samples = flat(clip(3, planes, depth))
        numbers = [3, depth, effort, 2, len(planes), *(n for plane in planes for n in plane)]
        parts = [np.array([*numbers, len(networks)], np.int32).tobytes()]
        for place in networks:
            parts.append(np.int32(len(place)).tobytes())
            for weights, bias, factor, shift in place:
                parts.append(np.array([*weights.shape, shift], np.int32).tobytes())
                parts += [weights.tobytes(), bias.tobytes(), factor.tobytes()]
        given = b"".join([*parts, samples.tobytes()])
        run = subprocess.run([emulator, str(program)], input=given, check=True, capture_output=True)
        with_networks = VIDEOS.optional(number)
        coded = _native.video_encode(samples, 3, planes, depth, effort, 2, with_networks)
        wanted = b"".join(len(part).to_bytes(4, "little") + part for part in coded)
        assert run.stdout == wanted
