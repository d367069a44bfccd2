"""WAV, AIFF and AU files taken apart: what is rebuilt is the file, whatever its headers claim."""

from __future__ import annotations

import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lmc.codecs import sounds
from lmc.codecs.sounds import Geometry, Sound, base
from lmc.errors import Corrupt

MOST = 1 << 22
Array = NDArray[Any]


def tones(count: int, channels: int, bits: int) -> Array:
    """(channels, time), with the largest and the smallest values."""
    t, c = np.arange(count), np.arange(channels)[:, None]
    full = 1 << (bits - 1)
    wave = np.round(np.sin(t * (0.03 + 0.01 * c)) * full * 0.7).astype(np.int64)
    wave[:, :2] = full - 1, -full
    return wave


def interleave(samples: Array, width: int, order: str = "<", unsigned: bool = False) -> bytes:
    flat = samples.T.reshape(-1) + (1 << (8 * width - 1) if unsigned else 0)
    parts = flat.astype("<i8").view(np.uint8).reshape(-1, 8)[:, :width]
    return parts[:, :: 1 if order == "<" else -1].tobytes()


def chunk(kind: bytes, content: bytes, order: str = "<", size: int | None = None) -> bytes:
    length = len(content) if size is None else size
    return kind + struct.pack(f"{order}I", length) + content + b"\0" * (len(content) % 2)


def make_wave(
    body: bytes,
    channels: int,
    width: int,
    tag: int = 1,
    order: str = "<",
    before: bytes = b"",
    size: int | None = None,
    whole: int | None = None,
    extra: bytes = b"",
    magic: bytes = b"",
) -> bytes:
    form = struct.pack(
        f"{order}HHIIHH",
        tag,
        channels,
        44100,
        44100 * channels * width,
        channels * width,
        8 * width,
    )
    content = (
        b"WAVE" + before + chunk(b"fmt ", form + extra, order) + chunk(b"data", body, order, size)
    )
    magic = magic or (b"RIFF" if order == "<" else b"RIFX")
    return magic + struct.pack(f"{order}I", len(content) if whole is None else whole) + content


def make_aiff(
    body: bytes, channels: int, bits: int, compression: bytes = b"", offset: int = 0
) -> bytes:
    frames = len(body) // channels // ((bits + 7) // 8)
    rate = struct.pack(">HQ", 16383 + 15, 44100 << 48)
    common = struct.pack(">HIH", channels, frames, bits) + rate
    if compression:
        common += compression + b"\4name\0"
    sound = struct.pack(">II", offset, 0) + bytes(offset) + body
    content = (b"AIFC" if compression else b"AIFF") + chunk(b"COMM", common, ">")
    return chunk(b"FORM", content + chunk(b"SSND", sound, ">"), ">")


def make_au(body: bytes, channels: int, encoding: int, size: int = 0xFFFFFFFF) -> bytes:
    return struct.pack(">4s5I", b".snd", 28, size, encoding, 8000, channels) + b"note" + body


def intact(data: bytes) -> Sound:
    """The sound of a file that must be taken apart, and rebuilt from it."""
    sound = sounds.take_apart(data, MOST)
    assert sound is not None
    assert sounds.rebuild(sound.format, sound.recipe, sound.samples) == data
    assert sounds.geometry(data[:256]) is not None
    return sound


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 2, 7])
@pytest.mark.parametrize("bits", [8, 16, 24, 32])
def test_wave(bits: int, channels: int, order: str) -> None:
    samples, width = tones(500, channels, bits), bits // 8
    data = make_wave(interleave(samples, width, order, bits == 8), channels, width, order=order)
    sound = intact(data)
    assert (sound.bits, sound.kind, sound.rate, sound.format) == (bits, "integer", 44100, base.WAVE)
    assert np.array_equal(sound.samples, samples)
    assert len(sound.recipe) < 16  # a plain header costs nothing
    assert sounds.geometry(data[:48]) == Geometry("WAV", "integer", channels, 44100, bits, 500)


@pytest.mark.parametrize("bits", [8, 16, 24, 32])
def test_aiff(bits: int) -> None:
    samples, width = tones(500, 2, bits), bits // 8
    sound = intact(make_aiff(interleave(samples, width, ">"), 2, bits))
    assert (sound.bits, sound.rate, len(sound.recipe) < 16) == (bits, 44100, True)
    assert np.array_equal(sound.samples, samples)
    for compression, order in ((b"NONE", ">"), (b"twos", ">"), (b"sowt", "<")):
        data = make_aiff(interleave(samples, width, order), 2, bits, compression, 6)
        assert np.array_equal(intact(data).samples, samples)
    assert sounds.take_apart(make_aiff(bytes(100), 1, 16, b"ulaw"), MOST) is None


@pytest.mark.parametrize("bits", [8, 16, 24, 32])
def test_au(bits: int) -> None:
    samples, width = tones(500, 2, bits), bits // 8
    for size in (0xFFFFFFFF, 1000 * width, 7):
        sound = sounds.take_apart(
            make_au(interleave(samples, width, ">"), 2, width + 1, size), MOST
        )
        if size == 7:
            assert sound is None or sound.samples.shape[1] == 7 // (2 * width)
            continue
        assert sound is not None
        assert np.array_equal(sound.samples, samples)
    assert sounds.take_apart(make_au(bytes(100), 1, 1), MOST) is None  # μ-law


def test_floats() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(0, 0.3, (2, 400)).astype(np.float32)
    values[0, :6] = np.nan, np.inf, -np.inf, -0.0, 1e-40, 3.0
    body = values.T.astype("<f4").tobytes()
    for data in (
        make_wave(body, 2, 4, 3),
        make_aiff(values.T.astype(">f4").tobytes(), 2, 32, b"fl32"),
        make_au(values.T.astype(">f4").tobytes(), 2, 6),
    ):
        sound = intact(data)
        assert (sound.kind, sound.bits) == ("float", 32)
        assert np.array_equal(sound.samples, values.view(np.int32))
    assert sounds.take_apart(make_wave(bytes(800), 1, 8, 3), MOST) is None  # of 64 bits


@pytest.mark.parametrize("bits", [8, 16, 24])
def test_floats_that_are_integers(bits: int) -> None:
    samples = tones(300, 2, bits)
    values = (samples / (1 << (bits - 1))).astype(np.float32)
    sound = intact(make_wave(values.T.astype("<f4").tobytes(), 2, 4, 3))
    assert (sound.kind, sound.bits) == ("integer", bits)
    assert np.array_equal(sound.samples, samples)
    for other in (-0.0, 1.0, np.nan, 2.0**-24):
        values[0, 5] = other
        assert intact(make_wave(values.T.astype("<f4").tobytes(), 2, 4, 3)).kind == "float"


def test_extensible_and_valid_bits() -> None:
    samples = tones(300, 2, 20)
    guid = bytes.fromhex("0100000000001000800000aa00389b71")
    extra = struct.pack("<HHI", 22, 20, 3) + guid
    sound = intact(make_wave(interleave(samples << 4, 3), 2, 3, 0xFFFE, extra=extra))
    assert sound.bits == 20
    assert np.array_equal(sound.samples, samples)
    other = extra[:-16] + b"\x06" + guid[1:]  # A-law
    assert sounds.take_apart(make_wave(bytes(600), 2, 3, 0xFFFE, extra=other), MOST) is None


def test_odd_waves() -> None:
    samples = tones(301, 1, 8)
    body = interleave(samples, 1, unsigned=True)
    listed = chunk(b"LIST", b"INFOISFT\5\0\0\0Lavf\0")
    for data in (
        make_wave(body, 1, 1, before=listed),
        make_wave(body, 1, 1) + listed + b"trail",
        make_wave(body, 1, 1)[:-1],  # without padding
        make_wave(body, 1, 1, size=0xFFFFFFFF, whole=0xFFFFFFFF)[:-1],  # streams
        make_wave(body, 1, 1, size=0, whole=0)[:-1],
        make_wave(body, 1, 1, size=0x7FFFFFFF)[:-1],
        make_wave(body, 1, 1, whole=3),
        make_wave(body, 1, 1, extra=b"\0\0"),
    ):
        assert np.array_equal(intact(data).samples, samples)
    cut = make_wave(interleave(tones(100, 2, 24), 3), 2, 3)[:-4]  # in the middle of a frame
    assert intact(cut).samples.shape == (2, 99)
    empty = make_wave(b"", 1, 2)
    assert sounds.take_apart(empty, MOST) is None
    tagged = make_wave(b"", 1, 2, whole=36 + 108) + chunk(b"LIST", bytes(100))
    assert sounds.take_apart(tagged, MOST) is None


def test_long_waves() -> None:
    samples = tones(300, 2, 16)
    body = interleave(samples, 2)
    for magic in (b"RF64", b"BW64"):
        sizes = chunk(b"ds64", struct.pack("<QQQI", 9, len(body), 300, 0))
        data = make_wave(body, 2, 2, size=0xFFFFFFFF, before=sizes, magic=magic) + b"more"
        assert np.array_equal(intact(data).samples, samples)


def test_wave64() -> None:
    samples = tones(301, 1, 16)
    body = interleave(samples, 2)
    end = bytes.fromhex("f3acd3118cd100c04f8edb8a")
    form = struct.pack("<HHIIHH", 1, 1, 44100, 88200, 2, 16)
    content = b"wave" + end
    for kind, part in ((b"fmt ", form), (b"junk", b"123"), (b"data", body)):
        content += kind + end + struct.pack("<Q", 24 + len(part)) + part + bytes(-len(part) % 8)
    magic = bytes.fromhex("726966662e91cf11a5d628db04c10000")
    data = magic + struct.pack("<Q", 24 + len(content)) + content
    assert np.array_equal(intact(data).samples, samples)


EXAMPLES = {
    "wave": make_wave(interleave(tones(200, 2, 16), 2), 2, 2, before=chunk(b"LIST", b"INFO")),
    "aiff": make_aiff(interleave(tones(200, 2, 24), 3, ">"), 2, 24, b"NONE"),
    "au": make_au(interleave(tones(200, 1, 16), 2, ">"), 1, 3, 400),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_damaged_files(name: str) -> None:
    """Whatever a header says, the file comes back or is refused."""
    data, rng = EXAMPLES[name], random.Random(1)
    for _ in range(2000):
        bad = bytearray(data)
        for _ in range(rng.randrange(1, 5)):
            bad[rng.randrange(72)] = rng.choice([0, 1, 2, 127, 128, 255, rng.randrange(256)])
        file = bytes(bad[: rng.randrange(len(bad))] if rng.random() < 0.3 else bad)
        sounds.geometry(file[:64])
        sound = sounds.take_apart(file, MOST)
        if sound is not None:
            assert sounds.rebuild(sound.format, sound.recipe, sound.samples) == file
            assert sound.samples.dtype == np.int32


@pytest.mark.parametrize("name", EXAMPLES)
def test_damaged_recipes(name: str) -> None:
    rng, sound = random.Random(2), intact(EXAMPLES[name])
    for _ in range(2000):
        bad = bytearray(sound.recipe)
        bad[rng.randrange(len(bad))] = rng.randrange(256)
        recipe = bytes(bad[: rng.randrange(len(bad))] if rng.random() < 0.3 else bad)
        try:
            again = sounds.rebuild(sound.format, recipe, sound.samples)
        except Corrupt:
            continue
        assert len(again) < len(EXAMPLES[name]) * 4 + 1000
    with pytest.raises(Corrupt):
        sounds.rebuild(sound.format, sound.recipe, np.zeros((9, 10), np.int32))
    with pytest.raises(Corrupt):
        sounds.rebuild(99, sound.recipe, sound.samples)


def test_limits() -> None:
    data = EXAMPLES["wave"]
    assert sounds.take_apart(data, 400) is not None
    assert sounds.take_apart(data, 399) is None
    for other in (b"", b"RIFF", b"FORM", b".snd", b"fLaC", b"ID3", b"OggS" + bytes(50), bytes(100)):
        assert sounds.take_apart(other, MOST) is None
        assert sounds.geometry(other) is None


@pytest.mark.parametrize("form", ["WAV", "AIFF", "AU", "W64", "RF64", "WAVEX"])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "FLOAT"])
def test_libsndfile(form: str, subtype: str, tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    samples = tones(400, 2, 16)
    values = samples.T / (1 << 15)
    soundfile.write(tmp_path / "f", values, 48000, subtype, format=form)
    data = (tmp_path / "f").read_bytes()
    sound = intact(data)
    assert (sound.rate, sound.bits, sound.kind) == (48000, 16, "integer")
    assert np.array_equal(sound.samples, samples)
