"""PNG (ISO 15948): chunks, a zlib stream of filtered rows, and the pixels under the filters."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmc.codecs.pictures import base, zlib_stream
from lmc.codecs.pictures.base import Geometry, Odd, Picture, Reader, Samples, Writer
from lmc.errors import Corrupt
from lmc.kernels import _native

MAGIC = b"\x89PNG\r\n\x1a\n"
PALETTE = 3
COLOURS = {0: ("grey", 1), 2: ("rgb", 3), 3: ("palette", 1), 4: ("grey+alpha", 2), 6: ("rgba", 4)}
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
MOST_UNPACKED = 1 << 22  # bytes of a profile or a text
Chunk = tuple[bytes, bytes]

# How a recipe tells filters: by one for all rows (its number), or
USUAL, LISTED = 5, 6


class Header:
    """The fields of a chunk IHDR. Raises Odd where they are out of range."""

    def __init__(self, data: bytes) -> None:
        if len(data) != 13 or data[10:12] != b"\0\0":
            raise Odd
        self.width, self.height = (int.from_bytes(data[i : i + 4], "big") for i in (0, 4))
        self.depth, self.colour, interlace = data[8], data[9], data[12]
        if self.depth not in DEPTHS.get(self.colour, ()) or interlace > 1:
            raise Odd
        if not 0 < self.width < 1 << 31 or not 0 < self.height < 1 << 31:
            raise Odd
        self.interlaced = interlace == 1
        self.kind, self.channels = COLOURS[self.colour]
        # Filters look one pixel back, or one byte where pixels are smaller.
        self.step = max(1, self.channels * self.depth // 8)

    def passes(self) -> list[tuple[slice, slice, int, int, int]]:
        """(rows, columns, width, height, bytes of a row) of each pass."""
        return [
            (ys, xs, w, h, base.row_bytes(w, self.channels, self.depth))
            for ys, xs, w, h in base.passes(self.width, self.height, self.interlaced)
        ]


def geometry(prefix: bytes) -> Geometry:
    header = Header(prefix[16:29])
    return Geometry(header.width, header.height, header.channels, header.depth)


def take_apart(data: bytes, most_pixels: int) -> Picture:
    """Raises Odd for what is not understood."""
    before, parts, after, tail = _split(data)
    header = Header(before[0][1] if before[0][0] == b"IHDR" else b"")
    if header.width * header.height > most_pixels:
        raise Odd
    passes = header.passes()
    expected = sum(h * (n + 1) for *_, h, n in passes)
    inflated, stream_recipe = zlib_stream.take_apart(b"".join(parts), expected)

    out = Writer()
    _write_chunks(out, before)
    _write_chunks(out, after)
    sizes = Writer()
    _write_sizes(sizes, [len(part) for part in parts])
    out.blob(sizes.done())
    out.blob(tail)
    out.blob(stream_recipe)
    dtype = np.uint16 if header.depth == 16 else np.uint8
    samples = np.zeros((header.height, header.width, header.channels), dtype)
    at = 0
    filters, usual = b"", b""
    for ys, xs, w, h, n in passes:
        part = _native.png_unfilter(inflated[at : at + h * (n + 1)], h, n, header.step)
        if part is None:
            raise Odd
        at += h * (n + 1)
        rows = np.frombuffer(part[0], np.uint8).reshape(h, n)
        samples[ys, xs] = found = base.unpack(rows, w, header.channels, header.depth)
        base.write_padding(out, rows, base.pack(found, header.depth))
        filters += part[1]
        usual += _native.png_usual_filters(part[0], h, n, header.step)
    _write_filters(out, filters, usual)

    palette = None
    if header.kind == "palette":
        palette = _palette(before)
    return Picture(samples, header.depth, header.kind, palette, base.PNG, out.done())


def rebuild(recipe: bytes, samples: NDArray[Any]) -> bytes:
    """Raises Corrupt on a recipe that no PNG has."""
    source = Reader(recipe)
    before = _read_chunks(source)
    after = _read_chunks(source)
    sizes = Reader(source.blob())
    tail = source.blob()
    stream_recipe = source.blob()
    try:
        header = Header(before[0][1] if before else b"")
    except Odd:
        raise Corrupt("the recipe of a PNG has no valid header") from None
    base.check(samples, header.height, header.width, header.channels, header.depth)
    passes = header.passes()
    packed = []
    for ys, xs, *_ in passes:
        rows = base.pack(samples[ys, xs], header.depth)
        packed.append(base.read_padding(source, rows).tobytes())
    filters = _read_filters(source, header, packed)
    source.end()
    inflated = b""
    for rows_bytes, (*_, h, n) in zip(packed, passes, strict=True):
        inflated += _native.png_filter(rows_bytes, filters[:h], n, header.step)
        filters = filters[h:]
    stream = zlib_stream.rebuild(stream_recipe, inflated)
    parts = [_chunk(b"IDAT", part) for part in _cut(sizes, stream)]
    return b"".join(
        [MAGIC, *(_chunk(*c) for c in before), *parts, *(_chunk(*c) for c in after), tail]
    )


def chunks(recipe: bytes) -> tuple[list[Chunk], list[Chunk]]:
    """The chunks before and after the pixels of a PNG with this recipe."""
    source = Reader(recipe)
    return _read_chunks(source), _read_chunks(source)


def write(
    samples: Samples, depth: int, colour: int, before: list[Chunk], after: list[Chunk]
) -> bytes:
    """A PNG with a short recipe: usual filters, no interlacing, one chunk of pixels.

    before, after: other chunks, without IHDR and IEND.
    """
    height, width, channels = samples.shape
    rows = base.pack(samples, depth)
    step = max(1, channels * depth // 8)
    flat, row = rows.tobytes(), rows.shape[1]
    # As libpng does: filters are of no use where pixels are indices or share a byte.
    filters = bytes(height)
    if colour != PALETTE and depth >= 8:
        filters = _native.png_usual_filters(flat, height, row, step)
    content = _native.png_filter(flat, filters, row, step)
    stream = zlib_stream.plain(content)
    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([depth, colour, 0, 0, 0])
    everything = [(b"IHDR", head), *before, (b"IDAT", stream), *after, (b"IEND", b"")]
    return MAGIC + b"".join(_chunk(*c) for c in everything)


def _split(data: bytes) -> tuple[list[Chunk], list[bytes], list[Chunk], bytes]:
    """Chunks before the pixels, their parts, chunks behind, and bytes behind the last chunk."""
    before: list[Chunk] = []
    parts: list[bytes] = []
    after: list[Chunk] = []
    at = len(MAGIC)
    while True:
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        content = data[at + 8 : at + 8 + size]
        end = at + 12 + size
        if end > len(data) or _chunk(kind, content) != data[at:end]:
            raise Odd  # cut, or with a wrong check
        at = end
        if kind == b"IDAT":
            if after:
                raise Odd
            parts.append(content)
        else:
            (after if parts else before).append((kind, content))
        if kind == b"IEND":
            break
    if not parts or not before:
        raise Odd
    return before, parts, after, data[at:]


def _chunk(kind: bytes, content: bytes) -> bytes:
    check = _native.crc32(kind + content)
    return len(content).to_bytes(4, "big") + kind + content + check.to_bytes(4, "big")


def _palette(chunks: list[Chunk]) -> NDArray[np.uint8]:
    """(n, 3), or (n, 4) with opacities."""
    named = dict(chunks)
    colours = named.get(b"PLTE", b"")
    if len(colours) % 3 or not 0 < len(colours) <= 768:
        raise Odd
    palette = np.frombuffer(colours, np.uint8).reshape(-1, 3)
    if b"tRNS" not in named:
        return palette.copy()
    alpha = named[b"tRNS"][: len(palette)].ljust(len(palette), b"\xff")
    return np.column_stack([palette, np.frombuffer(alpha, np.uint8)])


def _write_chunks(out: Writer, chunks: list[Chunk]) -> None:
    """Chunks as they are, or, where that is smaller, what is compressed in them unpacked."""
    out.number(len(chunks))
    for kind, content in chunks:
        out.raw(kind)
        plain = Writer()
        plain.number(0)
        plain.blob(content)
        unpacked = _unpack(kind, content)
        smaller = unpacked and _cost(unpacked) < _cost(plain.done())
        out.raw(unpacked if smaller else plain.done())


def _read_chunks(source: Reader) -> list[Chunk]:
    chunks = []
    for _ in range(source.number()):
        kind, start = source.raw(4), source.number()
        if start == 0:
            chunks.append((kind, source.blob()))
        else:
            head, recipe, content = source.raw(start), source.blob(), source.blob()
            chunks.append((kind, head + zlib_stream.rebuild(recipe, content)))
    return chunks


def _unpack(kind: bytes, content: bytes) -> bytes:
    """A chunk with a zlib stream as where that begins, the bytes before, its recipe and its
    content; nothing if there is none."""
    start = content.find(b"\0") + 2  # behind a name and the method
    if kind == b"iTXt":
        if content[start - 1 : start + 1] != b"\1\0":
            return b""
        language = content.find(b"\0", start + 1) + 1
        start = content.find(b"\0", language) + 1 if language else 0
    elif kind not in (b"iCCP", b"zTXt"):
        return b""
    try:
        inner, recipe = zlib_stream.take_apart(content[start:], MOST_UNPACKED, exact=False)
    except Odd:
        return b""
    out = Writer()
    out.number(start)
    out.raw(content[:start])
    out.blob(recipe)
    out.blob(inner)
    return out.done()


def _cost(data: bytes) -> int:
    return len(_native.encode_bytes(1, data))


def _write_sizes(out: Writer, sizes: list[int]) -> None:
    """How the stream is cut: into parts of one size and a rest, or as a list says."""
    usual = sizes[0] if len(sizes) > 1 else 0
    if len(sizes) == 1 or (all(s == usual for s in sizes[:-1]) and 0 < sizes[-1] <= usual):
        out.number(0)
        out.number(usual)
    else:
        out.number(len(sizes))
        for size in sizes:
            out.number(size)


def _cut(source: Reader, stream: bytes) -> list[bytes]:
    count = source.number()
    if count == 0:
        usual = source.number() or max(1, len(stream))
        return [stream[at : at + usual] for at in range(0, len(stream), usual)]
    parts, at = [], 0
    for _ in range(count):
        size = source.number()
        parts.append(stream[at : at + size])
        at += size
    if at != len(stream):
        raise Corrupt("the recipe of a PNG cuts another stream")
    return parts


def _write_filters(out: Writer, filters: bytes, usual: bytes) -> None:
    """The rule that fits best, then the rows that do not follow it."""
    guesses = [bytes([f]) * len(filters) for f in range(5)] + [usual]
    wrong = [sum(a != b for a, b in zip(filters, guess, strict=True)) for guess in guesses]
    rule = min(range(6), key=lambda r: wrong[r])
    if 2 * wrong[rule] > len(filters):
        out.number(LISTED)
        out.raw(filters)
    else:
        out.number(rule)
        base.write_exceptions(out, filters, guesses[rule])


def _read_filters(source: Reader, header: Header, packed: list[bytes]) -> bytes:
    rule = source.number(LISTED)
    rows = sum(h for *_, h, _ in header.passes())
    if rule == LISTED:
        return source.raw(rows)
    guess = bytes([rule]) * rows
    if rule == USUAL:
        guess = b"".join(
            _native.png_usual_filters(part, h, n, header.step)
            for part, (*_, h, n) in zip(packed, header.passes(), strict=True)
        )
    return base.read_exceptions(source, guess)
