"""LmcFile does what a file of the same content does."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import BinaryIO, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lmc
from lmc.codecs.base import MIN_FRAME_SIZE

LINES = b"".join(b"line %d\n" % number for number in range(20000))
LONG = lmc.compress(LINES, 0, frame_size=MIN_FRAME_SIZE)
FILES = {
    "short": (lmc.compress(LINES, 0), LINES),
    "long": (LONG, LINES),
    "long-long": (LONG + LONG, LINES + LINES),
    "mixed": (
        lmc.compress(LONG, 0) + LONG + lmc.compress(b"") + lmc.compress(b"end"),
        LONG + LINES + b"end",
    ),
    "empty": (lmc.compress(b""), b""),
}

steps = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(-1, 200000)),
        st.tuples(st.just("read1"), st.integers(0, 20000)),
        st.tuples(st.just("readline"), st.integers(-1, 30)),
        st.tuples(st.just("seek"), st.integers(0, 700000)),
        st.tuples(st.just("back"), st.integers(-70000, 0)),
        st.tuples(st.just("on"), st.integers(-70000, 70000)),
    ),
    max_size=10,
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(FILES)), steps)
def test_reads_like_a_file(name: str, steps: list[tuple[str, int]]) -> None:
    data, content = FILES[name]
    plain = io.BytesIO(content)
    with lmc.LmcFile(io.BytesIO(data)) as file:
        for step, number in steps:
            if step == "seek":
                place = min(number, len(content))
            elif step == "back":
                place = max(0, len(content) + number)
            elif step == "on":
                place = min(max(plain.tell() + number, 0), len(content))
            if step in ("seek", "back", "on"):
                plain.seek(place)
                whence = {"seek": 0, "on": 1, "back": 2}[step]
                assert file.seek(number, whence) == place
            elif step == "read1":
                got = file.read1(number)
                assert plain.read(len(got)) == got
                assert got or not number or plain.tell() == len(content)
            else:
                assert getattr(file, step)(number) == getattr(plain, step)(number)
            assert file.tell() == plain.tell()


def test_lines_and_text(tmp_path: Path) -> None:
    path = tmp_path / "lines.lmc"
    with lmc.open(path, "wt", 0, encoding="utf-8", newline="\n") as file:
        assert not isinstance(file, lmc.LmcFile)
        file.write("ein\nzwei\n¬drei")
    with lmc.open(path) as file:
        assert list(file) == [b"ein\n", b"zwei\n", "¬drei".encode()]
    with lmc.open(path, "rt", encoding="utf-8") as file:
        assert file.readlines() == ["ein\n", "zwei\n", "¬drei"]


def test_appending_and_refusing_to_overwrite(tmp_path: Path) -> None:
    path = tmp_path / "a.lmc"
    for mode, content in (("w", b"old"), ("w", b"one"), ("a", b"two"), ("ab", b"")):
        with lmc.open(path, mode, 0) as file:
            assert isinstance(file, lmc.LmcFile)
            assert file.writable()
            assert not file.readable()
            assert file.mode == "wb"
            assert file.write(content) == len(content) == file.tell()
    with pytest.raises(FileExistsError):
        lmc.open(path, "x")
    with lmc.open(str(path)) as file:
        assert isinstance(file, lmc.LmcFile)
        assert file.name == str(path)
        assert file.fileno() > 0
        assert file.peek(1).startswith(b"one")
        buffer = bytearray(10)
        assert file.readinto(buffer) == 6
        assert buffer == b"onetwo" + bytes(4)
    assert file.closed
    file.close()


def test_what_does_not_go(tmp_path: Path) -> None:
    with lmc.LmcFile(io.BytesIO(), "w", 0) as file:
        for reading in (file.read, file.readline, file.peek):
            with pytest.raises(io.UnsupportedOperation):
                reading()
        with pytest.raises(io.UnsupportedOperation):
            file.seek(0)
    with pytest.raises(ValueError, match="closed"):
        file.write(b"")
    with lmc.LmcFile(io.BytesIO(LONG)) as file, pytest.raises(io.UnsupportedOperation):
        file.write(b"")
    for mode in ("rw", "rbt", "q", "", "rr"):
        if mode:
            with pytest.raises(lmc.Usage):
                lmc.open(tmp_path / "b.lmc", mode)
    with pytest.raises(lmc.Usage):
        lmc.open(tmp_path / "b.lmc", "w", encoding="utf-8")
    assert not list(tmp_path.iterdir())


class Pipe(io.RawIOBase):
    def __init__(self, data: bytes) -> None:
        self.data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        return self.data.read(size)


def test_pipes_are_read_but_not_sought() -> None:
    with lmc.LmcFile(cast(BinaryIO, Pipe(LONG))) as file:
        assert not file.seekable()
        assert file.read(10) == LINES[:10]
        with pytest.raises(io.UnsupportedOperation):
            file.seek(0)
        assert file.read() == LINES[10:]


def test_a_cut_file_is_not_taken_for_a_whole_one() -> None:
    for cut in random.Random(2).sample(range(len(LONG)), 50):
        with lmc.LmcFile(io.BytesIO(LONG[:cut])) as file, pytest.raises(lmc.LmcError):
            file.read()
        with lmc.LmcFile(io.BytesIO(LONG[:cut])) as file, pytest.raises(lmc.LmcError):
            file.seek(0)


def test_seeking_opens_only_the_frame_it_needs() -> None:
    damaged = bytearray(LONG)
    damaged[100] ^= 1
    with lmc.LmcFile(io.BytesIO(damaged)) as file:
        file.seek(MIN_FRAME_SIZE)
        assert file.read(100) == LINES[MIN_FRAME_SIZE : MIN_FRAME_SIZE + 100]
        file.seek(0)
        with pytest.raises(lmc.Corrupt):
            file.read(1)
