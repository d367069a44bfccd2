"""The container: members, headers, blocks and the index, parsed and written side by side.

The order and the names are FORMAT.md's; each function names its section. Nothing here knows how a
payload becomes content, and nothing here trusts a size: see `Reader`.
"""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from xxhash import xxh64, xxh64_intdigest

from lmc.codecs.base import MAX_FRAME_SIZE
from lmc.errors import Corrupt, LmcError, NotLmc, TooMuchMemory, Truncated, Unsupported, Usage

VERSION = 1
MAGIC = b"\xacL\r\n"
CLOSING_MAGIC = b"\xacE\r\n"
LONG, MODEL = 0x10, 0x20  # flags in the layout byte, above the version
FRAME, END, SKIPPABLE, USER = 0x01, 0x02, 0x80, 0x80  # kinds of blocks; from SKIPPABLE up: to skip
MAX_PARAMS = 200
MAX_HEADER = 300  # no header, and no block before its payload, is longer
TRAILER = 8

DEFAULT_MEMORY_LIMIT = 4 << 30
"""Bytes that a decoder uses for a frame unless the caller allows more."""


# ---- 1.2, 1.3: numbers and checks ----------------------------------------------------------------


def varint(number: int) -> bytes:
    """Seven bits a byte, lowest first.

    >>> varint(300).hex()
    'ac02'
    """
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def content_check(content: bytes | memoryview) -> int:
    """The 64-bit checksum of content."""
    return xxh64_intdigest(content)


def _crc(data: bytes | memoryview) -> bytes:
    return crc_hqx(data, 0xFFFF).to_bytes(2, "little")


def _u64(number: int) -> bytes:
    return number.to_bytes(8, "little")


class _Cursor:
    """Reads numbers from the bytes at hand; raises Truncated where they end."""

    def __init__(self, data: bytes | bytearray, at: int = 0) -> None:
        self.data = data
        self.at = at

    def take(self, count: int) -> bytes:
        if self.at + count > len(self.data):
            raise Truncated("the file ends inside a header")
        self.at += count
        return bytes(self.data[self.at - count : self.at])

    def byte(self) -> int:
        return self.take(1)[0]

    def varint(self) -> int:
        number = 0
        for position in range(9):
            byte = self.byte()
            number |= (byte & 0x7F) << 7 * position
            if byte < 0x80:
                if position and not byte:
                    break
                return number
        raise Corrupt("a number is not in its shortest form")

    def u64(self) -> int:
        return int.from_bytes(self.take(8), "little")

    def check(self, start: int, what: str) -> None:
        """The crc16 of everything since `start` comes next."""
        expected = _crc(bytes(self.data[start : self.at]))
        if self.take(2) != expected:
            raise Corrupt(f"the checksum of {what} header is wrong")


# ---- 2.2: memory ---------------------------------------------------------------------------------


def memory_code(size: int) -> int:
    """The smallest code that declares at least `size` bytes.

    >>> [memory_size(memory_code(n)) >> 10 for n in (0, 65537, 1 << 20)]
    [64, 72, 1024]
    """
    return next(code for code in range(256) if memory_size(code) >= size)


def memory_size(code: int) -> int:
    """The bytes that a code declares."""
    return (8 + (code & 7)) << ((code >> 3) + 13)


# ---- 3: description of a frame -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Description:
    """What a file says of a frame. `method` may be one that this lmc does not know."""

    size: int
    method: int
    params: bytes
    payload_size: int
    check: int


def write_description(description: Description | None) -> bytes:
    """Section 3; None is the description of no frame."""
    if description is None:
        return varint(0)
    count = len(description.params)
    if not 0 < description.size <= MAX_FRAME_SIZE or count > MAX_PARAMS:
        raise ValueError("not a frame that can be described")
    method = description.method
    out = varint(description.size)
    out += bytes([min(method, 15) << 4 | min(count, 15)])
    out += bytes([method - 15] if method >= 15 else [])
    out += bytes([count - 15] if count >= 15 else [])
    return out + varint(description.payload_size) + description.params + _u64(description.check)


def _parse_description(cursor: _Cursor) -> Description | None:
    size = cursor.varint()
    if size == 0:
        return None
    halves = cursor.byte()
    method = halves >> 4
    method += cursor.byte() if method == 15 else 0
    count = halves & 15
    count += cursor.byte() if count == 15 else 0
    payload_size = cursor.varint()
    if size > MAX_FRAME_SIZE or payload_size > size or count > MAX_PARAMS:
        raise Corrupt("a frame header states sizes that cannot be")
    return Description(size, method, cursor.take(count), payload_size, cursor.u64())


# ---- 2.1: header ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a member.

    frame describes the frame of a short member, None if it is empty; a long member has none.
    length: bytes of the header itself (0 where it is yet to be written).
    """

    long: bool
    memory: int
    model: bytes | None = None
    frame: Description | None = None
    length: int = 0


def write_header(header: Header) -> bytes:
    """Section 2.1; the memory is rounded up to what can be declared."""
    layout = VERSION | (LONG if header.long else 0) | (0 if header.model is None else MODEL)
    out = MAGIC + bytes([layout, memory_code(header.memory)]) + (header.model or b"")
    if not header.long:
        out += write_description(header.frame)
    return out + _crc(out)


def parse_header(data: bytes | bytearray) -> Header:
    """Read the header that `data` begins with, believing nothing.

    Raises NotLmc, Truncated (more bytes may help), Corrupt or Unsupported.
    """
    _parse_magic(data)
    cursor = _Cursor(data, len(MAGIC))
    layout = cursor.byte()
    memory = cursor.byte()
    if layout & ~(LONG | MODEL) != VERSION:
        # In every later layout this byte is the length of the rest: so its check can be verified.
        if memory < 2:
            raise Corrupt("the checksum of the file header is wrong")
        cursor.take(memory - 2)
        cursor.check(0, "the file")
        raise Unsupported(_newer(layout))
    model = cursor.take(8) if layout & MODEL else None
    frame = None if layout & LONG else _parse_description(cursor)
    cursor.check(0, "the file")
    return Header(bool(layout & LONG), memory_size(memory), model, frame, cursor.at)


def _newer(layout: int) -> str:
    version = layout & 15
    if version == VERSION:
        return "made by a newer lmc (a format flag that this one does not know)"
    return f"made by a newer lmc (format {version}, this one knows {VERSION})"


def _parse_magic(data: bytes | bytearray) -> None:
    begin = bytes(data[:5])
    if begin[:4] == MAGIC:
        return
    if not begin:
        raise NotLmc("empty, so not an lmc file")
    if MAGIC.startswith(begin):
        raise Truncated("the file ends inside a header")
    if begin.startswith((b"\xacL\n", b"\xacL\r\r\n")):
        raise Corrupt(
            "damaged by a transfer as text", hint="transfer the file again, in binary mode"
        )
    if begin == b"\xacL\r\r":  # the fifth byte will tell
        raise Truncated("the file ends inside a header")
    raise NotLmc("not an lmc file")


# ---- 4: blocks -----------------------------------------------------------------------------------


def write_block(kind: int, fields: bytes) -> bytes:
    """A block without its payload."""
    out = bytes([kind, len(fields)]) + fields
    return out + _crc(out)


def write_frame(description: Description, payload: bytes) -> bytes:
    """Section 4.1."""
    return write_block(FRAME, write_description(description)) + payload


def write_skippable(kind: int, payload: bytes) -> bytes:
    """Section 4.2."""
    return write_block(kind, varint(len(payload)) + _u64(content_check(payload))) + payload


def write_end(index: bytes) -> bytes:
    """Section 4.3, from a finished index; raises Usage if it is too large for its trailer."""
    block = write_block(END, varint(len(index)) + _u64(xxh64_intdigest(index))) + index
    if len(block) + TRAILER >> 32:
        raise Usage("too many frames for one file", hint="choose larger frames")
    return block + (len(block) + TRAILER).to_bytes(4, "little") + CLOSING_MAGIC


def index_entry(block_size: int, content_size: int, check: int) -> bytes:
    """One block's entry in the index."""
    return varint(block_size) + varint(content_size) + _u64(check)


@dataclass(frozen=True, slots=True)
class Block:
    """A block as its fields tell: `description` only for a frame; length: without payload."""

    kind: int
    payload_size: int
    check: int
    description: Description | None
    length: int

    @property
    def entry(self) -> bytes:
        content_size = self.description.size if self.description else 0
        return index_entry(self.length + self.payload_size, content_size, self.check)


def parse_block(data: bytes | bytearray, at: int = 0) -> Block:
    """Read the block that begins at `at`, up to its payload.

    Raises Truncated (more bytes may help), Corrupt or Unsupported.
    """
    cursor = _Cursor(data, at)
    kind = cursor.byte()
    end = cursor.byte() + cursor.at
    begin = cursor.at
    cursor.take(end - begin)
    cursor.check(at, "a block")
    length = cursor.at - at
    fields = _Cursor(bytes(data[begin:end]))
    if kind not in (FRAME, END) and kind < SKIPPABLE:
        raise Unsupported(f"made by a newer lmc (a block of kind {kind})")
    try:
        if kind == FRAME:
            description = _parse_description(fields)
            if description is None:
                raise Corrupt("a frame without content")
            payload_size, check = description.payload_size, description.check
        else:
            description, payload_size, check = None, fields.varint(), fields.u64()
    except Truncated:
        raise Corrupt("the fields of a block are incomplete") from None
    if fields.at < len(fields.data) and kind < SKIPPABLE:
        raise Unsupported("made by a newer lmc (a block with additional fields)")
    return Block(kind, payload_size, check, description, length)


# ---- the parts of a file, from front to back -----------------------------------------------------


@dataclass(frozen=True, slots=True)
class MemberStart:
    """A member begins at byte `offset` of the file."""

    offset: int
    header: Header


@dataclass(frozen=True, slots=True)
class FramePart:
    """A frame; its payload begins at `offset` (None if the reader was told to leave it out)."""

    offset: int
    description: Description
    payload: bytes | None


@dataclass(frozen=True, slots=True)
class SkippablePart:
    """A skippable block whose payload begins at `offset` and is still to come."""

    offset: int
    block: Block


@dataclass(frozen=True, slots=True)
class MemberEnd:
    """The member ended before byte `offset`; all that it says of itself was found right."""

    offset: int


Part = MemberStart | FramePart | SkippablePart | MemberEnd


class Reader:
    """Cuts a file into its parts, however its bytes arrive, and verifies all but the content.

    Feed it bytes and ask for parts until it returns None, which means: more bytes, or after
    `finish`: the end. It keeps the bytes it was fed until their part is complete, and
    nothing else: no buffer is made larger because a header says so.

    With payloads=False the payloads are dropped as they come, and the caller may leave out
    up to `ahead` bytes by calling `skip` instead of feeding them.
    """

    def __init__(self, *, memory_limit: int | None = None, payloads: bool = True) -> None:
        self._limit = DEFAULT_MEMORY_LIMIT if memory_limit is None else memory_limit
        self._payloads = payloads
        self._buffer = bytearray()
        self._error: LmcError | None = None
        self._parts = self._walk()
        self.finished = False
        self.offset = 0  # in the file, of the first byte in the buffer
        self.ahead = 0  # bytes, not yet fed, that belong to a payload nobody reads

    def feed(self, data: bytes | memoryview) -> None:
        """Take the next bytes of the file."""
        self._buffer += data

    def finish(self) -> None:
        """No more bytes will come."""
        self.finished = True

    def skip(self, count: int) -> None:
        """Go on as if `count` bytes had been fed; at most `ahead` of them."""
        if self._buffer or count > self.ahead:
            raise ValueError("only bytes of a payload can be skipped")
        self.ahead -= count
        self.offset += count

    def next(self) -> Part | None:
        """The next part, or None. Raises what FORMAT.md says, and after that the same again."""
        if self._error is not None:
            raise self._error
        try:
            return next(self._parts, None)
        except LmcError as error:
            self._error = error
            raise

    @property
    def unused(self) -> bytes:
        """The bytes fed and not yet part of anything."""
        return bytes(self._buffer)

    def _walk(self) -> Iterator[Part | None]:
        """All parts; None wherever more bytes are needed."""
        first = True
        while first or self._buffer or not self.finished:
            if not first and not self._buffer:
                yield None
                continue
            start = self.offset
            header = None
            while header is None:
                header = self._header(first)
                if header is None:
                    yield None
            first = False
            if header.memory > self._limit:
                raise TooMuchMemory(header.memory, self._limit)
            self._drop(header.length)
            yield MemberStart(start, header)
            if header.long:
                yield from self._blocks(header)
            elif header.frame is not None:
                yield from self._frame(header.frame, header.memory)
            yield MemberEnd(self.offset)

    def _header(self, first: bool) -> Header | None:
        try:
            return parse_header(self._buffer)
        except Truncated:
            if self.finished:
                raise
            return None
        except NotLmc:
            if not self._buffer and not self.finished:
                return None
            if first:
                raise
            raise Corrupt("bytes that are no lmc file follow the end of one") from None

    def _blocks(self, header: Header) -> Iterator[Part | None]:
        index = varint(header.length)
        index_size, index_hash = len(index), xxh64(index)
        while True:
            block = None
            while block is None:
                try:
                    block = parse_block(self._buffer)
                except Truncated:
                    if self.finished:
                        raise
                    yield None
            self._drop(block.length)
            if block.kind == END:
                if (block.payload_size, block.check) != (index_size, index_hash.intdigest()):
                    raise Corrupt("the index does not fit the frames: some are missing or moved")
                yield from self._passed(block)
                yield from self._trailer(block)
                return
            if block.description is not None:
                yield from self._frame(block.description, header.memory)
            else:
                yield SkippablePart(self.offset, block)
                yield from self._passed(block)
            index_size += len(block.entry)
            index_hash.update(block.entry)

    def _frame(self, description: Description, memory: int) -> Iterator[Part | None]:
        size = description.payload_size
        if size + description.size > memory:
            raise Corrupt("a frame is larger than the memory that its file declares")
        start = self.offset
        if self._payloads:
            while len(self._buffer) < size:
                self._more("a frame")
                yield None
            payload = bytes(memoryview(self._buffer)[:size])
            self._drop(size)
            yield FramePart(start, description, payload)
        else:
            yield FramePart(start, description, None)
            yield from self._discard(size)

    def _passed(self, block: Block) -> Iterator[None]:
        """Verify a payload of a block while it passes; it is never kept."""
        if not self._payloads and block.kind != END:
            yield from self._discard(block.payload_size)
            return
        left, seen = block.payload_size, xxh64()
        while left:
            while not self._buffer:
                self._more("a block")
                yield None
            piece = bytes(memoryview(self._buffer)[:left])
            seen.update(piece)
            left -= len(piece)
            self._drop(len(piece))
        if seen.intdigest() != block.check:
            raise Corrupt("the checksum of a block is wrong")

    def _trailer(self, block: Block) -> Iterator[None]:
        while len(self._buffer) < TRAILER:
            self._more("the index")
            yield None
        size = block.length + block.payload_size + TRAILER
        if bytes(self._buffer[:TRAILER]) != size.to_bytes(4, "little") + CLOSING_MAGIC:
            raise Corrupt("the end of the index is damaged")
        self._drop(TRAILER)

    def _discard(self, size: int) -> Iterator[None]:
        here = min(size, len(self._buffer))
        self._drop(here)
        self.ahead = size - here
        while self.ahead:
            self._more("a frame")
            yield None
            here = min(self.ahead, len(self._buffer))
            self._drop(here)
            self.ahead -= here

    def _more(self, what: str) -> None:
        if self.finished:
            raise Truncated(f"the file ends inside {what}")

    def _drop(self, count: int) -> None:
        del self._buffer[:count]
        self.offset += count


# ---- the places of frames, for files that can seek -----------------------------------------------


@dataclass(frozen=True, slots=True)
class Place:
    """Where a frame lies: its block (or short member) at `offset`, its content at `start`.

    check: what the index says that the content's checksum is.
    """

    offset: int
    start: int
    size: int
    check: int
    header: Header


def read_places(file: BinaryIO, *, memory_limit: int | None = None) -> list[Place]:
    """The places of all frames, by the index if the file has one for all of its members, else
    by walking over the headers. Moves the file's position."""
    limit = DEFAULT_MEMORY_LIMIT if memory_limit is None else memory_limit
    members = _members_backwards(file)
    if members is None:
        return _places_forwards(file, limit)
    places = []
    start = 0
    for offset, header, index in members:
        if header.memory > limit:
            raise TooMuchMemory(header.memory, limit)
        cursor = _Cursor(index)
        at = offset + cursor.varint()
        while cursor.at < len(index):
            block_size, size, check = cursor.varint(), cursor.varint(), cursor.u64()
            if size:
                places.append(Place(at, start, size, check, header))
            at += block_size
            start += size
    return places


def read_place(file: BinaryIO, place: Place) -> tuple[Description, bytes]:
    """The description and the payload at a place, compared with what the index said."""
    file.seek(place.offset)
    begin = file.read(MAX_HEADER)
    if place.header.long:
        block = parse_block(begin)
        description, length = block.description, block.length
    else:
        header = parse_header(begin)
        description, length = header.frame, header.length
    if description is None or (description.size, description.check) != (place.size, place.check):
        raise Corrupt("a frame is not what the index says")
    if description.size + description.payload_size > place.header.memory:
        raise Corrupt("a frame is larger than the memory that its file declares")
    # The size is compared with the file first: `read` would reserve what it is asked for.
    if place.offset + length + description.payload_size > file.seek(0, 2):
        raise Truncated("the file ends inside a frame")
    return description, _read_at(file, place.offset + length, description.payload_size)


def walk(file: BinaryIO, reader: Reader, *, piece: int = 1 << 12) -> Iterator[Part]:
    """The parts of a file that can seek, jumping over payloads: for `Reader(payloads=False)`."""
    size = file.seek(0, 2)
    file.seek(0)
    while True:
        part = reader.next()
        if part is not None:
            yield part
            continue
        at = file.tell()
        jump = min(reader.ahead, size - at)
        if jump > piece:
            file.seek(at + jump)
            reader.skip(jump)
            continue
        data = file.read(piece)
        if data:
            reader.feed(data)
        elif reader.finished:
            return
        else:
            reader.finish()


def _places_forwards(file: BinaryIO, limit: int) -> list[Place]:
    places: list[Place] = []
    start = 0
    before = MemberStart(0, Header(True, 0))
    for part in walk(file, Reader(memory_limit=limit, payloads=False)):
        if isinstance(part, MemberStart):
            before = part
        elif isinstance(part, FramePart):
            description = part.description
            length = len(write_block(FRAME, write_description(description)))
            offset = part.offset - length if before.header.long else before.offset
            places.append(Place(offset, start, description.size, description.check, before.header))
            start += description.size
    return places


def _members_backwards(file: BinaryIO) -> list[tuple[int, Header, bytes]] | None:
    """Offset, header and index of each member, or None if not every one of them has an index.

    Section 4.3: what looks like an index may be the end of a short member's payload, so this is
    believed only if the chain of members ends at the first byte of the file.
    """
    members: list[tuple[int, Header, bytes]] = []
    end = file.seek(0, 2)
    while end > 0:
        try:
            member = _member_before(file, end)
        except LmcError:
            return None
        members.append(member)
        end = member[0]
    return members[::-1]


def _member_before(file: BinaryIO, end: int) -> tuple[int, Header, bytes]:
    trailer = _read_at(file, end - TRAILER, TRAILER)
    size = int.from_bytes(trailer[:4], "little")
    if trailer[4:] != CLOSING_MAGIC or size > end:
        raise Corrupt("no trailer")
    block = parse_block(_read_at(file, end - size, min(size, MAX_HEADER)))
    if block.kind != END or block.length + block.payload_size + TRAILER != size:
        raise Corrupt("no end block")
    index = _read_at(file, end - size + block.length, block.payload_size)
    if xxh64_intdigest(index) != block.check:
        raise Corrupt("the checksum of the index is wrong")
    cursor = _Cursor(index)
    length = cursor.varint()
    start = end - size - length
    while cursor.at < len(index):
        start -= cursor.varint()
        cursor.varint()
        cursor.u64()
    header = parse_header(_read_at(file, start, MAX_HEADER))
    if not header.long or header.length != length:
        raise Corrupt("the index leads to no member")
    return start, header, index


def _read_at(file: BinaryIO, offset: int, size: int) -> bytes:
    if offset < 0:
        raise Corrupt("the index leads out of the file")
    file.seek(offset)
    return file.read(size)
