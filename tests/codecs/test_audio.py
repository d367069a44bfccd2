"""Audio files as frames: kinds, odd cases, damage, hostile headers."""

from __future__ import annotations

import hashlib
import io
import struct
import tracemalloc
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import lmc
from lmc import codecs
from lmc.codecs import audio, sounds
from lmc.codecs.base import Frame, Settings
from lmc.codecs.recipe import Writer
from lmc.errors import Corrupt, LmcError
from lmc.info import inspect
from lmc.models.small import NONE, SOUNDS

Array = NDArray[Any]


def tones(count: int, channels: int, bits: int = 16) -> Array:
    """(channels, time): a little noise, each channel a little different."""
    rng = np.random.default_rng(count + channels + bits)
    t, c = np.arange(count), np.arange(channels)[:, None]
    clean = np.sin(t * (0.03 + 0.001 * c)) * 0.5 + np.sin(t * 0.21) * 0.2
    noisy = clean + rng.normal(0, 0.002, (channels, count))
    scaled: Array = np.round(noisy * (1 << (bits - 1))).astype(np.int64)
    return scaled


def make_wav(samples: Array, bits: int = 16, rate: int = 44100) -> bytes:
    width = (bits + 7) // 8
    flat = samples.T.reshape(-1) + (128 if width == 1 else 0)
    body = flat.astype("<i8").view(np.uint8).reshape(-1, 8)[:, :width].tobytes()
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setparams((len(samples), width, rate, 0, "NONE", ""))
        file.writeframes(body)
    return out.getvalue()


def make_au(samples: Array) -> bytes:
    body = samples.T.astype(">i2").tobytes()
    return struct.pack(">4s5I", b".snd", 28, len(body), 3, 8000, len(samples)) + b"note" + body


def layout_of(data: bytes, packed: bytes) -> audio.Layout:
    """Of the audio frame that a file must have become, and must come back from."""
    frame = inspect(io.BytesIO(packed)).members[0].frames[0]
    assert frame.method == "audio"
    assert lmc.decompress(packed) == data
    return audio.Layout.from_params(frame.params)


@pytest.mark.parametrize("level", [1, 6, 9])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_files_come_back(level: int, channels: int) -> None:
    data = make_wav(tones(1500, channels))
    packed = lmc.compress(data, level)
    assert len(packed) < 0.65 * len(data)
    layout = layout_of(data, packed)
    assert (layout.channels, layout.bits, layout.rate, layout.length) == (channels, 16, 44100, 1500)


@pytest.mark.parametrize("bits", [8, 16, 24, 32])
def test_depths(bits: int) -> None:
    samples = tones(900, 2, bits)
    samples[0, 5] = (1 << (bits - 1)) - 1
    samples[1, 7] = -1 << (bits - 1)
    data = make_wav(samples, bits)
    layout = layout_of(data, lmc.compress(data, 1))
    assert layout.fine == max(0, bits - 24)


def test_the_network_is_that_of_the_format() -> None:
    text = (Path(__file__).parents[2] / "FORMAT.md").read_text()
    for number in (1, 2):
        digest = hashlib.sha256(SOUNDS.path(number).read_bytes()).hexdigest()
        assert f"| {number} | `{digest}` |" in text
    assert SOUNDS.optional(NONE) is None
    assert SOUNDS.open(1) is SOUNDS.open(1)
    with pytest.raises(KeyError):
        SOUNDS.open(15)


def test_levels_choose_the_network() -> None:
    data = make_wav(tones(900, 1))
    chosen = [layout_of(data, lmc.compress(data, level)).network for level in (1, 3, 4, 6, 9)]
    assert chosen == [NONE] * 2 + [1] * 2 + [2]


def test_other_formats() -> None:
    samples = tones(2000, 2)
    data = make_au(samples)
    assert layout_of(data, lmc.compress(data, 1)).format == sounds.base.AU
    floats = (samples / 32768).astype("<f4").T.tobytes()
    form = struct.pack("<HHIIHH", 3, 2, 48000, 48000 * 8, 8, 32)
    riff = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(floats))
    data = b"RIFF" + struct.pack("<I", len(riff) + len(floats)) + riff + floats
    assert layout_of(data, lmc.compress(data, 1)).bits == 16  # floats that are integers


def test_real_floats_are_bytes() -> None:
    floats = np.random.default_rng(1).normal(0, 0.1, 4000).astype("<f4").tobytes()
    data = struct.pack(">4s5I", b".snd", 28, len(floats), 6, 8000, 1) + b"note" + floats
    assert lmc.decompress(lmc.compress(data, 1)) == data


def test_channels_that_say_nothing_new_cost_nothing() -> None:
    one = tones(3000, 1)
    single = len(lmc.compress(make_wav(one), 1))
    silent = np.zeros_like(one)
    for others in ([one], [one, one], [silent], [silent + 77, one, silent]):
        data = make_wav(np.concatenate([one, *others]))
        packed = lmc.compress(data, 1)
        layout_of(data, packed)
        assert len(packed) < single + 40
    for samples in (np.zeros((2, 9000), int), np.full((1, 9000), -3), np.zeros((1, 1), int)):
        data = make_wav(samples)
        packed = lmc.compress(data, 1)
        assert lmc.decompress(packed) == data
        assert len(packed) < 120


def test_values_that_never_occur_cost_nothing() -> None:
    soft = tones(20000, 1) // 40
    data = make_wav(soft * 3 + (soft > 100))
    packed = lmc.compress(data, 1)
    assert layout_of(data, packed).way & audio.LEVELS
    assert len(packed) < len(lmc.compress(make_wav(soft), 1)) + 100
    data = make_wav(tones(20000, 1) * 16)  # low bits that are always 0
    assert layout_of(data, lmc.compress(data, 1)).bits == 12


def test_halves_before_more_segments() -> None:
    one = audio.SEGMENT_SAMPLES
    sizes = [1, one - 1, one, 2 * one, 4 * one - 1, 4 * one, 1 << 28]
    assert [audio._segments(n, n) for n in sizes] == [1, 1, 2, 2, 2, 4, 32]
    assert audio._segments(one, 1) == 1


def test_segments_and_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "SEGMENT_SAMPLES", 1 << 13)
    samples = np.zeros((1, 2 * audio.SEGMENT_SAMPLES + 5), int)
    samples[0, ::9] = tones(samples[0, ::9].size, 1)[0] & 3
    data = make_wav(samples)
    packed = [lmc.compress(data, 1, threads=n) for n in (1, 2)]
    assert packed[0] == packed[1]
    assert layout_of(data, packed[0]).segments == 2
    assert lmc.decompress(packed[0], threads=2) == data


def test_the_second_channel_may_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    swapped = audio.Manner(0, 1, False), True
    monkeypatch.setattr(audio, "_manner", lambda *_: swapped)
    data = make_wav(tones(2000, 2))
    layout = layout_of(data, lmc.compress(data, 1))
    assert layout.way == audio.SWAPPED | 1 << 1


def test_a_file_is_one_frame_however_large_and_however_it_comes() -> None:
    data = make_wav(tones(50000, 1))
    whole = lmc.compress(data, 1, frame_size=1 << 16)
    compressor = lmc.Compressor(1, frame_size=1 << 16)
    pieces = [compressor.compress(data[i : i + 7]) for i in range(0, 70, 7)]
    pieces += [compressor.compress(data[70:]), compressor.flush()]
    assert b"".join(pieces) == whole
    layout_of(data, whole)


def test_codecs_can_be_forced() -> None:
    data = make_wav(tones(3000, 1))
    layout_of(data, lmc.compress(data, 1, codec="audio"))
    for codec in ("bytes", "image"):
        methods = inspect(io.BytesIO(lmc.compress(data, 1, codec=codec))).methods
        assert set(methods) == {"primed-fast"}
    assert lmc.decompress(lmc.compress(b"no sound at all", 1, codec="audio")) == b"no sound at all"


def test_the_beginnings_that_are_looked_for_are_those_that_are_known() -> None:
    for magic, _ in sounds.MAGICS:
        begin = {b"FORM": b"FORM\0\0\0\0AIFF"}.get(magic, magic + b"\0\0\0\0WAVE")
        assert codecs.SOUNDS.match(begin)
    assert not codecs.SOUNDS.match(b"RIFF\0\0\0\0WEBP")


def test_what_only_begins_like_a_sound_is_bytes() -> None:
    good = make_wav(tones(50, 1))
    for data in (b"ID3, said the crow. " * 9000, good[:40], good[:44], b"fLaC" + bytes(99)):
        assert lmc.decompress(lmc.compress(data, 1)) == data


def test_it_is_listed() -> None:
    packed = lmc.compress(make_wav(tones(4410, 2)), 1)
    frame = inspect(io.BytesIO(packed)).members[0].frames[0]
    assert frame.sound == "WAV, 44100 Hz, 2 x 16 bit, 0.1 s"
    assert frame.sample_bits == 8 * frame.payload_size / 8820
    assert frame.picture is None


def test_no_sound_comes_out_larger() -> None:
    noise = np.random.default_rng(1).integers(-(1 << 15), 1 << 15, (2, 3000))
    for samples in (noise, noise[:, :20], noise[:1, :1]):
        data = make_wav(samples)
        packed = lmc.compress(data, 1)
        assert lmc.decompress(packed) == data
        assert len(packed) <= len(data) + 25


def of(samples: Array) -> Frame:
    frame = audio.encode(make_wav(samples), Settings(1))
    assert frame is not None
    return frame


FRAMES = [of(tones(300, 2)), of(tones(4000, 1) // 64 * 5)]


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_damage_is_found_or_harmless(data: st.DataObject) -> None:
    frame = data.draw(st.sampled_from(FRAMES))
    payload, params = bytearray(frame.payload), bytearray(frame.params)
    target = data.draw(st.sampled_from([payload, params]))
    place = data.draw(st.integers(0, min(len(target) - 1, 120)))
    target[place] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(len(payload) - 9, len(payload)))
    try:
        if audio.needs(bytes(params), 4000) < 1 << 28:
            audio.decode_frame(10, bytes(params), bytes(payload[:cut]), 4000, None, 1)
    except LmcError:
        pass


@pytest.mark.parametrize(
    "params",
    [
        b"",
        FRAMES[0].params[:-1],
        FRAMES[0].params + b"\0",
        bytes([9, 0, 0, 0, 2, 16, 0, 5, 5]),
        bytes([1, 32, 0, 0, 2, 16, 0, 5, 5]),
        bytes([1, 0, 3, 0, 2, 16, 0, 5, 5]),
        bytes([1, 0, 0x30, 0, 2, 16, 0, 5, 5]),
        bytes([1, 0, 0xF1, 0, 2, 16, 0, 5, 5]),
        bytes([255] * 7 + [5, 5]),
        bytes([1, 0, 0, 5, 2, 16, 0, 5, 5]),
        bytes([1, 0, 0, 0, 0, 16, 0, 5, 5]),
        bytes([1, 0, 0, 0, 17, 16, 0, 5, 5]),
        bytes([1, 0, 0, 0, 2, 33, 0, 5, 5]),
        bytes([1, 0, 0, 0, 2, 16, 1, 5, 5]),
        bytes([1, 0, 0, 0, 2, 32, 9, 5, 5]),
        bytes([1, 8, 0, 0, 1, 16, 0, 5, 5]),
        bytes([1, 0, 0, 0, 2, 16, 0, 5, 0]),
        bytes([1, 0, 0, 0, 2, 16, 0, 128, 128, 128, 1, 5]),
        bytes([1, 0, 0, 0, 2, 16, 0, 5, 255, 255, 255, 127]),
    ],
)
def test_params_out_of_range(params: bytes) -> None:
    with pytest.raises(Corrupt):
        audio.Layout.from_params(params)


def test_a_claim_of_many_samples_takes_no_memory() -> None:
    params = bytes([1, 0, 0, 0, 2, 16, 0, 5, 255, 255, 255, 63])
    assert audio.needs(params, 100) > 1 << 31
    with pytest.raises(LmcError):
        audio.decode_frame(10, params, FRAMES[0].payload[:40], 100, None, 1)


LIMIT = 1 << 25


def starts_well(layout: audio.Layout) -> Writer:
    """A payload up to where the channels are told; what is behind it is for tests to make up."""
    out = Writer()
    out.number(0)
    out.blob(b"")
    if layout.fine:
        out.blob(b"")
    return out


def must_be_corrupt(params: bytes, payload: bytes) -> None:
    """Corrupt, by one line, before much memory is taken."""
    tracemalloc.start()
    try:
        with pytest.raises(Corrupt) as caught:
            audio.decode_frame(10, params, payload, 4000, None, 1)
        assert tracemalloc.get_traced_memory()[1] < LIMIT
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)


FIELDS = st.fixed_dictionaries(
    {
        "format": st.sampled_from([1, 4]),
        "way": st.sampled_from([0, 1, 7, 9]),
        "effort": st.sampled_from([0, 2]),
        "network": st.sampled_from([0, 1]),
        "segments": st.sampled_from([1, 2, 32]),
        "channels": st.sampled_from([1, 2, 16]),
        "bits": st.sampled_from([1, 16, 32]),
        "fine": st.sampled_from([0, 8]),
        "rate": st.sampled_from([0, (1 << 21) - 1]),
        "length": st.sampled_from([1, 31, 32, 4000, 1 << 20]),
    }
)


@given(FIELDS, st.binary(max_size=60))
@settings(max_examples=60, deadline=None)
def test_extreme_layouts_with_nothing_behind(fields: dict[str, int], rest: bytes) -> None:
    params = audio.Layout(**fields).to_params()
    try:
        layout = audio.Layout.from_params(params)
    except Corrupt:
        return
    assert layout.to_params() == params
    assert audio.needs(params, 4000) >= 4 * layout.channels * layout.length
    try:
        back = audio.decode_frame(10, params, starts_well(layout).done() + rest, 4000, None, 1)
    except Corrupt:
        pass
    else:
        assert len(back) < 1 << 27  # some bytes are channels of one value


def test_hostile_recipes_and_channels() -> None:
    plain = audio.Layout(1, 1, 0, 0, 1, 1, 16, 0, 8000, 1 << 20)
    params = plain.to_params()
    for size in (1 << 30, (1 << 63) - 1):  # a recipe far larger than the file
        out = Writer()
        out.number(size)
        out.blob(b"x")
        must_be_corrupt(params, out.done())
    for numbers in (
        (1, 0, 1 << 24),  # a range that is too wide,
        (1, 2 * (1 << 23), 0),  # or out of place
        (1, 2 * (1 << 23) - 2, 0),
        (0, 2 * (1 << 23)),
        (2,),  # a copy of itself,
        (3,),  # of a channel that is not there,
        (1 << 40,),  # of one that never is
    ):
        out = starts_well(plain)
        for number in numbers:
            out.number(number)
        must_be_corrupt(params, out.done())


def test_hostile_levels() -> None:
    few = audio.Layout(1, 1 | audio.LEVELS, 0, 0, 1, 1, 16, 0, 8000, 1000)
    for count, size in ((1 << 24, 1 << 26), (1001, 8), (9, 37), (0, 0)):
        out = starts_well(few)
        for number in (count, 0, size):
            out.number(number)
        out.blob(b"")
        must_be_corrupt(few.to_params(), out.done())


def test_hostile_segments() -> None:
    many = audio.Layout(1, 1, 0, 0, 32, 2, 16, 0, 8000, 1 << 20)
    for size in (0, 5, 1 << 30, (1 << 63) - 1):
        out = starts_well(many)
        for number in (1, 0, 1000, 1, 0, 1000):  # two channels from 0 to 1001
            out.number(number)
        out.number(size)
        out.raw(b"short")
        must_be_corrupt(many.to_params(), out.done())
