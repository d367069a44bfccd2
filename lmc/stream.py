"""Compressing and decompressing: at once, in pieces, and between streams.

Everything here is a way to feed one of two machines: `Compressor`, which cuts content into
frames, and `container.Reader`, which cuts files into parts. What comes out depends on the
bytes and the settings, never on how the bytes were cut.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

from lmc import codecs
from lmc.codecs.base import DEFAULT_FRAME_SIZE, DEFAULT_LEVEL, Frame, Plan, Settings
from lmc.container import (
    Description,
    FramePart,
    Header,
    MemberEnd,
    MemberStart,
    Reader,
    content_check,
    index_entry,
    varint,
    write_end,
    write_frame,
    write_header,
)
from lmc.errors import Corrupt, ModelMissing

PIECE = 1 << 20
"""Bytes that are read from a stream at a time."""

Bytes = bytes | bytearray | memoryview

Progress = Callable[[int, int | None], None]
"""Called with (bytes of the source done, bytes in all or None) after each piece."""


class Source(Protocol):
    """What can be read from: `read(n)` returns 1 to n bytes, or none at the end."""

    def read(self, size: int, /) -> bytes: ...


class Sink(Protocol):
    """What can be written to; every byte is taken."""

    def write(self, data: bytes, /) -> object: ...


@dataclass(frozen=True, slots=True)
class Totals:
    """Bytes taken from the source and bytes given to the sink."""

    read: int
    written: int


# ---- to the compressed side ----------------------------------------------------------------------


def compress(
    data: Bytes,
    level: int = DEFAULT_LEVEL,
    *,
    model: str | None = None,
    threads: int = 0,
    frame_size: int = DEFAULT_FRAME_SIZE,
) -> bytes:
    """Compress data to a file of one member; the options are those of `Settings`.

    Raises Usage, or ModelMissing.
    """
    compressor = Compressor(level, model=model, threads=threads, frame_size=frame_size)
    return compressor.compress(data) + compressor.flush()


class Compressor:
    """Compresses content that comes in pieces, to a member.

    Nothing is written before more than a frame's content has come, or the end: content of one
    frame becomes a short member, which says its size first.
    """

    def __init__(
        self,
        level: int = DEFAULT_LEVEL,
        *,
        model: str | None = None,
        threads: int = 0,
        frame_size: int = DEFAULT_FRAME_SIZE,
    ) -> None:
        self._settings = Settings(level, model, threads, frame_size)
        self._plan = codecs.plan(self._settings)
        self._pending = bytearray()
        self._index = bytearray()  # empty until the member is known to be long
        self._flushed = False

    def compress(self, data: Bytes) -> bytes:
        """Take content; return what can be written so far, often nothing."""
        if self._flushed:
            raise ValueError("the compressor has been flushed")
        out = []
        rest = memoryview(data).cast("B")
        while len(self._pending) + len(rest) > self._settings.frame_size:
            taken = self._settings.frame_size - len(self._pending)
            self._pending += rest[:taken]
            rest = rest[taken:]
            if not self._index:
                out.append(self._long_header())
            out.append(self._frame())
        self._pending += rest
        return b"".join(out)

    def flush(self) -> bytes:
        """End the member; return the rest of it. The compressor cannot be used after that."""
        if self._flushed:
            raise ValueError("the compressor has been flushed")
        self._flushed = True
        if self._index:
            return self._frame() + write_end(bytes(self._index))
        if not self._pending:
            return write_header(Header(False, 0))
        frame, description = self._encode()
        memory = _memory(frame, description.size, description.payload_size)
        header = Header(False, memory, frame.model, description)
        return write_header(header) + frame.payload

    def _long_header(self) -> bytes:
        size = self._settings.frame_size  # of a frame, and of its payload at most
        header = write_header(Header(True, _memory(self._plan, size, size), self._plan.model))
        self._index += varint(len(header))
        return header

    def _frame(self) -> bytes:
        frame, description = self._encode()
        out = write_frame(description, frame.payload)
        self._index += index_entry(len(out), description.size, description.check)
        return out

    def _encode(self) -> tuple[Frame, Description]:
        content = bytes(self._pending)
        self._pending = bytearray()
        frame = codecs.encode_frame(content, self._settings)
        check = content_check(content)
        size = len(content)
        return frame, Description(size, frame.method, frame.params, len(frame.payload), check)


def compress_stream(
    src: Source,
    dst: Sink,
    settings: Settings,
    *,
    size_hint: int | None = None,
    progress: Progress | None = None,
) -> Totals:
    """Compress all of src into one member. size_hint is for `progress` alone: what is written
    depends on content and settings only. Raises ModelMissing before anything is written."""
    compressor = Compressor(
        settings.level,
        model=settings.model,
        threads=settings.threads,
        frame_size=settings.frame_size,
    )
    read = written = 0
    while data := src.read(PIECE):
        read += len(data)
        written += _write(dst, compressor.compress(data))
        if progress:
            progress(read, size_hint)
    return Totals(read, written + _write(dst, compressor.flush()))


def _memory(needs: Plan | Frame, size: int, payload_size: int) -> int:
    return needs.memory + size + payload_size


def _write(dst: Sink, data: bytes) -> int:
    if data:
        dst.write(data)
    return len(data)


# ---- and back ------------------------------------------------------------------------------------


def decompress(data: Bytes, *, memory_limit: int | None = None, threads: int = 0) -> bytes:
    """The content of a whole file, of one or more members.

    Raises every kind of LmcError but Usage. memory_limit: bytes, see DEFAULT_MEMORY_LIMIT.
    """
    decoder = Decoder(memory_limit=memory_limit, threads=threads)
    rest = memoryview(data).cast("B")
    out = []
    for start in range(0, len(rest), PIECE):
        out += decoder.decode(rest[start : start + PIECE])
    out += decoder.decode(b"")
    return out[0] if len(out) == 1 else b"".join(out)


class Decompressor:
    """Decompresses one member that comes in pieces; the manners of `bz2.BZ2Decompressor`.

    eof: the end of the member was found right. unused_data: what came after it. needs_input: more
    compressed bytes are needed before there is more content. A member that was cut off
    raises nothing: its eof stays False.
    """

    def __init__(self, *, memory_limit: int | None = None, threads: int = 0) -> None:
        self._decoder = Decoder(memory_limit=memory_limit, threads=threads)
        self._content = memoryview(b"")
        self.eof = False
        self.needs_input = True
        self.unused_data = b""

    def decompress(self, data: Bytes, max_length: int = -1) -> bytes:
        """Take bytes; return content, at most max_length bytes of it if that is not negative.

        Raises EOFError if the end of the member was reached before, and what `decompress`
        raises but Truncated.
        """
        if self.eof:
            raise EOFError("the end of the member was reached before")
        self._decoder.reader.feed(memoryview(data).cast("B"))
        out = []
        left = max_length
        while left:
            if not self._content:
                content = self._decoder.next(one_member=True)
                if content is None:
                    break
                self._content = memoryview(content)
            piece = self._content if left < 0 else self._content[:left]
            self._content = self._content[len(piece) :]
            left -= len(piece) if left > 0 else 0
            out.append(piece)
        self._look_ahead()
        return b"".join(out)

    def _look_ahead(self) -> None:
        """Say whether content is left, without waiting for the caller to ask."""
        if not self._content:
            self._content = memoryview(self._decoder.next(one_member=True) or b"")
        self.eof = self._decoder.ended and not self._content
        self.needs_input = not self.eof and not self._content
        if self.eof:
            self.unused_data = self._decoder.reader.unused


class Decoder:
    """A reader and the model that the member at hand names: bytes of files to content."""

    def __init__(self, *, memory_limit: int | None = None, threads: int = 0) -> None:
        self.reader = Reader(memory_limit=memory_limit)
        self.ended = False  # just behind a member
        self._model: object | None = None
        self._threads = threads

    def next(self, *, one_member: bool = False) -> bytes | None:
        """The next frame's content, or None: more bytes are needed, or this is the end.

        Goes on into the next member, if there is one, unless one_member is set.
        """
        while not (one_member and self.ended):
            part = self.reader.next()
            if part is None:
                break
            self.ended = isinstance(part, MemberEnd)
            if isinstance(part, MemberStart):
                self._model = find_model(part.header.model)
            elif isinstance(part, FramePart) and part.payload is not None:
                return decode(part.description, part.payload, self._model, self._threads)
        return None

    def decode(self, data: bytes | memoryview) -> list[bytes]:
        """Feed bytes, none for the end of the file; return the content of all complete frames."""
        if data:
            self.reader.feed(data)
        else:
            self.reader.finish()
        out = []
        while (content := self.next()) is not None:
            out.append(content)
        return out


def decompress_stream(
    src: Source,
    dst: Sink,
    *,
    memory_limit: int | None = None,
    threads: int = 0,
    size_hint: int | None = None,
    progress: Progress | None = None,
) -> Totals:
    """Decompress all members of src. A frame is written only when its checksum was found right;
    an error may come after right frames were written. Raises every kind of LmcError but Usage.
    size_hint: the size of the file, for `progress`."""
    decoder = Decoder(memory_limit=memory_limit, threads=threads)
    read = written = 0
    while data := src.read(PIECE):
        read += len(data)
        decoder.reader.feed(data)
        while (content := decoder.next()) is not None:
            written += _write(dst, content)
        if progress:
            progress(read, size_hint)
    for content in decoder.decode(b""):
        written += _write(dst, content)
    return Totals(read, written)


class _Nowhere:
    def write(self, data: bytes, /) -> None:
        """Take the bytes and forget them."""


def verify_stream(
    src: Source,
    *,
    memory_limit: int | None = None,
    threads: int = 0,
    size_hint: int | None = None,
    progress: Progress | None = None,
) -> Totals:
    """Decompress to nowhere: returns if src is a whole and undamaged file. `written` is the
    size of its content."""
    return decompress_stream(
        src,
        _Nowhere(),
        memory_limit=memory_limit,
        threads=threads,
        size_hint=size_hint,
        progress=progress,
    )


def decode(description: Description, payload: bytes, model: object | None, threads: int) -> bytes:
    """Decode one frame and verify its content; raises Corrupt or Unsupported."""
    content = codecs.decode_frame(
        description.method, description.params, payload, description.size, model, threads
    )
    if len(content) != description.size or content_check(content) != description.check:
        raise Corrupt("the checksum of the content is wrong")
    return content


def find_model(identity: bytes | None) -> Any:
    """The installed model of which a header gives the first 8 bytes; None for None.

    Raises ModelMissing.
    """
    if identity is None:
        return None
    if not find_spec("lmc.models.registry"):
        raise ModelMissing(f"model {identity.hex()} is not installed")
    return import_module("lmc.models.registry").find(identity)
