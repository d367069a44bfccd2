"""The sound model: C++ against the Python integers, round trips, damage, ARM under emulation."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lmc.kernels import _native, reference_sound
from lmc.kernels.reference_photo import Layer
from lmc.models.small import SOUNDS, layers

Samples = NDArray[np.int32]
Make = Callable[[int, int, int], Samples]


@cache
def layers_of(number: int) -> list[Layer]:
    """The layers of a network; none for 0."""
    if number == 0:
        return []
    with np.load(SOUNDS.path(number), allow_pickle=False) as file:
        return list(layers(file))


def ranges(samples: Samples) -> list[tuple[int, int]]:
    return [(int(row.min()), int(row.max())) for row in samples]


def soft(channels: int, length: int, depth: int) -> Samples:
    """Tones that repeat, and noise."""
    rng = np.random.default_rng(channels * 1000 + length + depth)
    t = np.arange(length)
    tone = 0.5 * np.sin(t / 9) + 0.2 * np.sin(t / 2.5) + 0.1 * (t % 40 < 3)
    mixed = tone * np.linspace(1, 0.6, channels)[:, None]
    mixed += rng.normal(0, 0.01, (1, length)) + rng.normal(0, 0.01, (channels, length))
    scaled: Samples = (mixed.clip(-1, 0.99) * (1 << (depth - 1))).round().astype(np.int32)
    scaled[:, 0] = 0, *[1] * (channels - 1)  # no channel is constant
    return scaled


def hard(channels: int, length: int, depth: int) -> Samples:
    """The least and the greatest value in any order, behind a quiet start: the largest errors."""
    rng = np.random.default_rng(depth)
    bits = rng.integers(0, 2, (channels, length))
    out = np.where(bits, (1 << (depth - 1)) - 1, -1 << (depth - 1)).astype(np.int32)
    out[:, : length // 3] = 0
    return out


@pytest.mark.parametrize(
    ("samples", "effort", "fade", "weighted", "network"),
    [
        (soft(1, 400, 16), 0, 0, True, 0),
        (soft(2, 160, 16), 1, 1, True, 0),
        (soft(2, 90, 24), 2, 2, False, 0),
        (hard(1, 300, 24), 0, 3, True, 0),
        (hard(2, 120, 16), 1, 0, False, 0),
        (hard(3, 60, 24), 2, 3, True, 0),
        (soft(1, 300, 4), 2, 0, True, 0),
        (soft(4, 50, 8), 0, 2, False, 0),
        (soft(1, 450, 16), 1, 0, True, 1),
        (hard(2, 120, 24), 0, 3, True, 1),
        (soft(2, 120, 16), 2, 1, True, 2),
        (hard(1, 200, 16), 2, 0, False, 2),
    ],
    ids=lambda v: "x".join(map(str, v.shape)) if isinstance(v, np.ndarray) else str(v),
)
def test_the_model_is_the_reference(
    samples: Samples, effort: int, fade: int, weighted: bool, network: int
) -> None:
    coded: list[tuple[int, int]] = []

    def note(bit: int, p: int) -> int:
        coded.append((bit, p))
        return bit

    manner = effort, fade, weighted
    limits = ranges(samples)
    back = reference_sound.code(note, samples.tolist(), limits, *manner, layers_of(network) or None)
    assert back == samples.tolist()
    bits, p = (np.array(column) for column in zip(*coded, strict=True))
    payload = _native.encode_bits(bits.astype(np.uint8), p.astype(np.uint32))
    given = SOUNDS.optional(network)
    assert _native.sound_encode(samples, limits, *manner, given) == payload


@pytest.mark.parametrize("effort", range(3))
@pytest.mark.parametrize("make", [soft, hard])
@pytest.mark.parametrize(("channels", "depth"), [(1, 16), (2, 16), (1, 24), (2, 24), (3, 9)])
def test_variants_agree(effort: int, make: Make, channels: int, depth: int) -> None:
    samples = make(channels, 6000, depth)
    manner = effort, depth % 4, depth != 9, SOUNDS.optional(effort)
    limits = ranges(samples)
    payload = _native.sound_encode(samples, limits, *manner, variant="scalar")
    for variant in _native.sound_variants():
        assert _native.sound_encode(samples, limits, *manner, variant=variant) == payload, variant
        back = _native.sound_decode(payload, 6000, limits, *manner, variant=variant)
        np.testing.assert_array_equal(back, samples)


@pytest.mark.parametrize("depth", range(2, 25))
def test_all_lengths_and_depths_come_back(depth: int) -> None:
    for i, length in enumerate((3, 4, 17, 50, 300)):
        channels = 1 + (i + depth) % 4
        for samples in (make(channels, length, depth) for make in (soft, hard)):
            limits = ranges(samples)
            if any(low == high for low, high in limits):
                continue
            way = i % 3, depth % 4, depth % 2 == 0, SOUNDS.optional((i + depth) % 3)
            payload = _native.sound_encode(samples, limits, *way)
            back = _native.sound_decode(payload, length, limits, *way)
            np.testing.assert_array_equal(back, samples)


def test_noise_costs_what_it_has() -> None:
    samples = np.random.default_rng(1).integers(-(1 << 15), 1 << 15, (2, 20000)).astype(np.int32)
    payload = _native.sound_encode(samples, ranges(samples), 0, 0, True)
    assert len(payload) < 2 * samples.size * 1.02


def test_damage_and_wrong_shapes() -> None:
    samples = soft(2, 3000, 16)
    limits = ranges(samples)
    payload = _native.sound_encode(samples, limits, 0, 0, True)
    for cut in (0, 1, 50, len(payload) // 2):
        with pytest.raises(_native.Damaged):
            _native.sound_decode(payload[:cut], 3000, limits, 0, 0, True)
    with pytest.raises(_native.Damaged):
        _native.sound_decode(payload[:20], 1 << 40, limits, 0, 0, True)
    for length, effort, fade in (
        (0, 0, 0),
        (9, 3, 0),
        (9, -1, 0),
        (9, 0, 4),
        ((1 << 40) + 1, 0, 0),
    ):
        with pytest.raises(ValueError, match=r"samples are|no such"):
            _native.sound_decode(payload, length, limits, effort, fade, True)
    for wrong in ([], [(0, 1)] * 17, [(1, 1)], [(2, 1)], [(-(1 << 23) - 1, 0)], [(0, 1 << 23)]):
        with pytest.raises(ValueError, match=r"samples are|range"):
            _native.sound_decode(payload, 9, wrong, 0, 0, True)
    with pytest.raises(ValueError, match="out of its range"):
        _native.sound_encode(samples, [(-5, 5), (-5, 5)], 0, 0, True)


def test_rows_are_what_a_network_sees() -> None:
    samples = soft(2, 500, 16)
    inputs, numbers = _native.sound_rows(samples, ranges(samples), 1, 0, True)
    assert inputs.shape == (1000, reference_sound.INPUTS)
    assert inputs.max() < 128
    assert (numbers[:, 1] > 0).all()
    # The partner's place: channels take turns, and only the second one is told an error.
    present = inputs[:, 130]
    assert set(present[::2]) == {32}
    assert set(present[1::2]) == {96}
    assert np.median(np.abs(numbers[500:, 0]) / numbers[500:, 1]) < 3


@pytest.mark.slow
def test_arm_writes_the_same_bytes(tmp_path: Path) -> None:
    compiler, emulator = "aarch64-linux-gnu-g++", "qemu-aarch64"
    for tool in (compiler, emulator):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    here = Path(__file__).parent
    source = here.parents[1] / "kernels" / "src"
    flags = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off", "-static"]
    names = ("sound.cpp", "sound_scalar.cpp", "layers.cpp", "quantiles.cpp")
    files = [here / "arm" / "sound.cpp", *(source / name for name in names)]
    program = tmp_path / "sound"
    command = [compiler, *flags, "-I", str(source), *map(str, files), "-o", str(program)]
    subprocess.run(command, check=True)
    for samples, effort, network in (
        (soft(2, 700, 16), 1, 1),
        (hard(1, 500, 24), 2, 1),
        (soft(1, 700, 16), 0, 0),
    ):
        channels, length = samples.shape
        numbers = np.array([channels, length, effort, 1], np.int32)
        parts = [numbers.tobytes(), np.int32(len(layers_of(network))).tobytes()]
        for weights, bias, factor, shift in layers_of(network):
            parts.append(np.array([*weights.shape, shift], np.int32).tobytes())
            parts += [weights.tobytes(), bias.tobytes(), factor.tobytes()]
        parts += [np.array(ranges(samples), np.int32).tobytes(), samples.tobytes()]
        given = b"".join(parts)
        run = subprocess.run([emulator, str(program)], input=given, check=True, capture_output=True)
        way = effort, 1, True, SOUNDS.optional(network)
        assert run.stdout == _native.sound_encode(samples, ranges(samples), *way)
