"""Pictures that were JPEG files: found, coded as such, and back; others are left alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lmc.codecs import exjpeg
from lmc.errors import Corrupt
from lmc.kernels import _native

Samples = NDArray[np.uint8]
FULL, FANCY, TWICE = 0, 1, 3  # of exjpeg.SPREADS


def drawn(seed: int, height: int, width: int, channels: int) -> Samples:
    """Soft noise with some detail, far from 0 and 255."""
    random = np.random.default_rng(seed)
    out = np.zeros((height, width, channels))
    for size, strength in ((4, 30), (16, 20), (64, 8)):
        small = random.normal(0, strength, (size, size, channels))
        rows, columns = np.arange(height) * size // height, np.arange(width) * size // width
        out += small[rows][:, columns]
    for axis in (0, 1):
        for _ in range(2):
            out = (out + np.roll(out, 1, axis) + np.roll(out, -1, axis)) / 3
    return np.clip(128 + out, 40, 215).astype(np.uint8)


def decoded(
    seed: int, spread: int, size: tuple[int, int], channels: int, quality: int, fine: bool = False
) -> Samples:
    """What a decoder makes of a JPEG file of that size."""
    kinds = exjpeg.SPREADS[spread]
    planes = []
    factors = [(2 if kinds[1] else 1, 2 if kinds[0] else 1), (1, 1), (1, 1)][:channels]
    units = [16 if kind else 8 for kind in kinds]
    mcus = [-(-n // unit) for n, unit in zip(size, units, strict=True)]
    steps = []
    for i, (h, v) in enumerate(factors):
        shape = (mcus[0] * v, mcus[1] * h)
        plane = drawn(seed + i, shape[0] * 8, shape[1] * 8, 1)[..., 0].astype(float) - 128
        if i:
            plane /= 3
        blocks = plane.reshape(shape[0], 8, shape[1], 8).swapaxes(1, 2).reshape(-1, 64)
        steps.append(exjpeg.standard_steps(quality, i > 0).astype(np.uint16))
        coefs = np.rint(blocks @ exjpeg.TRANSFORM / steps[i]).astype(np.int16)
        planes.append(coefs.reshape(*shape, 64))
    file = _native.jpeg_write(exjpeg._headers(size, factors, steps), planes)
    assert file is not None
    found = exjpeg.Description(
        file,
        fine,
        (False, False),
        spread,
        (0, 0),
        np.zeros(size, np.uint8),
        np.zeros((0, channels), np.uint8),
    )
    return exjpeg.merge(found, (*size, channels))


def there_and_back(samples: Samples) -> tuple[bytes, exjpeg.Description]:
    found = exjpeg.split(samples, 1)
    assert found is not None
    coded = exjpeg.encode(samples, 1)
    assert coded is not None
    assert np.array_equal(exjpeg.decode(coded[0], *samples.shape), samples)
    return coded[0], found


@pytest.mark.parametrize("quality", [70, 92])
def test_grey_crops_are_found(quality: int) -> None:
    samples = decoded(1, FULL, (128, 152), 1, quality)[3:, 6:]
    _, found = there_and_back(samples)
    assert found.corner == (3, 6)
    assert len(found.moved) < 0.02 * found.stray.size


@pytest.mark.parametrize("turned", [(True, False), (False, False)])
def test_turned_pictures_are_found(turned: tuple[bool, bool]) -> None:
    samples = exjpeg._turn_back(decoded(2, FULL, (128, 160), 1, 80), turned)
    _, found = there_and_back(samples)
    assert found.turned == turned
    assert len(found.moved) < 0.02 * found.stray.size


@pytest.mark.parametrize("spread", [FULL, FANCY, TWICE])
def test_colours_are_found(spread: int) -> None:
    samples = decoded(3, spread, (128, 144), 3, 85)[1:, 5:]
    _, found = there_and_back(samples)
    assert found.spread == spread
    assert len(found.moved) < 0.1 * found.stray.size


def test_an_accurate_dct_is_found() -> None:
    samples = decoded(4, FULL, (128, 160), 1, 85, fine=True)
    _, found = there_and_back(samples)
    assert found.fine


def test_what_is_painted_over_is_kept() -> None:
    samples = decoded(5, FULL, (128, 160), 1, 80)
    samples[40:50, 30:60] = 0
    _, found = there_and_back(samples)
    assert len(found.moved) > 0


@pytest.mark.parametrize("channels", [1, 3])
def test_other_pictures_are_none(channels: int) -> None:
    assert exjpeg.encode(drawn(6, 128, 128, channels)) is None
    noise = np.random.default_rng(7).integers(0, 256, (64, 64, channels), np.uint8)
    assert exjpeg.encode(noise) is None
    assert exjpeg.encode(np.full((64, 64, channels), 9, np.uint8)) is None
    assert exjpeg.encode(noise[:8]) is None


def test_samples_are_libjpegs() -> None:
    """The first samples of a file, as libjpeg-turbo decodes them."""
    data = (Path(__file__).parent / "jpeg" / "grey.jpg").read_bytes()
    plane = _native.jpeg_samples(data, False)[0][2]
    assert plane[0, :8].tolist() == [120, 124, 128, 130, 130, 131, 134, 137]


def test_damage_is_noticed() -> None:
    samples = decoded(8, FULL, (64, 80), 1, 80)
    samples[20:24, 20:24] ^= 1
    coded = exjpeg.encode(samples, 1)
    assert coded is not None
    payload = coded[0]
    for shape in ((65, 80, 1), (64, 80, 3)):
        with pytest.raises(Corrupt):
            exjpeg.decode(payload, *shape)
    for at in [*range(12), *range(12, len(payload), len(payload) // 40)]:
        for bad in (payload[:at], payload[:at] + bytes([payload[at] ^ 0x55]) + payload[at + 1 :]):
            try:
                other = exjpeg.decode(bad, *samples.shape)
            except Corrupt:
                continue
            assert other.shape == samples.shape
