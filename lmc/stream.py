"""Compressing and decompressing: at once, in pieces, and between streams.

Everything here is a way to feed one of two machines: `Compressor`, which cuts content into
frames, and `container.Reader`, which cuts files into parts. What comes out depends on the
bytes and the settings, never on how the bytes were cut.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol

from lmc import codecs
from lmc.codecs.base import DEFAULT_LEVEL, MOST_WHOLE, Frame, Plan, Report, Settings
from lmc.container import (
    DEFAULT_MEMORY_LIMIT,
    Description,
    FramePart,
    Header,
    MemberEnd,
    MemberStart,
    Part,
    Reader,
    content_check,
    index_entry,
    varint,
    write_end,
    write_frame,
    write_header,
)
from lmc.errors import Corrupt, LmcError
from lmc.pipeline import Pipeline, cores

if TYPE_CHECKING:
    from lmc.kernels._native import Speculation
    from lmc.models.modelfile import Model

PIECE = 1 << 20
"""Bytes that are read from a stream at a time."""

ENOUGH = 16
"""Bytes that tell an image, audio or video file by its beginning."""

Bytes = bytes | bytearray | memoryview

Progress = Callable[[int, int | None], None]
"""Called with (bytes of the source that are coded, bytes in all or None), from any thread, but
from one at a time."""


class Source(Protocol):
    """What can be read from: `read(n)` returns 1 to n bytes, or none at the end."""

    def read(self, size: int, /) -> bytes: ...


class Sink(Protocol):
    """What can be written to; every byte is taken."""

    def write(self, data: bytes, /) -> object: ...


@dataclass(frozen=True, slots=True)
class Totals:
    """Bytes taken from the source and bytes given to the sink; and what guesses did, if any."""

    read: int
    written: int
    speculation: Speculation | None = None


class Meter:
    """Adds up what frames that are worked on at the same time have done."""

    def __init__(self, progress: Progress | None, total: int | None) -> None:
        self._progress = progress
        self._total = total
        self._done = 0
        self._lock = Lock()

    def part(self, weight: int, size: int) -> Report:
        """A report for a frame of `size` bytes of content that counts for `weight`."""
        before = 0

        def report(done: int) -> None:
            nonlocal before
            with self._lock:
                now = weight * done // size
                self._done += now - before
                before = now
                if self._progress:
                    self._progress(self._done, self._total)

        return report


# ---- to the compressed side ----------------------------------------------------------------------


def compress(
    data: Bytes,
    level: int = DEFAULT_LEVEL,
    *,
    model: str | None = None,
    threads: int = 0,
    frame_size: int = 0,
    codec: str = "auto",
    pixels: bool = False,
    video: str = "",
    frames: bool = False,
    lane_size: int = 0,
    window: int = 0,
) -> bytes:
    """Compress data to a file of one member; the options are those of `Settings`.

    Raises Usage, or ModelMissing.
    """
    compressor = Compressor(
        level,
        model=model,
        threads=threads,
        frame_size=frame_size,
        codec=codec,
        pixels=pixels,
        video=video,
        frames=frames,
        lane_size=lane_size,
        window=window,
    )
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
        frame_size: int = 0,
        codec: str = "auto",
        pixels: bool = False,
        video: str = "",
        frames: bool = False,
        lane_size: int = 0,
        window: int = 0,
        meter: Meter | None = None,
    ) -> None:
        self._settings = Settings(
            level, model, threads, frame_size, codec, pixels, video, frames, lane_size, window
        )
        self._meter = meter or Meter(None, None)
        self._plan = codecs.plan(self._settings)
        size = self._settings.frame_size  # of a frame, and of its payload at most
        self._memory = _memory(self._plan, size, size)
        width = _width(threads, self._plan.model, self._memory, DEFAULT_MEMORY_LIMIT)
        self._frames: Pipeline[_Encoded] = Pipeline(width)
        # Of frames that are made side by side each has one thread.
        self._beside = self._settings if width == 1 else replace(self._settings, threads=1)
        self._pending = bytearray()
        self._index = bytearray()  # empty until the member is known to be long
        self._flushed = False
        # Whether this may be a whole image, audio or video file; not known yet.
        self._whole: bool | None = None

    def compress(self, data: Bytes) -> bytes:
        """Take content; return what can be written so far, often nothing."""
        if self._flushed:
            raise ValueError("the compressor has been flushed")
        rest = memoryview(data).cast("B")
        have = len(self._pending) + len(rest)
        if self._whole is None and have >= ENOUGH:
            begin = bytes(self._pending) + rest[:ENOUGH]
            self._whole = codecs.is_whole(begin, self._settings)
        # An image, audio or video file is one frame, whatever its size.
        if have < ENOUGH or (self._whole and have <= MOST_WHOLE):
            self._pending += rest
            return b""
        self._whole = False
        return self._cut(rest)

    def _cut(self, rest: memoryview) -> bytes:
        """Take content, frame by frame."""
        out = []
        if len(self._pending) > self._settings.frame_size:
            rest = memoryview(bytes(self._pending) + rest)
            self._pending = bytearray()
        while len(self._pending) + len(rest) > self._settings.frame_size:
            taken = self._settings.frame_size - len(self._pending)
            self._pending += rest[:taken]
            rest = rest[taken:]
            if not self._index:
                out.append(self._long_header())
            for job in self._jobs():
                self._frames.put(job)
                out += self._finished()
        self._pending += rest
        return b"".join(out)

    def flush(self) -> bytes:
        """End the member; return the rest of it. The compressor cannot be used after that."""
        if self._flushed:
            raise ValueError("the compressor has been flushed")
        self._flushed = True
        if not self._pending and not self._index:
            return write_header(Header(False, 0))
        out = []
        if self._whole is not False and not self._index:
            whole = self._whole_file()
            if whole is not None:
                return whole
            out.append(self._cut(memoryview(b"")))
        if not self._index:
            self._beside = self._settings
        jobs = self._jobs()
        if len(jobs) == 1 and not self._index:
            return _short(*jobs[0]())
        if not self._index:
            out.append(self._long_header())
        for job in jobs:
            self._frames.put(job)
            out += self._finished()
        return b"".join([*out, *self._finished(drain=True), write_end(bytes(self._index))])

    def _whole_file(self) -> bytes | None:
        content = bytes(self._pending)
        report = self._meter.part(len(content), len(content))
        plain = codecs.pixels_of(content) if self._settings.pixels else None
        if plain is not None:
            frame = codecs.whole_of(plain, self._settings, plain=True)
            if frame is not None and len(frame.payload) < len(content):
                report(len(content))
                return _short(frame, _describe(frame, plain))
        frames = codecs.frames_of(content) if self._settings.frames else None
        if frames is not None:
            # However large they are: what was asked for is not the file.
            frame = codecs.whole_of(frames, self._settings)
            if frame is not None:
                report(len(content))
                return _short(frame, _describe(frame, frames))
        frame = codecs.whole_of(content, self._settings, report)
        if frame is None or len(frame.params) + len(frame.payload) >= len(content):
            report(0)
            return None
        report(len(content))
        return _short(frame, _describe(frame, content))

    def _long_header(self) -> bytes:
        header = write_header(Header(True, self._memory, self._plan.model))
        self._index += varint(len(header))
        return header

    def _jobs(self) -> list[Callable[[], _Encoded]]:
        """What encodes the pending content, which is no longer pending, frame by frame."""
        content = bytes(self._pending)
        self._pending = bytearray()
        jobs: list[Callable[[], _Encoded]] = []
        start = 0
        for size in codecs.pieces(content, self._settings):
            piece = content[start : start + size]
            jobs.append(partial(_encode, piece, self._beside, self._meter.part(size, size)))
            start += size
        return jobs

    def _finished(self, *, drain: bool = False) -> list[bytes]:
        out = []
        while (encoded := self._frames.get(drain=drain)) is not None:
            frame, description = encoded
            block = write_frame(description, frame.payload)
            self._index += index_entry(len(block), description.size, description.check)
            out.append(block)
        return out


_Encoded = tuple[Frame, Description]


def _encode(content: bytes, settings: Settings, report: Report) -> _Encoded:
    frame = codecs.encode_frame(content, settings, report)
    report(len(content))
    return frame, _describe(frame, content)


def _describe(frame: Frame, content: bytes) -> Description:
    check = content_check(content)
    return Description(len(content), frame.method, frame.params, len(frame.payload), check)


def _short(frame: Frame, description: Description) -> bytes:
    """A short member of one frame."""
    memory = _memory(frame, description.size, description.payload_size)
    return write_header(Header(False, memory, frame.model, description)) + frame.payload


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
        codec=settings.codec,
        pixels=settings.pixels,
        video=settings.video,
        frames=settings.frames,
        lane_size=settings.lane_size,
        window=settings.window,
        meter=Meter(progress, size_hint),
    )
    read = written = 0
    while data := src.read(PIECE):
        read += len(data)
        written += _write(dst, compressor.compress(data))
    return Totals(read, written + _write(dst, compressor.flush()))


def _memory(needs: Plan | Frame, size: int, payload_size: int) -> int:
    return needs.memory + size + payload_size


def _width(threads: int, model: bytes | None, memory: int, limit: int) -> int:
    """How many frames to work on at a time: a network has work for all threads in one frame, byte
    models have it in several, which stay together below the limit. On a GPU there are twice as many
    as threads: half of them wait for it while the others code."""
    if model is not None:
        return 2 * cores(threads) if import_module("lmc.kernels.gpu").chosen() else 1
    return max(1, min(cores(threads), limit // memory))


def _write(dst: Sink, data: bytes) -> int:
    if data:
        dst.write(data)
    return len(data)


# ---- and back ------------------------------------------------------------------------------------


def decompress(data: Bytes, *, memory_limit: int | None = None, threads: int = 0) -> bytes:
    """The content of a whole file, of one or more members.

    Raises every kind of LmcError but Usage. memory_limit: bytes, see DEFAULT_MEMORY_LIMIT.
    """
    decoder = Decoder(memory_limit=memory_limit, threads=threads, parallel=True)
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
    """A reader and the model that the member at hand names: bytes of files to content.

    With several frames at a time (parallel) content comes late: at the end of the file at latest.
    speculate: let networks look at several tokens that may come next; the content is the same.
    """

    def __init__(
        self,
        *,
        memory_limit: int | None = None,
        threads: int = 0,
        parallel: bool = False,
        speculate: bool = True,
        meter: Meter | None = None,
    ) -> None:
        self._meter = meter or Meter(None, None)
        self._limit = DEFAULT_MEMORY_LIMIT if memory_limit is None else memory_limit
        self.reader = Reader(memory_limit=self._limit)
        self.ended = False  # just behind a member
        self._threads = threads
        self._parallel = parallel
        self._speculate = speculate
        self.speculation: Speculation | None = None  # once a model is there
        self._model: object | None = None
        self._memory = 0  # what the member declares
        self._frames: Pipeline[bytes] = Pipeline(1)
        self._complete = False  # no part will come any more
        self._error: LmcError | None = None  # to be raised after the content before it

    def next(self, *, one_member: bool = False) -> bytes | None:
        """The next frame's content, or None: more bytes are needed, or this is the end.

        Goes on into the next member, if there is one, unless one_member is set. Raises an
        error at the place where it belongs, and the same again after that.
        """
        while True:
            try:
                content = self._frames.get(drain=self._complete)
            except LmcError as error:
                self._error, self._complete = error, True
                self._frames = Pipeline(1)
                raise
            if content is not None:
                return content
            if self._error is not None:
                raise self._error
            if self._complete or (one_member and self.ended):
                return None
            try:
                part = self.reader.next()
                self._take(part)
            except LmcError as error:
                self._error, self._complete = error, True
                continue
            if part is None and not self.reader.finished:
                return None
            self._complete = part is None

    def _take(self, part: Part | None) -> None:
        if isinstance(part, MemberStart):
            header = part.header
            self._model = self._find_model(header.model)
            self._memory = header.memory
            several = self._parallel and header.long
            width = _width(self._threads, header.model, header.memory, self._limit)
            self._frames.width = width if several else 1
        elif isinstance(part, FramePart) and part.payload is not None:
            threads = self._threads if self._frames.width == 1 else 1
            about = part.description
            report = self._meter.part(about.payload_size, about.size)
            self._frames.put(
                partial(decode, about, part.payload, self._model, self._memory, threads, report)
            )
        if part is not None:
            self.ended = isinstance(part, MemberEnd)

    def _find_model(self, identity: bytes | None) -> object | None:
        model: Model | None = find_model(identity)
        if model is None or not self._speculate:
            return model
        if self.speculation is None:
            self.speculation = import_module("lmc.kernels._native").Speculation()
        return model.guessing(self.speculation)

    def decode(self, data: bytes | memoryview) -> list[bytes]:
        """Feed bytes, none for the end of the file; return the content that is complete."""
        if data:
            self.reader.feed(data)
        else:
            self.reader.finish()
        return list(iter(self.next, None))


def decompress_stream(
    src: Source,
    dst: Sink,
    *,
    memory_limit: int | None = None,
    threads: int = 0,
    speculate: bool = True,
    size_hint: int | None = None,
    progress: Progress | None = None,
) -> Totals:
    """Decompress all members of src. A frame is written only when its checksum was found right;
    an error may come after right frames were written. Raises every kind of LmcError but Usage.
    size_hint: the size of the file, for `progress`."""
    decoder = Decoder(
        memory_limit=memory_limit,
        threads=threads,
        parallel=True,
        speculate=speculate,
        meter=Meter(progress, size_hint),
    )
    read = written = 0
    while data := src.read(PIECE):
        read += len(data)
        decoder.reader.feed(data)
        while (content := decoder.next()) is not None:
            written += _write(dst, content)
    decoder.reader.finish()
    while (content := decoder.next()) is not None:
        written += _write(dst, content)
    return Totals(read, written, decoder.speculation)


class _Nowhere:
    def write(self, data: bytes, /) -> None:
        """Take the bytes and forget them."""


def verify_stream(
    src: Source,
    *,
    memory_limit: int | None = None,
    threads: int = 0,
    speculate: bool = True,
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
        speculate=speculate,
        size_hint=size_hint,
        progress=progress,
    )


def decode(
    description: Description,
    payload: bytes,
    model: object | None,
    memory: int,
    threads: int,
    report: Report | None = None,
) -> bytes:
    """Decode one frame of a member that declares so much memory, and verify its content.

    Raises Corrupt or Unsupported.
    """
    claimed = codecs.needs(description.method, description.params, description.size)
    if claimed > memory:
        raise Corrupt("a frame needs more than the memory that its file declares")
    content = codecs.decode_frame(
        description.method, description.params, payload, description.size, model, threads, report
    )
    if len(content) != description.size or content_check(content) != description.check:
        raise Corrupt("the checksum of the content is wrong")
    if report:
        report(len(content))
    return content


def find_model(identity: bytes | None) -> Any:
    """The installed model of which a header gives the first 8 bytes; None for None.

    Raises ModelMissing.
    """
    if identity is None:
        return None
    return import_module("lmc.models.registry").find(identity)
