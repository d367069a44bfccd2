"""The codec for JPEG files: their coefficients, coded better, and the file again, bit for bit.

A frame is a whole file. FORMAT.md, section 5.5, has its layout, ARITHMETIC.md ("JPEG coefficients")
the model. Whatever a file's encoder was free to choose is kept with the headers
(kernels/src/jpeg_file.hpp); a file that does not come back so is none of this codec's.
"""

from __future__ import annotations

from itertools import pairwise

from lmc.codecs import JPEG, text
from lmc.codecs.base import Frame, Report
from lmc.codecs.recipe import Reader, Writer
from lmc.errors import Corrupt
from lmc.kernels import _native

METHOD = 9

# Bands are coded side by side, and each learns anew: two cost a file of 4 MB 0.3 % more than one.
BAND_BYTES = 2 << 20
MAX_BANDS = 8
MOST = (1 << 35) - 1  # of a number in a payload

# The Huffman tables of T.81, annex K.3: DC and AC of luminance, DC and AC of chrominance. Half of
# all files have them, as libjpeg writes them, and keep only where.
_TABLES = bytes.fromhex(
    "0000010501010101010100000000000000000102030405060708090a0b100002010303020403050504040000"
    "017d01020300041105122131410613516107227114328191a1082342b1c11552d1f02433627282090a161718"
    "191a25262728292a3435363738393a434445464748494a535455565758595a636465666768696a7374757677"
    "78797a838485868788898a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7"
    "c8c9cad2d3d4d5d6d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8f9fa010003010101010101010101"
    "0000000000000102030405060708090a0b110002010204040304070504040001027700010203110405213106"
    "1241510761711322328108144291a1b1c109233352f0156272d10a162434e125f11718191a262728292a3536"
    "3738393a434445464748494a535455565758595a636465666768696a737475767778797a8283848586878889"
    "8a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8"
    "d9dae2e3e4e5e6e7e8e9eaf2f3f4f5f6f7f8f9fa"
)
_STARTS = (0, 29, 208, 237, 416)
_SEGMENTS = [
    b"\xff\xc4" + (b - a + 2).to_bytes(2, "big") + _TABLES[a:b] for a, b in pairwise(_STARTS)
]
WELL_KNOWN = (b"".join(_SEGMENTS), b"".join(_SEGMENTS[:2]))


def encode(data: bytes, threads: int = 0, report: Report | None = None) -> Frame | None:
    """A frame of a JPEG file; None if it is not one that this codec rebuilds, or gets no smaller.

    A function of data.
    """
    if not data.startswith(JPEG):
        return None
    bands = max(1, min(MAX_BANDS, len(data) // BAND_BYTES))
    parts = _native.jpeg_encode(data, bands, threads, report)
    if parts is None:
        return None
    outside, coded, memory = parts
    tables, outside = _without_tables(outside)
    headers = text.encode_bytes(outside, text.ASIDE)
    out = Writer()
    for number in (tables, len(outside), len(headers.payload), *map(len, coded[:-1])):
        out.number(number)
    out.raw(headers.payload + b"".join(coded))
    payload = out.done()
    if len(payload) >= len(data):
        return None
    return Frame(METHOD, bytes([len(coded) - 1]), payload, None, max(memory, headers.memory))


def decode_frame(
    method: int,
    params: bytes,
    payload: bytes,
    size: int,
    model: object | None,
    threads: int,
    report: Report | None = None,
) -> bytes:
    """The file of `size` bytes. Raises Corrupt."""
    if method != METHOD or len(params) != 1:
        raise Corrupt("a JPEG frame has 1 byte of parameters")
    reader = Reader(payload)
    tables, outside_size, *sizes = (reader.number(MOST) for _ in range(params[0] + 3))
    if not 0 < outside_size <= size:
        raise Corrupt("the parts of a JPEG frame do not fit into it")
    headers, *coded = [*(reader.raw(part) for part in sizes), reader.rest()]
    outside = text.decode_aside(headers, outside_size, threads)
    outside = _with_tables(tables, outside)
    try:
        return _native.jpeg_decode(outside, coded, size, threads, report)
    except _native.Damaged as error:
        raise Corrupt(str(error)) from error


def _without_tables(outside: bytes) -> tuple[int, bytes]:
    """Takes the well-known tables out: 0, or 1 + 2 * where they were + which, and the rest."""
    for which, tables in enumerate(WELL_KNOWN):
        at = outside.find(tables)
        if at >= 0:
            return 1 + 2 * at + which, outside[:at] + outside[at + len(tables) :]
    return 0, outside


def _with_tables(number: int, outside: bytes) -> bytes:
    if number == 0:
        return outside
    at, which = divmod(number - 1, 2)
    if at > len(outside):
        raise Corrupt("the tables of a JPEG frame lie outside of its headers")
    return outside[:at] + WELL_KNOWN[which] + outside[at:]
