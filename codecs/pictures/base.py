"""What an image file is taken apart into (FORMAT.md, 5.6)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmc.codecs.recipe import Odd, Reader, Writer
from lmc.errors import Corrupt

__all__ = ["Geometry", "Odd", "Picture", "Reader", "Samples", "Writer"]

Samples = NDArray[np.uint8] | NDArray[np.uint16]
"""(height, width, channels), each sample in a uint8, or a uint16 where it has more than 8 bits."""

PNG, BMP, PNM, TIFF = 1, 2, 3, 4


@dataclass(frozen=True, slots=True)
class Picture:
    """An image file as pixels and the rest.

    depth: bits of a sample, 1 to 16; samples of less than 8 have a byte each. kind: "grey",
    "grey+alpha", "rgb", "rgba", "palette" (1 channel) or "other". palette: (n, 3 or 4), for
    "palette" only. format: the file format's number on the wire. recipe: all that `rebuild` needs
    besides the samples.
    """

    samples: Samples
    depth: int
    kind: str
    palette: NDArray[np.uint8] | None
    format: int
    recipe: bytes


@dataclass(frozen=True, slots=True)
class Geometry:
    """What the first bytes of an image file say of its size."""

    width: int
    height: int
    channels: int
    depth: int


def write_exceptions(out: Writer, truth: bytes, guess: bytes) -> None:
    """Where two strings of one length differ: how many bytes, the gaps between them, the bytes."""
    places = np.flatnonzero(np.frombuffer(truth, np.uint8) != np.frombuffer(guess, np.uint8))
    out.number(len(places))
    last = -1
    for place in places.tolist():
        out.number(place - last - 1)
        last = place
    out.raw(bytes(truth[place] for place in places))


def read_exceptions(recipe: Reader, guess: bytes) -> bytes:
    """The string that `write_exceptions` wrote as differences to `guess`."""
    out = bytearray(guess)
    places: list[int] = []
    last = -1
    for _ in range(recipe.number(len(guess))):
        last += 1 + recipe.number(len(guess))
        if last >= len(guess):
            raise Corrupt("the recipe of an image points behind its end")
        places.append(last)
    for place, byte in zip(places, recipe.raw(len(places)), strict=True):
        out[place] = byte
    return bytes(out)


def check(samples: NDArray[Any], height: int, width: int, channels: int, depth: int) -> None:
    """Raise Corrupt where samples are not what a recipe is made for."""
    dtype = np.uint16 if depth > 8 else np.uint8
    if samples.shape != (height, width, channels) or samples.dtype != dtype:
        raise Corrupt("the recipe of an image is for one of another shape")


def unpack(rows: NDArray[np.uint8], width: int, channels: int, depth: int) -> Samples:
    """Samples (height, width, channels) of rows of bytes, big-endian, the highest bits first."""
    height = len(rows)
    if depth == 16:
        wide = np.ascontiguousarray(rows).view(">u2").astype(np.uint16)
        return wide.reshape(height, width, channels)
    if depth == 8:
        return np.ascontiguousarray(rows).reshape(height, width, channels)
    per_byte = 8 // depth
    shifts = np.arange(per_byte - 1, -1, -1, dtype=np.uint8) * np.uint8(depth)
    split = rows[:, :, None] >> shifts & np.uint8((1 << depth) - 1)
    flat = split.reshape(height, -1)[:, : width * channels]
    return np.ascontiguousarray(flat).reshape(height, width, channels)


def pack(samples: NDArray[Any], depth: int) -> NDArray[np.uint8]:
    """Rows of bytes (height, bytes) of samples: the inverse of `unpack`, with zeros as padding."""
    height = len(samples)
    if depth == 16:
        return np.ascontiguousarray(samples.astype(">u2")).view(np.uint8).reshape(height, -1)
    if depth == 8:
        return np.ascontiguousarray(samples).reshape(height, -1)
    per_byte = 8 // depth
    flat = samples.reshape(height, -1).astype(np.uint8) & np.uint8((1 << depth) - 1)
    flat = np.pad(flat, ((0, 0), (0, -flat.shape[1] % per_byte)))
    split = flat.reshape(height, -1, per_byte)
    out = np.zeros(split.shape[:2], np.uint8)
    for i in range(per_byte):
        out |= split[:, :, i] << np.uint8(depth * (per_byte - 1 - i))
    return out


def row_bytes(width: int, channels: int, depth: int) -> int:
    return (width * channels * depth + 7) // 8


def write_padding(out: Writer, rows: NDArray[np.uint8], again: NDArray[np.uint8]) -> None:
    """The bits behind the last sample of each row, if any are set: a flag, then a byte a row."""
    stray = rows[:, -1] ^ again[:, -1]
    if stray.any():
        out.number(1)
        out.raw(stray.tobytes())
    else:
        out.number(0)


def read_padding(recipe: Reader, rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Put the bits that `write_padding` wrote into `rows`."""
    if recipe.number(1):
        rows = rows.copy()
        rows[:, -1] ^= np.frombuffer(recipe.raw(len(rows)), np.uint8)
    return rows


def passes(width: int, height: int, interlaced: bool) -> Iterator[tuple[slice, slice, int, int]]:
    """(rows, columns, width, height) of each pass of a PNG that is not empty (Adam7, or all)."""
    adam7 = (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    )
    for x, y, dx, dy in adam7 if interlaced else ((0, 0, 1, 1),):
        w, h = len(range(x, width, dx)), len(range(y, height, dy))
        if w and h:
            yield slice(y, None, dy), slice(x, None, dx), w, h
