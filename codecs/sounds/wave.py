"""WAV and its kin: RIFF and RIFX (Microsoft, IBM 1991), RF64 and BW64 (EBU Tech 3306, ITU-R
BS.2088), Sony Wave64."""

from __future__ import annotations

import struct
from typing import Any

from numpy.typing import NDArray

from lmc.codecs.sounds import base, pcm
from lmc.codecs.sounds.base import Geometry, Odd, Sound
from lmc.codecs.sounds.pcm import UNKNOWN, Layout

WAVE64 = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
WAVE64_END = b"\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"  # of "wave" and others
MAGICS = (b"RIFF", b"RIFX", b"RF64", b"BW64", WAVE64)
PCM, IEEE_FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
MOST_CHUNKS = 1000  # before the samples


def geometry(prefix: bytes) -> Geometry:
    return pcm.geometry("WAV", _layout(prefix, None))


def take_apart(data: bytes, most_samples: int) -> Sound:
    """Raises Odd for what is not understood."""
    return pcm.take_apart(data, _layout(data, len(data)), base.WAVE, _guess, most_samples)


def rebuild(recipe: bytes, samples: NDArray[Any]) -> bytes:
    """Raises Corrupt on a recipe that no such file has."""
    return pcm.rebuild(recipe, samples, _guess)


def _layout(data: bytes, whole: int | None) -> Layout:
    """whole: the size of the file, where `data` is all of it."""
    wide = data.startswith(WAVE64)
    big = data.startswith(b"RIFX")
    at = 40 if wide else 12
    right = data[24:40] == b"wave" + WAVE64_END if wide else data[8:12] == b"WAVE"
    if not right:
        raise Odd
    order = ">" if big else "<"
    form, long_size = b"", 0
    for _ in range(MOST_CHUNKS):
        if wide:
            kind, size = data[at : at + 4], int.from_bytes(data[at + 16 : at + 24], "little") - 24
            at += 24
        else:
            kind, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], _name(big))
            at += 8
        if at > len(data) or size < 0:
            raise Odd
        if kind == b"fmt ":
            form = data[at : at + min(size, 40)]
        elif kind == b"ds64":
            long_size = int.from_bytes(data[at + 8 : at + 16], "little")
        elif kind == b"data":
            break
        at += size + (-size % 8 if wide else size % 2)
    else:
        raise Odd
    if not wide and size == UNKNOWN and 0 < long_size < 1 << 62:
        size = long_size
    elif size == 0 and whole is not None:
        # A writer that could not go back; but no samples, where the file's size is right.
        claimed = int.from_bytes(data[4:8], _name(big))
        if wide or claimed + 8 == whole:
            raise Odd
        size = whole - at
    if len(form) < 16:
        raise Odd
    tag, channels, rate, _, align, _ = struct.unpack(f"{order}HHIIHH", form[:16])
    if tag == EXTENSIBLE and len(form) >= 26:
        tag = struct.unpack(f"{order}H", form[24:26])[0]
    if tag not in (PCM, IEEE_FLOAT) or channels == 0 or align % channels:
        raise Odd
    width = align // channels
    unsigned = width == 1
    return Layout(channels, width, rate, at, size, big, unsigned, tag == IEEE_FLOAT)


def _name(big: bool) -> Any:
    return "big" if big else "little"


def _guess(layout: Layout, length: int, whole: int) -> bytes:
    """A header of 44 bytes; a longer one has zeros before the chunk of samples."""
    order = ">" if layout.big else "<"
    size = layout.size & UNKNOWN
    head = struct.pack(
        f"{order}4sI4s4sIHHIIHH",
        b"RIFX" if layout.big else b"RIFF",
        (whole - 8) & UNKNOWN,
        b"WAVE",
        b"fmt ",
        16,
        IEEE_FLOAT if layout.float else PCM,
        layout.channels,
        layout.rate,
        layout.rate * layout.frame & UNKNOWN,
        layout.frame,
        8 * layout.width,
    )
    end = struct.pack(f"{order}4sI", b"data", size)
    return (head.ljust(length - len(end), b"\0") + end)[:length].ljust(length, b"\0")
