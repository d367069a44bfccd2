"""What tools get of a file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lmc.bench import content, synthetic

FILES = Path(__file__).parents[1] / "codecs"


@pytest.mark.parametrize(
    ("data", "name", "expected"),
    [
        (b"to be, or not to be\n", "a", "text"),
        (bytes(range(256)) * 4, "a.txt", "bytes"),
        ((FILES / "image" / "palette.png").read_bytes(), "a", "image"),
        ((FILES / "jpeg" / "420.jpg").read_bytes(), "a", "jpeg"),
        ((FILES / "sounds" / "ffmpeg.flac").read_bytes(), "a", "audio"),
        (synthetic.clip(1, 16, 16), "a", "video"),
        (bytes(384), "noise_16x16_25fps.yuv", "video"),
        (bytes(384), "noise_16x16_25fps.bin", "bytes"),
    ],
)
def test_the_kind_is_found(data: bytes, name: str, expected: str) -> None:
    assert content.modality(data, name) == expected
    assert content.load(data, name).modality == expected


def test_pixels_are_those_of_the_file() -> None:
    pixels = synthetic.pixels(20, 30)
    found = content.load(content.png(pixels), "")
    assert found.samples is not None
    assert np.array_equal(found.samples, pixels)
    assert (found.unit, found.units, found.raw_bytes) == ("sub-pixel", 1800, 1800)


@pytest.mark.parametrize("shape", [(5, 7, 1), (5, 7, 2), (5, 7, 3), (5, 7, 4)])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_png_holds_every_shape(shape: tuple[int, ...], kind: type) -> None:
    from PIL import Image

    most = int(np.iinfo(kind).max)
    numbers = synthetic.noise(int(np.prod(shape)), 8) % np.uint32(most)
    pixels: NDArray[Any] = numbers.reshape(shape).astype(kind)
    data = content.png(pixels)
    again = content.read_pixels(data)
    assert again is not None
    assert content.same_pixels(pixels, again)
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (7, 5)


@pytest.mark.parametrize("bits", [8, 12, 16, 20, 24, 32])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_samples_are_those_of_the_file(bits: int, channels: int) -> None:
    noise = synthetic.noise(300, bits).view(np.int32) >> np.int32(32 - bits)
    samples = noise.reshape(-1, channels)
    raw = content.pcm(samples, bits)
    assert np.array_equal(content.from_pcm(raw, bits, channels), samples)
    if bits % 8 == 0:
        found = content.load(content.wav(samples, bits, 8000), "")
        assert found.samples is not None
        assert np.array_equal(found.samples, samples)
        assert found.facts == {"bits": bits, "rate": 8000}
        assert found.raw() == raw


def test_frames_are_those_of_the_file() -> None:
    found = content.load(synthetic.clip(3, 16, 32), "a.y4m")
    assert found.samples is not None
    assert found.samples.shape == (3, 768)
    assert found.facts == {"width": 32, "height": 16, "format": "yuv420p"}
    assert found.raw_bytes == 3 * 768


@pytest.mark.parametrize(
    "data",
    [
        b"YUV4MPEG2 W16 H16 F25:1\nFRAME\n" + bytes(100),  # too short
        b"YUV4MPEG2 W15 H16 F25:1\nFRAME\n" + bytes(384),  # odd
        b"YUV4MPEG2 W16 H16 F25:1 C420p10\nFRAME\n" + bytes(768),  # deep
        b"YUV4MPEG2 H16\nFRAME\n",
        b"\x89PNG\r\n\x1a\n" + bytes(60),
        b"RIFF....WAVEnonsense",
    ],
)
def test_what_is_not_understood_is_bytes(data: bytes) -> None:
    found = content.load(data, "a")
    assert (found.modality, found.units, found.samples) == ("bytes", len(data), None)


def test_beginnings_are_files() -> None:
    for data in (
        content.png(synthetic.pixels(40, 50)),
        content.wav(synthetic.tone(5000, 2), 16, 8000),
        synthetic.clip(2, 16, 16),
        synthetic.prose(2000),
    ):
        whole = content.load(data, "")
        little = whole.beginning()
        assert little is not None
        assert little.units <= whole.units
        if whole.modality != "video":
            again = content.load(little.data, "")
            assert (again.modality, again.units) == (whole.modality, little.units)


def test_chunks_are_all_of_the_content() -> None:
    picture = content.load(content.png(synthetic.pixels(40, 50)), "")
    parts = picture.chunks()
    assert [part.units for part in parts] == [3072, 2928]
    joined = np.concatenate([part.samples for part in parts if part.samples is not None], 1)
    assert joined.tobytes() == picture.raw()
    sound = content.load(content.wav(synthetic.tone(2000, 2), 16, 8000), "")
    assert [len(part.data) for part in sound.chunks()] == [2048, 2048, 2048, 1856]
    assert b"".join(part.data for part in sound.chunks()) == sound.raw()
