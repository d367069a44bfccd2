"""A zlib stream (RFC 1950) as its content and a recipe (FORMAT.md, 5.7)."""

from __future__ import annotations

from lmc.codecs.pictures.base import Odd, Reader, Writer
from lmc.kernels import _native

# A recipe may take this share of the stream, coded by the byte models; a stream whose
# writer is not understood is better kept as it is.
MOST = 0.25
FREE = 64  # bytes that are not worth a look


def take_apart(stream: bytes, size: int, exact: bool = True) -> tuple[bytes, bytes]:
    """The content, of `size` bytes (or fewer, if not exact), and the recipe. Raises Odd if there
    is none."""
    if len(stream) < 6 or stream[0] & 15 != 8 or stream[0] >> 4 > 7 or stream[1] & 32:
        raise Odd
    # No content takes less than a thousandth of itself: do not start on a false claim.
    if exact and size > 1040 * len(stream):
        raise Odd
    found = _native.inflate(stream[2:], size, (stream[0] >> 4) + 8, len(stream) // 2 + FREE, exact)
    if found is None:
        raise Odd
    content, recipe, used = found
    limit = int(MOST * len(stream)) + FREE
    if len(recipe) > limit and len(_native.encode_bytes(1, recipe)) > limit:
        raise Odd
    rest = stream[2 + used :]
    check = _check(content)
    out = Writer()
    out.raw(stream[:2])
    out.number(int(rest[:4] == check))
    out.blob(rest[4:] if rest[:4] == check else rest)
    out.blob(recipe)
    return content, out.done()


def rebuild(recipe: bytes, content: bytes) -> bytes:
    """The stream. Raises Corrupt or Damaged."""
    source = Reader(recipe)
    head = source.raw(2)
    checked = source.number(1)
    rest = source.blob()
    stream = _native.deflate(source.blob(), content)
    source.end()
    return head + stream + (_check(content) if checked else b"") + rest


def plain(content: bytes) -> bytes:
    """A stream of this content that has a short recipe."""
    return b"\x78\x9c" + _native.deflate_plain(content) + _check(content)


def _check(content: bytes) -> bytes:
    return _native.adler32(content).to_bytes(4, "big")
