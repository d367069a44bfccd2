"""The container believes nothing: round trips, damage, lies, and nonsense."""

from __future__ import annotations

import io
import random
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lmc
from lmc.container import (
    MAX_PARAMS,
    Description,
    FramePart,
    Header,
    MemberStart,
    Reader,
    content_check,
    index_entry,
    memory_code,
    memory_size,
    parse_block,
    parse_header,
    varint,
    walk,
    write_block,
    write_description,
    write_end,
    write_frame,
    write_header,
    write_skippable,
)

GOLDEN = Path(__file__).parents[1] / "golden"
# Those of the models that come with lmc would take minutes, and are no other to a parser.
GOOD = sorted(p for p in GOLDEN.glob("good-*.lmc") if not p.stem.startswith("good-lmc-"))

u64 = st.integers(0, 2**64 - 1)


@st.composite
def descriptions(draw: st.DrawFn) -> Description:
    size = draw(st.integers(1, 1 << 30))
    return Description(
        size,
        draw(st.integers(0, 270)),
        draw(st.binary(max_size=MAX_PARAMS)),
        draw(st.integers(0, size)),
        draw(u64),
    )


@st.composite
def headers(draw: st.DrawFn) -> Header:
    long = draw(st.booleans())
    return Header(
        long,
        memory_size(draw(st.integers(0, 255))),
        draw(st.none() | st.binary(min_size=8, max_size=8)),
        None if long else draw(st.none() | descriptions()),
    )


@settings(max_examples=400, deadline=None)
@given(headers(), st.binary(max_size=20))
def test_header_round_trip(header: Header, behind: bytes) -> None:
    data = write_header(header)
    parsed = parse_header(data + behind)
    assert parsed.length == len(data) <= 300
    assert parsed == Header(header.long, header.memory, header.model, header.frame, len(data))
    for cut in range(len(data)):
        with pytest.raises(lmc.NotLmc if cut == 0 else lmc.Truncated):
            parse_header(data[:cut])


@settings(max_examples=200, deadline=None)
@given(descriptions(), st.binary(max_size=20))
def test_block_round_trip(description: Description, behind: bytes) -> None:
    data = write_frame(description, b"")
    block = parse_block(data + behind)
    assert block.description == description
    assert block.length == len(data)
    for cut in range(len(data)):
        with pytest.raises(lmc.Truncated):
            parse_block(data[:cut])


@given(st.integers(0, 15 << 44))
def test_memory_code_is_tight(size: int) -> None:
    declared = memory_size(memory_code(size))
    assert size <= declared <= max(1 << 16, size + size // 8 + 1)


def test_memory_codes_rise() -> None:
    sizes = [memory_size(code) for code in range(256)]
    assert sizes == sorted(set(sizes))
    assert [memory_code(size) for size in sizes] == list(range(256))


@pytest.mark.parametrize("text", ["8000", "ff00", "808080808080808000", "ffffffffffffffffff01"])
def test_varints_have_one_form(text: str) -> None:
    fields = bytes.fromhex(text) + bytes(8)
    with pytest.raises(lmc.Corrupt, match="shortest"):
        parse_block(write_block(0x80, fields))


@pytest.mark.usefixtures("tiny_home")
@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_every_truncation_is_found(path: Path) -> None:
    data = path.read_bytes()
    content = lmc.decompress(data)
    ends = 0
    for cut in range(len(data)):
        kind, out = _attempt(data[:cut])
        if kind is None:  # between two members: FORMAT.md, 4.4
            ends += 1
            assert content.startswith(out)
        else:
            assert kind is (lmc.Truncated if cut else lmc.NotLmc)
    assert ends == (3 if path.stem == "good-concatenated" else 0)


SLOW = {"good-image": 7, "good-audio": 47, "good-video": 61}


@pytest.mark.usefixtures("tiny_home")
@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_every_flipped_bit_is_found(path: Path) -> None:
    data = path.read_bytes()
    content = lmc.decompress(data)
    # Some are slow to decode: a bit of every seventh byte, or of fewer.
    step = next((n for kind, n in SLOW.items() if path.stem.startswith(kind)), 1)
    for position in range(0, len(data), step):
        for bit in (position % 8,) if step > 1 else range(8):
            damaged = bytearray(data)
            damaged[position] ^= 1 << bit
            kind, out = _attempt(bytes(damaged))
            # A bit of the last byte of coded bits may leave the coder's final interval as it is;
            # image, audio, video and JPEG frames have several runs of them.
            several = step > 1 or path.stem.startswith("good-jpeg")
            at_an_end = position == len(data) - 1 or several
            harmless = kind is None and out == content and at_an_end
            assert harmless or (kind is not None and issubclass(kind, lmc.Corrupt | lmc.NotLmc))


def _attempt(data: bytes) -> tuple[type[lmc.LmcError] | None, bytes]:
    try:
        return None, lmc.decompress(data)
    except lmc.LmcError as error:
        return type(error), b""


def _member(rng: random.Random) -> tuple[bytes, bytes]:
    """A random member, valid, and its content."""
    if rng.random() < 0.4:
        content = rng.randbytes(rng.randrange(40))
        return lmc.compress(content, 0), content
    out = write_header(Header(True, 0))
    index = varint(len(out))
    contents = b""
    for _ in range(rng.randrange(4)):
        content = rng.randbytes(rng.randrange(1, 40))
        size = 0
        if rng.random() < 0.3:
            block = write_skippable(rng.randrange(0x80, 0x100), content)
        else:
            size = len(content)
            description = Description(size, 0, b"", size, content_check(content))
            block = write_frame(description, content)
            contents += content
        out += block
        index += index_entry(len(block), size, content_check(content))
    return out + write_end(index), contents


def _file(rng: random.Random) -> tuple[bytes, bytes]:
    members = [_member(rng) for _ in range(rng.randrange(1, 4))]
    return b"".join(data for data, _ in members), b"".join(content for _, content in members)


def _damage(rng: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(rng.randrange(1, 4)):
        at, other = rng.randrange(len(out) + 1), rng.randrange(len(out) + 1)
        kind = rng.randrange(5)
        if kind == 0:
            out[at:at] = rng.randbytes(rng.randrange(1, 9))
        elif kind == 1:
            del out[at : at + rng.randrange(1, 30)]
        elif kind == 2:
            out[at : at + 4] = rng.choice([b"\xff\xff\xff\xff", bytes(4), b"\x80\x80\x80\x01"])
        elif kind == 3:
            piece = out[at : at + 30]
            out[other:other] = piece
        elif at < len(out):
            out[at] = rng.randrange(256)
        if not out:
            break
    return bytes(out)


def _outcome(data: bytes, cuts: list[int]) -> tuple[str, bytes]:
    """The error's name and message, or nothing; and the payloads that came before it."""
    reader = Reader()
    out = b""
    try:
        for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            reader.feed(data[begin:end])
            while part := reader.next():
                out += part.payload or b"" if isinstance(part, FramePart) else b""
        reader.finish()
        while part := reader.next():
            out += part.payload or b"" if isinstance(part, FramePart) else b""
    except lmc.LmcError as error:
        return f"{type(error).__name__}: {error}", out
    return "", out


@pytest.mark.parametrize("seed", range(20))
def test_fuzz(seed: int) -> None:
    """Twenty times 500 files, damaged: an error of ours, or the right bytes; never another error.

    How the bytes are cut changes neither, and reading by places agrees.
    """
    rng = random.Random(seed)
    for _ in range(500):
        whole, content = _file(rng)
        assert lmc.decompress(whole) == content
        data = _damage(rng, whole)
        cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(4)))
        outcome = _outcome(data, [])
        assert _outcome(data, cuts) == outcome
        places: bytes | None = None
        try:
            with lmc.LmcFile(io.BytesIO(data)) as file:
                file.seek(0)
                places = file.read()
        except lmc.LmcError:
            pass
        try:
            decoded = lmc.decompress(data)
        except lmc.LmcError:
            pass
        else:
            # Whole members may have gone or been doubled: that is another valid file.
            assert outcome == ("", decoded)
            assert places == decoded


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=60))
def test_nonsense_is_refused(data: bytes) -> None:
    for start in (b"", b"\xacL\r\n", b"\xacL\r\n\x11\x00\x9d\xb0"):
        with pytest.raises(lmc.LmcError):
            lmc.decompress(start + data)


HUGE = Description(1 << 30, 0, b"", 1 << 30, 0)
MORE = Description(1 << 30, 0, b"", 5, 0)
LIES = {
    "short": write_header(Header(False, 1 << 31, None, HUGE)) + bytes(1000),
    "short-tiny-payload": write_header(Header(False, 1 << 31, None, MORE)) + bytes(5),
    "frame": write_header(Header(True, 1 << 31)) + write_frame(HUGE, bytes(1000)),
    "skippable": write_header(Header(True, 0)) + write_block(0x80, varint(1 << 62) + bytes(9)),
    "index": write_header(Header(True, 0)) + write_block(2, varint(1 << 62) + bytes(8)),
}


@pytest.mark.parametrize("name", LIES)
def test_lying_sizes_reserve_nothing(name: str) -> None:
    def through_places() -> None:
        with lmc.LmcFile(io.BytesIO(LIES[name])) as file:
            file.seek(0)
            file.read()

    for read in (
        lambda: lmc.decompress(LIES[name]),
        lambda: lmc.Decompressor().decompress(LIES[name]) or None,
        lambda: lmc.inspect(io.BytesIO(LIES[name])),
        through_places,
    ):
        tracemalloc.start()
        try:
            read()
        except lmc.Corrupt:
            pass
        finally:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert peak < 1 << 20
    with pytest.raises(lmc.Corrupt):
        lmc.decompress(LIES[name])


def test_a_lying_index_reserves_nothing_and_is_found() -> None:
    content = b"content"
    block = write_frame(Description(7, 0, b"", 7, content_check(content)), content)
    start = write_header(Header(True, 1 << 31))
    index = varint(len(start)) + index_entry(len(block), 1 << 30, content_check(content))
    data = start + block + write_end(index)
    with pytest.raises(lmc.Corrupt, match="the index does not fit"):
        lmc.decompress(data)
    with lmc.LmcFile(io.BytesIO(data)) as file:
        assert file.seek(0, 2) == 1 << 30  # so it says
        file.seek(5)
        with pytest.raises(lmc.Corrupt, match="not what the index says"):
            file.read(1)


def test_a_memory_limit_is_kept_and_can_be_raised() -> None:
    data = lmc.compress(bytes(1 << 20), 0)
    with pytest.raises(lmc.TooMuchMemory) as caught:
        lmc.decompress(data, memory_limit=1 << 20)
    assert caught.value.needed == 2 << 20
    assert lmc.decompress(data, memory_limit=2 << 20) == bytes(1 << 20)


def test_skippable_blocks_are_not_kept() -> None:
    reader = Reader()
    size = 50 << 20
    piece = bytes(1 << 20)
    start = write_header(Header(True, 0))
    reader.feed(start + write_block(0x80, varint(size) + bytes(8)))
    tracemalloc.start()
    for _ in range(49):
        reader.feed(piece)
        while reader.next():
            pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20
    reader.feed(piece)
    with pytest.raises(lmc.Corrupt, match="the checksum of a block"):
        reader.next()


def test_an_error_stays() -> None:
    decompressor = lmc.Decompressor()
    for _ in range(2):
        with pytest.raises(lmc.NotLmc):
            decompressor.decompress(b"plain text")


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_walking_over_headers_sees_what_reading_sees(path: Path) -> None:
    data = path.read_bytes()
    reader = Reader()
    reader.feed(data)
    reader.finish()
    seen: list[Any] = list(iter(reader.next, None))
    walked = list(walk(io.BytesIO(data), Reader(payloads=False), piece=16))
    assert [type(part) for part in seen] == [type(part) for part in walked]
    assert [part.offset for part in seen] == [part.offset for part in walked]
    starts = [part for part in walked if isinstance(part, MemberStart)]
    assert all(data[part.offset :].startswith(b"\xacL\r\n") for part in starts)


def test_description_of_no_frame() -> None:
    assert write_description(None) == b"\0"
    with pytest.raises(ValueError, match="described"):
        write_description(Description(5, 0, bytes(MAX_PARAMS + 1), 0, 0))
