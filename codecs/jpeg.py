"""The codec for JPEG files: their coefficients, coded better, and the file again, bit for bit.

A frame is a whole file. FORMAT.md, section 5.4, has its layout, ARITHMETIC.md ("JPEG coefficients")
the model. Whatever a file's encoder was free to choose is kept with the headers
(kernels/src/jpeg_file.hpp); a file that does not come back so is none of this codec's.
"""

from __future__ import annotations

from lmc.codecs import text
from lmc.codecs.base import Frame, Report
from lmc.errors import Corrupt
from lmc.kernels import _native

METHOD = 9
HEADERS = text.PRIMED + text.STRONG  # the byte models that code what lies outside of the scans

# Bands are coded side by side, and each learns anew: the second one costs a large file 0.5 %.
BAND_BYTES = 2 << 20
MAX_BANDS = 8


def encode(data: bytes, threads: int = 0, report: Report | None = None) -> Frame | None:
    """A frame of a JPEG file; None if it is not one that this codec rebuilds, or gets no smaller.

    A function of data.
    """
    if data[:3] != b"\xff\xd8\xff":
        return None
    bands = max(1, min(MAX_BANDS, len(data) // BAND_BYTES))
    parts = _native.jpeg_encode(data, bands, threads, report)
    if parts is None:
        return None
    outside, coded, memory = parts
    headers = text.encode_bytes(outside, HEADERS)
    payload = b"".join(
        [
            _number(len(outside)),
            _number(len(headers.payload)),
            *(_number(len(band)) for band in coded[:-1]),
            headers.payload,
            *coded,
        ]
    )
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
    at = 0
    numbers = []
    for _ in range(params[0] + 2):
        number, at = _read_number(payload, at)
        numbers.append(number)
    outside_size, *sizes = numbers
    if not 0 < outside_size <= size or sum(sizes) > len(payload) - at:
        raise Corrupt("the parts of a JPEG frame do not fit into it")
    parts = []
    for part in [*sizes, len(payload) - at - sum(sizes)]:
        parts.append(payload[at : at + part])
        at += part
    headers, *coded = parts
    outside = text.decode_frame(HEADERS, b"", headers, outside_size, None, threads)
    try:
        return _native.jpeg_decode(outside, coded, size, threads, report)
    except _native.Damaged as error:
        raise Corrupt(str(error)) from error


def _number(value: int) -> bytes:
    """A varint (FORMAT.md, 1.2)."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _read_number(data: bytes, at: int) -> tuple[int, int]:
    """A varint of less than 2^35 and where it ends. Raises Corrupt."""
    value = 0
    for shift in range(0, 35, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            if byte == 0 and shift:
                break
            return value, at
    raise Corrupt("a number of a JPEG frame is cut, or longer than needed")
