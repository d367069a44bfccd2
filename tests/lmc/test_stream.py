"""At once, in pieces, between streams: the same bytes, whatever the way."""

from __future__ import annotations

import io
import os
import random
import subprocess
import sys
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lmc
from lmc.codecs.base import FRAME_SIZE, MIN_FRAME_SIZE

CONTENTS = [b"", b"a", b"short", bytes(70000), random.Random(1).randbytes(5 * MIN_FRAME_SIZE + 3)]


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[begin:end] for begin, end in pairwise(places)]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(CONTENTS), st.lists(st.integers(0, 1 << 20), max_size=8))
def test_any_way_of_cutting_gives_the_same_bytes(content: bytes, cuts: list[int]) -> None:
    whole = lmc.compress(content, 0, frame_size=MIN_FRAME_SIZE)
    compressor = lmc.Compressor(0, frame_size=MIN_FRAME_SIZE)
    parts = [compressor.compress(piece) for piece in pieces(content, cuts)]
    assert b"".join([*parts, compressor.flush()]) == whole
    decompressor = lmc.Decompressor()
    assert (
        b"".join(decompressor.decompress(piece) for piece in pieces(whole, cuts) if piece)
        == content
    )
    assert decompressor.eof
    assert not decompressor.needs_input


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(CONTENTS),
    st.integers(1000, 100000),
    st.integers(1000, 100000),
)
def test_max_length(content: bytes, length: int, size: int) -> None:
    data = lmc.compress(content, 0, frame_size=MIN_FRAME_SIZE) + b"more"
    decompressor = lmc.Decompressor()
    out = b""
    at = 0
    for _ in range(2 * len(data)):
        if decompressor.eof:
            break
        piece = b""
        if decompressor.needs_input:
            piece = data[at : at + size]
            at += len(piece)
            assert piece
        got = decompressor.decompress(piece, length)
        assert len(got) <= length
        out += got
    assert out == content
    assert decompressor.unused_data + data[at:] == b"more"
    with pytest.raises(EOFError):
        decompressor.decompress(b"")


@pytest.mark.parametrize("content", CONTENTS, ids=len)
@pytest.mark.parametrize("level", [0, 1, 2])
def test_streams(content: bytes, level: int) -> None:
    options = lmc.Settings(level=level, frame_size=MIN_FRAME_SIZE)
    compressed, out, calls = io.BytesIO(), io.BytesIO(), []
    totals = lmc.compress_stream(
        io.BytesIO(content),
        compressed,
        options,
        size_hint=len(content),
        progress=lambda done, total: calls.append((done, total)),
    )
    data = compressed.getvalue()
    assert totals == lmc.Totals(len(content), len(data))
    assert data == lmc.compress(content, level, frame_size=MIN_FRAME_SIZE)
    assert calls == sorted(calls)
    assert calls[-1:] == ([(len(content), len(content))] if content else [])
    totals = lmc.decompress_stream(io.BytesIO(data), out)
    assert out.getvalue() == content
    assert totals == lmc.Totals(len(data), len(content))
    assert lmc.verify_stream(io.BytesIO(data)) == totals


class Dripping:
    """A stream that cannot seek, and gives what it likes."""

    def __init__(self, data: bytes) -> None:
        self.file = io.BytesIO(data)

    def read(self, size: int, /) -> bytes:
        return self.file.read(min(size, 7))


def test_streams_that_cannot_seek() -> None:
    data = lmc.compress(CONTENTS[-1], 0, frame_size=MIN_FRAME_SIZE)
    compressed, out = io.BytesIO(), io.BytesIO()
    lmc.compress_stream(
        Dripping(CONTENTS[-1]), compressed, lmc.Settings(0, frame_size=MIN_FRAME_SIZE)
    )
    assert compressed.getvalue() == data
    lmc.decompress_stream(Dripping(data), out)
    assert out.getvalue() == CONTENTS[-1]


@pytest.mark.parametrize("threads", [0, 1, 2, 7])
def test_threads_change_nothing(threads: int) -> None:
    content = CONTENTS[-1]
    data = lmc.compress(content, 0, frame_size=MIN_FRAME_SIZE)
    assert lmc.compress(content, 0, frame_size=MIN_FRAME_SIZE, threads=threads) == data
    assert lmc.decompress(data + data, threads=threads) == content + content
    damaged = bytearray(data)
    damaged[3 * MIN_FRAME_SIZE] ^= 1
    out = io.BytesIO()
    with pytest.raises(lmc.Corrupt, match="the content"):
        lmc.decompress_stream(io.BytesIO(damaged), out, threads=threads)
    assert out.getvalue() == content[: 2 * MIN_FRAME_SIZE]
    out = io.BytesIO()
    with pytest.raises(lmc.Truncated):
        lmc.decompress_stream(io.BytesIO(data[: 4 * MIN_FRAME_SIZE]), out, threads=threads)
    assert out.getvalue() == content[: 3 * MIN_FRAME_SIZE]


def test_no_unverified_byte_is_written() -> None:
    data = bytearray(lmc.compress(CONTENTS[-1], 0, frame_size=MIN_FRAME_SIZE))
    data[3 * MIN_FRAME_SIZE] ^= 1
    out = io.BytesIO()
    with pytest.raises(lmc.Corrupt, match="the content"):
        lmc.decompress_stream(io.BytesIO(data), out)
    assert out.getvalue() == CONTENTS[-1][: 2 * MIN_FRAME_SIZE]


def test_concatenation() -> None:
    data = b"".join(lmc.compress(content, 0) for content in CONTENTS)
    assert lmc.decompress(data) == b"".join(CONTENTS)
    decompressor = lmc.Decompressor()
    assert decompressor.decompress(data) == b""
    assert lmc.decompress(decompressor.unused_data) == b"".join(CONTENTS)


@pytest.mark.parametrize(
    ("size", "overhead"), [(0, 9), (1, 19), (127, 19), (128, 21), (16384, 23), ((1 << 21) - 1, 23)]
)
def test_overhead(size: int, overhead: int) -> None:
    assert len(lmc.compress(os.urandom(size), 0)) - size == overhead


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("frames", [0, 1, 2, 3, 10])
@pytest.mark.parametrize("more", [0, 1, 65535])
def test_expansion(level: int, frames: int, more: int) -> None:
    content = random.Random(frames).randbytes(frames * MIN_FRAME_SIZE + more)
    data = lmc.compress(content, level, frame_size=MIN_FRAME_SIZE)
    assert len(data) <= len(content) + 48 + len(content) // 1000


def test_expansion_at_the_default_frame_size() -> None:
    content = bytes(FRAME_SIZE + 1)
    assert len(lmc.compress(content, 0)) == len(content) + 92


def test_a_compressor_ends_once() -> None:
    compressor = lmc.Compressor(0)
    compressor.flush()
    with pytest.raises(ValueError, match="flushed"):
        compressor.flush()
    with pytest.raises(ValueError, match="flushed"):
        compressor.compress(b"")


@pytest.mark.parametrize(
    "options",
    [
        {"level": 10},
        {"level": -1},
        {"threads": -1},
        {"frame_size": 1000},
        {"lane_size": 100},
        {"window": 8},
        {"window": 4097},
    ],
)
def test_usage(options: dict[str, Any]) -> None:
    with pytest.raises(lmc.Usage) as caught:
        lmc.Compressor(**options)
    assert caught.value.exit_code == 1


def test_any_buffer_is_content() -> None:
    numbers = memoryview(b"abcdefgh").cast("I")
    assert lmc.decompress(memoryview(lmc.compress(numbers, 0))) == b"abcdefgh"
    assert lmc.decompress(bytearray(lmc.compress(bytearray(b"x"), 0))) == b"x"


def test_importing_is_light() -> None:
    code = (
        "import sys, lmc, lmc.errors; "
        "heavy = {'numpy', 'torch', 'tokenizers', 'transformers', 'safetensors', 'click'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
