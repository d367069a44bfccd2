"""Compressing and decompressing, in pieces, between streams, and as a file.

Everything here is a way to feed one of two machines: `Compressor`, which cuts content into
frames, and `container.Reader`, which cuts files into parts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from lmc.codecs.base import Settings

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
    raise NotImplementedError


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
    raise NotImplementedError


def test_stream(
    src: Source,
    *,
    memory_limit: int | None = None,
    threads: int = 0,
    size_hint: int | None = None,
    progress: Progress | None = None,
) -> Totals:
    """Decompress to nowhere: returns if src is a whole and undamaged file. `written` is the
    size of its content."""
    raise NotImplementedError
