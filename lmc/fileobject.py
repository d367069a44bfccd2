"""An lmc file as a file object, in the manner of `bz2.BZ2File`.

Reading goes from frame to frame; the first `seek` makes a list of all frames' places, from
the index where there is one, and from then on a seek costs the decoding of one frame.
"""

from __future__ import annotations

import builtins
import io
import os
from bisect import bisect_right
from typing import TYPE_CHECKING, BinaryIO, TextIO, cast

from lmc.codecs.base import DEFAULT_LEVEL
from lmc.container import Place, read_place, read_places
from lmc.errors import Usage
from lmc.stream import PIECE, Compressor, Decoder, decode, find_model

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

Name = str | bytes | os.PathLike[str] | os.PathLike[bytes]


def open(
    filename: Name | BinaryIO,
    mode: str = "rb",
    level: int = DEFAULT_LEVEL,
    *,
    model: str | None = None,
    threads: int = 0,
    frame_size: int = 0,
    codec: str = "auto",
    memory_limit: int | None = None,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
) -> LmcFile | TextIO:
    """Open a compressed file, by name or as a binary file object.

    mode: r, w, x or a, with b (the default) or t for text. "a" appends a member. The options
    for the other direction are ignored; those of text are for text modes only (Usage).
    """
    text = "t" in mode
    if text and "b" in mode:
        raise Usage(f"a file cannot be opened as {mode!r}")
    if not text and (encoding, errors, newline) != (None, None, None):
        raise Usage("encoding, errors and newline are for text modes")
    file = LmcFile(
        filename,
        mode.replace("t", ""),
        level,
        model=model,
        threads=threads,
        frame_size=frame_size,
        codec=codec,
        memory_limit=memory_limit,
    )
    if not text:
        return file
    return io.TextIOWrapper(cast(BinaryIO, file), io.text_encoding(encoding), errors, newline)


class LmcFile(io.BufferedIOBase):
    """A compressed file that is read or written as the bytes that it holds.

    Iterable by lines and usable with `with`. If it was given a file object, that stays open when
    this is closed.
    """

    def __init__(
        self,
        filename: Name | BinaryIO,
        mode: str = "rb",
        level: int = DEFAULT_LEVEL,
        *,
        model: str | None = None,
        threads: int = 0,
        frame_size: int = 0,
        codec: str = "auto",
        memory_limit: int | None = None,
    ) -> None:
        self._reader: io.BufferedReader | None = None
        self._compressor: Compressor | None = None
        self._file: BinaryIO | None = None
        kind = mode.replace("b", "", 1) or "r"
        if kind not in ("r", "w", "x", "a"):
            raise Usage(f"a file cannot be opened as {mode!r}")
        if kind != "r":
            self._compressor = Compressor(
                level, model=model, threads=threads, frame_size=frame_size, codec=codec
            )
        if isinstance(filename, str | bytes | os.PathLike):
            self._file = cast(BinaryIO, builtins.open(filename, f"{kind}b"))  # noqa: SIM115
            self._owns = True
        else:
            self._file = filename
            self._owns = False
        self._written = 0
        if kind == "r":
            self._reader = io.BufferedReader(_Contents(self._file, memory_limit, threads))

    def close(self) -> None:
        """Write what is left, and close; doing it twice is harmless."""
        if self._file is None:
            return
        try:
            if self._compressor is not None:
                self._file.write(self._compressor.flush())
            elif self._reader is not None:
                self._reader.close()
        finally:
            if self._owns:
                self._file.close()
            self._file = None
            super().close()

    @property
    def closed(self) -> bool:
        return self._file is None

    @property
    def mode(self) -> str:
        """ "rb" or "wb"."""
        return "rb" if self._compressor is None else "wb"

    @property
    def name(self) -> object:
        """The name of the compressed file, where it has one."""
        return getattr(self._open(), "name", "")

    def fileno(self) -> int:
        """The compressed file's descriptor."""
        return self._open().fileno()

    def readable(self) -> bool:
        self._open()
        return self._reader is not None

    def writable(self) -> bool:
        self._open()
        return self._compressor is not None

    def seekable(self) -> bool:
        self._open()
        return self._reader is not None and self._reader.seekable()

    def peek(self, size: int = 0) -> bytes:
        """Bytes that `read` would return, at least one unless at the end, without moving on."""
        return self._reading().peek(size)

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to size bytes, fewer only at the end; all if size is negative or None."""
        return self._reading().read(size)

    def read1(self, size: int = -1, /) -> bytes:
        """Up to size bytes, with as little work as possible."""
        return self._reading().read1(size)

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        return self._reading().readinto(buffer)

    def readinto1(self, buffer: WriteableBuffer, /) -> int:
        return self._reading().readinto1(buffer)

    def readline(self, size: int | None = -1, /) -> bytes:
        return self._reading().readline(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a place in the content; only in files that can seek, opened for reading."""
        return self._reading().seek(offset, whence)

    def tell(self) -> int:
        """The position in the content."""
        self._open()
        return self._written if self._reader is None else self._reader.tell()

    def write(self, data: ReadableBuffer, /) -> int:
        """Take content; returns how many bytes."""
        file = self._open()
        if self._compressor is None:
            raise io.UnsupportedOperation("the file is open for reading")
        view = memoryview(data).cast("B")
        file.write(self._compressor.compress(view))
        self._written += len(view)
        return len(view)

    def _open(self) -> BinaryIO:
        if self._file is None:
            raise ValueError("the file is closed")
        return self._file

    def _reading(self) -> io.BufferedReader:
        self._open()
        if self._reader is None:
            raise io.UnsupportedOperation("the file is open for writing")
        return self._reader


class _Contents(io.RawIOBase):
    """The content of a file's frames, one frame in memory at a time."""

    def __init__(self, file: BinaryIO, memory_limit: int | None, threads: int) -> None:
        self._file = file
        self._limit = memory_limit
        self._threads = threads
        self._decoder = Decoder(memory_limit=memory_limit, threads=threads)
        self._places: list[Place] | None = None
        self._model: tuple[bytes | None, object | None] = (None, None)  # the last one looked for
        self._start = 0  # position of the content at hand
        self._content = b""
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._file.seekable()

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        at = self._position - self._start
        if not 0 <= at < len(self._content):
            content = self._following() if self._places is None else self._at_position()
            self._start, self._content = content
            at = self._position - self._start
        piece = self._content[at : at + len(view)]
        view[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        if not self.seekable():
            raise io.UnsupportedOperation("the compressed file cannot seek")
        if self._places is None:
            self._places = read_places(self._file, memory_limit=self._limit)
        last = self._places[-1] if self._places else None
        size = last.start + last.size if last else 0
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: size}.get(whence)
        if base is None:
            raise ValueError(f"there is no whence {whence}")
        self._position = min(max(base + offset, 0), size)
        return self._position

    def tell(self) -> int:
        return self._position

    def _following(self) -> tuple[int, bytes]:
        """The frame after the one at hand, from front to back."""
        start = self._start + len(self._content)
        while (content := self._decoder.next()) is None:
            data = self._file.read(PIECE)
            if data:
                self._decoder.reader.feed(data)
            elif self._decoder.reader.finished:
                return start, b""
            else:
                self._decoder.reader.finish()
        return start, content

    def _at_position(self) -> tuple[int, bytes]:
        """The frame that holds the position, by its place."""
        places = self._places or []
        number = bisect_right(places, self._position, key=lambda place: place.start) - 1
        if number < 0 or self._position >= places[number].start + places[number].size:
            return self._position, b""
        place = places[number]
        description, payload = read_place(self._file, place)
        if self._model[0] != place.header.model:
            self._model = (place.header.model, find_model(place.header.model))
        return place.start, decode(
            description, payload, self._model[1], place.header.memory, self._threads
        )
