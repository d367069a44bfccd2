"""FLAC files taken apart: real ones of several writers, odd ones made here, and damaged ones."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lmc.codecs import sounds
from lmc.codecs.sounds import Geometry, Sound, base, flac
from lmc.errors import Corrupt
from lmc.kernels import _native, reference_flac

MOST = 1 << 22
Array = NDArray[Any]
FIXED: tuple[list[int], ...] = ([], [1], [2, -1], [3, -3, 1], [4, -6, 4, -1])


def tones(count: int, channels: int, bits: int, seed: int = 1) -> Array:
    """(channels, time): something between music and noise."""
    rng = np.random.default_rng(seed)
    t, c = np.arange(count), np.arange(channels)[:, None]
    wave = np.sin(t * (0.02 + 0.003 * c)) * 0.4 + np.sin(t * 0.051 + c) * np.sin(t * 0.0007) * 0.3
    wave = wave + rng.normal(0, 0.01, wave.shape)
    full = 1 << (bits - 1)
    return np.asarray(np.clip(np.round(wave * full), -full, full - 1), np.int64)


def intact(data: bytes) -> Sound:
    """The sound of a file that must be taken apart, and rebuilt from it."""
    sound = sounds.take_apart(data, MOST)
    assert sound is not None
    assert sounds.rebuild(sound.format, sound.recipe, sound.samples) == data
    return sound


# ---- a writer of odd frames ----------------------------------------------------------------------


class Bits:
    def __init__(self) -> None:
        self.text: list[str] = []

    def put(self, value: int, width: int) -> None:
        if width:
            self.text.append(format(value & ((1 << width) - 1), f"0{width}b"))

    def done(self) -> bytes:
        text = "".join(self.text)
        text += "0" * (-len(text) % 8)
        return int("1" + text, 2).to_bytes(len(text) // 8 + 1, "big")[1:] if text else b""


def crc(data: bytes, width: int, polynomial: int) -> int:
    value = 0
    for byte in data:
        value ^= byte << (width - 8)
        for _ in range(8):
            value = (value << 1) ^ (polynomial if value >> (width - 1) else 0)
            value &= (1 << width) - 1
    return value


def utf8(value: int) -> bytes:
    if value < 128:
        return bytes([value])
    out: list[int] = []
    most = 32
    while value >= most * (2 if not out else 1):
        out.append(128 | value & 63)
        value >>= 6
        most = 64 >> len(out)
        if value < most // 2 or len(out) == 6:
            break
    return bytes([(0xFF00 >> (len(out) + 1)) & 0xFF | value, *out[::-1]])


def put_residual(out: Bits, values: list[int], order: int, rng: random.Random) -> None:
    """Parameters and partitions are random, but do not make the frame much longer than need be."""
    n = len(values) + order
    choices = [p for p in range(6) if n % (1 << p) == 0 and n >> p >= order]
    partitions = rng.choice(choices)
    method = 1 if any(abs(v) >= 1 << 16 for v in values) else rng.randrange(2)
    out.put(method, 2)
    out.put(partitions, 4)
    at = 0
    for p in range(1 << partitions):
        part = values[at : (p + 1) * (n >> partitions) - order]
        at += len(part)
        if rng.random() < 0.2:
            raw = max([0, *((v if v >= 0 else ~v).bit_length() + 1 for v in part)])
            if raw == 1 and not any(part):
                raw = rng.randrange(2)
            if raw < 32:
                out.put(-1, 4 + method)
                out.put(raw, 5)
                for v in part:
                    out.put(v, raw)
                continue
        mean = sum(map(abs, part)) // max(1, len(part))
        k = min(14 + 16 * method, max(0, mean.bit_length() + rng.randrange(-1, 2)))
        out.put(k, 4 + method)
        for v in part:
            folded = 2 * v if v >= 0 else -2 * v - 1
            out.put(1, (folded >> k) + 1)
            out.put(folded, k)


def put_subframe(out: Bits, signal: list[int], bits: int, rng: random.Random) -> None:
    wasted = 0
    while wasted < bits - 4 and rng.random() < 0.8 and not any(v >> wasted & 1 for v in signal):
        wasted += 1
    signal, bits = [v >> wasted for v in signal], bits - wasted
    kinds = [1, rng.randrange(8, 13), rng.randrange(32, 64)]
    kind = rng.choice([*kinds, 0] if len(set(signal)) == 1 else kinds)
    order = kind - 31 if kind >= 32 else kind - 8 if kind >= 8 else 0
    if order > len(signal):
        kind, order = 1, 0
    values: list[int] = []
    if kind >= 8:
        precision, shift = rng.randrange(1, 16), rng.randrange(16)
        taps = FIXED[order] if kind < 32 else []
        if kind >= 32:
            most = min(1 << (precision - 1), max(1, (1 << shift) // order))
            taps = [rng.randrange(-most, most) for _ in range(order)]
        for i in range(order, len(signal)):
            guess = sum(c * signal[i - 1 - j] for j, c in enumerate(taps))
            values.append(signal[i] - (guess >> (shift if kind >= 32 else 0)))
        if any(abs(v) >= 1 << 31 for v in values):
            kind = 1
    out.put(kind, 7)
    out.put(wasted > 0, 1)
    if wasted:
        out.put(1, wasted)
    for v in signal if kind == 1 else signal[: order if kind else 1]:
        out.put(v, bits)
    if kind >= 32:
        out.put(precision - 1, 4)
        out.put(shift, 5)
        for c in taps:
            out.put(c, precision)
    if kind >= 8:
        put_residual(out, values, order, rng)


def odd_frames(samples: Array, bits: int, rng: random.Random, variable: bool) -> bytes:
    channels, count = samples.shape
    usual = {8: 1, 12: 2, 16: 4, 20: 5, 24: 6, 32: 7}
    out, at, number = b"", 0, 0
    while at < count:
        block = min(count - at, rng.choice([16, 192, 256, 577, 1024]) if variable else 576)
        rows = [list(map(int, row)) for row in samples[:, at : at + block]]
        way = rng.choice([1, 8, 9, 10]) if channels == 2 else channels - 1
        side = [a - b for a, b in zip(rows[0], rows[-1], strict=True)]
        if way == 8:
            rows[1] = side
        elif way == 9:
            rows[0] = side
        elif way == 10:
            rows = [[(a + b) >> 1 for a, b in zip(*rows, strict=True)], side]
        size = {192: 1, 576: 2, 256: 8, 1024: 10}.get(block, 6 if block <= 256 else 7)
        if rng.random() < 0.2:
            size = 7
        rate = rng.choice([0, 9, 12, 13, 14])
        head = Bits()
        head.put(0xFFF8 | variable, 16)
        head.put(size << 4 | rate, 8)
        head.put(way << 4 | rng.choice([0, usual.get(bits, 0)]) << 1, 8)
        data = head.done() + utf8(at if variable else number)
        if size in (6, 7):
            data += (block - 1).to_bytes(size - 5, "big")
        if rate >= 12:
            data += (44100 // {12: 1000, 13: 1, 14: 10}[rate]).to_bytes(
                1 if rate == 12 else 2, "big"
            )
        data += bytes([crc(data, 8, 7)])
        body = Bits()
        for i, row in enumerate(rows):
            wide = (way, i) in {(8, 1), (9, 0), (10, 1)}
            put_subframe(body, row, bits + wide, rng)
        data += body.done()
        out += data + crc(data, 16, 0x8005).to_bytes(2, "big")
        at += block
        number += 1
    return out


def metadata(samples: Array, bits: int, *blocks: tuple[int, bytes]) -> bytes:
    channels, count = samples.shape
    width = (bits + 7) // 8
    flat = np.ascontiguousarray(samples.T, "<i8").reshape(-1, 1).view(np.uint8)[:, :width]
    info = struct.pack(">HH6x", 16, 1024)
    info += (44100 << 44 | channels - 1 << 41 | bits - 1 << 36 | count).to_bytes(8, "big")
    info += hashlib.md5(flat.tobytes()).digest()
    all_blocks = [(0, info), *blocks]
    out = b"fLaC"
    for i, (kind, content) in enumerate(all_blocks):
        last = 128 if i == len(all_blocks) - 1 else 0
        out += bytes([kind | last]) + len(content).to_bytes(3, "big") + content
    return out


@pytest.mark.parametrize("variable", [False, True])
@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("bits", [4, 8, 12, 16, 20, 24, 32])
def test_odd_frames(bits: int, channels: int, variable: bool) -> None:
    rng = random.Random(bits * 10 + channels)
    samples = tones(2000, channels, bits, bits)
    samples[:, 700:1100] = 3  # constant
    samples[:, 1100:1300] &= -8  # wasted bits
    data = metadata(samples, bits) + odd_frames(samples, bits, rng, variable)
    sound = intact(data)
    assert (sound.bits, sound.kind, sound.rate) == (bits, "integer", 44100)
    assert np.array_equal(sound.samples, samples)


def test_what_is_around() -> None:
    """Tags, padding, seek points, cue sheets, pictures, and what is behind."""
    samples = tones(3000, 2, 16)
    frames = odd_frames(samples, 16, random.Random(1), False)
    point = struct.pack(">QQH", 576, 4711, 576)
    table = point + b"\xff" * 8 + bytes(10) + struct.pack(">QQH", 1 << 63, 1, 2) + b"odd"
    blocks = [
        (3, table),
        (4, b"reference" * 3),
        (1, bytes(500)),
        (126, b"?"),
        (5, b"cue"),
        (6, b""),
    ]
    data = metadata(samples, 16, *blocks) + frames
    id3 = b"ID3\x04\0\0\0\0\1\5" + b"t" * 133
    for file in (data, id3 + data, data + b"TAG" + bytes(125), id3 * 2 + data + b"\xff\xf8"[:1]):
        assert np.array_equal(intact(file).samples, samples)
    footer = id3[:5] + b"\x10" + id3[6:] + b"3DI" + bytes(7)
    intact(footer + data)


def test_common_zeros_are_no_bits() -> None:
    samples = tones(3000, 1, 16) << 8
    data = metadata(samples, 24) + odd_frames(samples, 24, random.Random(2), True)
    sound = intact(data)
    assert sound.bits == 16
    assert np.array_equal(sound.samples, samples >> 8)


def test_geometry() -> None:
    samples = tones(100, 3, 20)
    head = metadata(samples, 20)
    expected = Geometry("FLAC", "integer", 3, 44100, 20, 100)
    assert sounds.geometry(head[:42]) == expected
    assert sounds.geometry(head[:41]) is None
    assert sounds.geometry(b"ID3\x03\0\0\0\0\0\2tt" + head) == expected
    assert sounds.geometry(b"ID3\x03\0\0\0\0\0\x80" + head) is None


# ---- files of real writers -----------------------------------------------------------------------


def short(sound: Sound, data: bytes) -> bool:
    """Whether all is recomputed that can be: the recipe is hardly more than the metadata."""
    packed = len(_native.encode_bytes(1, sound.recipe))
    return packed < 150 + len(data) // 1000


@pytest.mark.parametrize("options", ["-0", "-5", "-8", "-8 -e", "-3 -b 1152", "-5 -l 32 --lax"])
@pytest.mark.parametrize(("bits", "channels"), [(16, 2), (16, 1), (24, 2), (8, 1)])
def test_the_reference_encoder(options: str, bits: int, channels: int, tmp_path: Path) -> None:
    program = shutil.which("flac")
    if program is None:
        pytest.skip("the program flac is not installed")
    samples = tones(60000, channels, bits)
    flat = np.ascontiguousarray(samples.T, "<i4").reshape(-1, 1).view(np.uint8)
    (tmp_path / "raw").write_bytes(flat[:, : bits // 8].tobytes())
    form = f"--force-raw-format --endian=little --sign=signed --channels={channels} --bps={bits}"
    command = [program, *options.split(), *form.split(), "--sample-rate=44100", "-s", "raw"]
    subprocess.run([*command, "-o", "f"], cwd=tmp_path, check=True)
    data = (tmp_path / "f").read_bytes()
    sound = intact(data)
    assert np.array_equal(sound.samples, samples)
    assert short(sound, data)


@pytest.mark.parametrize("subtype", ["PCM_S8", "PCM_16", "PCM_24"])
def test_libsndfile(subtype: str, tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    bits = {"PCM_S8": 8, "PCM_16": 16, "PCM_24": 24}[subtype]
    samples = tones(50000, 2, bits)
    words = (samples << (32 - bits)).astype(np.int32).T
    soundfile.write(tmp_path / "f.flac", words, 48000, subtype)
    data = (tmp_path / "f.flac").read_bytes()
    sound = intact(data)
    assert np.array_equal(sound.samples, samples)
    assert short(sound, data)


def test_ffmpeg(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    samples = tones(50000, 2, 16)
    with av.open(str(tmp_path / "f.flac"), "w") as out:
        stream = out.add_stream("flac", rate=44100)
        stream.layout = "stereo"
        flat = np.ascontiguousarray(samples.T.reshape(1, -1), np.int16)
        frame = av.AudioFrame.from_ndarray(flat, format="s16", layout="stereo")
        frame.rate = 44100
        for source in (frame, None):
            out.mux(stream.encode(source))
    data = (tmp_path / "f.flac").read_bytes()
    sound = intact(data)
    assert np.array_equal(sound.samples, samples)
    assert short(sound, data)


# ---- damage --------------------------------------------------------------------------------------


def example() -> bytes:
    samples = tones(1500, 2, 16)
    return metadata(samples, 16, (1, bytes(40))) + odd_frames(samples, 16, random.Random(3), True)


def test_damaged_files() -> None:
    """Flipped bits and cuts: no crash, and what is taken apart is what is rebuilt."""
    data, rng = example(), random.Random(4)
    for _ in range(3000):
        bad = bytearray(data)
        for _ in range(rng.randrange(1, 4)):
            bad[rng.randrange(len(bad)) if rng.random() < 0.7 else rng.randrange(80)] = (
                rng.randrange(256)
            )
        file = bytes(bad[: rng.randrange(len(bad))] if rng.random() < 0.3 else bad)
        sounds.geometry(file[:100])
        sound = sounds.take_apart(file, MOST)
        if sound is not None:
            assert sounds.rebuild(sound.format, sound.recipe, sound.samples) == file


def test_damaged_recipes() -> None:
    """A recipe of another file, or of none: Corrupt at worst, and soon."""
    data, rng = example(), random.Random(5)
    sound = intact(data)
    for _ in range(3000):
        bad = bytearray(sound.recipe)
        for _ in range(rng.randrange(1, 4)):
            bad[rng.randrange(len(bad))] = rng.randrange(256)
        recipe = bytes(bad[: rng.randrange(len(bad))] if rng.random() < 0.3 else bad)
        try:
            again = sounds.rebuild(base.FLAC, recipe, sound.samples)
        except Corrupt:
            continue
        assert len(again) < 16 * len(data) + (1 << 16)


def test_other_samples_are_refused() -> None:
    sound = intact(example())
    samples = sound.samples
    for wrong in (samples[:1], samples.astype(np.int64), samples[0], samples << 3):
        with pytest.raises(Corrupt):
            sounds.rebuild(base.FLAC, sound.recipe, wrong)
    for bits in (0, 3, 33, 255):
        with pytest.raises(Corrupt):
            sounds.rebuild(base.FLAC, bytes([bits]) + sound.recipe[1:], samples)


def test_claims_take_no_memory() -> None:
    """A short file that says much: constant frames of many samples, within the limit only."""
    head = bytes.fromhex("fff8790000ffff")  # a block of 65536, one channel, depth of STREAMINFO
    head += bytes([crc(head, 8, 7)])
    one = head + b"\0" + b"\0\5"
    one += crc(one, 16, 0x8005).to_bytes(2, "big")
    samples = np.full((1, 65536), 5)
    data = metadata(samples, 16) + one
    assert sounds.take_apart(data, 65536) is not None
    assert sounds.take_apart(data, 65535) is None
    assert sounds.take_apart(data + one * 1000, 1 << 20) is None


KEPT = sorted((Path(__file__).parent / "sounds").glob("*.flac"))


@pytest.mark.parametrize("path", KEPT, ids=lambda path: str(path.stem))
def test_kept_recipes(path: Path) -> None:
    """The recipe of a file is the same everywhere, and rebuilds it for ever."""
    data, recipe = path.read_bytes(), path.with_suffix(".recipe").read_bytes()
    sound = intact(data)
    assert sounds.rebuild(base.FLAC, recipe, sound.samples) == data
    assert sound.recipe == recipe
    assert short(sound, data)


def frames_of(data: bytes) -> tuple[bytes, bytes, Array, int]:
    """Frames, their recipe, samples and bits of a file."""
    start = list(flac._blocks(data, 0))[-1][2]
    info = flac.Info(data[8:42])
    found = _native.flac_read(data, start, info.channels, info.bits, MOST)
    assert found is not None
    return data[start : start + found[2]], found[1], found[0], info.bits


@pytest.mark.parametrize("path", KEPT, ids=lambda path: str(path.stem))
def test_the_reference_rebuilds_kept_files(path: Path) -> None:
    frames, recipe, samples, bits = frames_of(path.read_bytes())
    assert reference_flac.Frames(recipe, samples, bits).all() == frames


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("bits", [8, 16, 24])
def test_the_reference_rebuilds_odd_files(bits: int, channels: int) -> None:
    samples = tones(1200, channels, bits, bits)
    samples[:, 700:900] = 3
    data = metadata(samples, bits) + odd_frames(samples, bits, random.Random(bits), True)
    frames, recipe, found, _ = frames_of(data)
    assert reference_flac.Frames(recipe, found, bits).all() == frames


FOLDER = os.environ.get("LMC_TEST_AUDIO", "")
FILES = sorted(Path(FOLDER).rglob("*.flac")) if FOLDER else []


@pytest.mark.skipif(not FILES, reason="LMC_TEST_AUDIO names no folder with FLAC files")
@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.stem))
def test_given_files(path: Path) -> None:
    data = path.read_bytes()
    sound = sounds.take_apart(data, 1 << 28)
    assert sound is not None
    assert short(sound, data)
