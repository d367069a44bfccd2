"""Image files taken apart into pixels and a recipe, and rebuilt byte for byte.

The pixels go to a coder of pixels, the recipe to the byte models. What one cannot take apart
at a sensible cost is no error: it stays a file of bytes.
"""

from __future__ import annotations

from lmc.codecs.formats import Formats
from lmc.codecs.pictures import base, bmp, png, pnm, tiff
from lmc.codecs.pictures.base import Geometry, Picture
from lmc.codecs.pictures.plain import encode_plain, encode_plain_file

__all__ = [
    "Geometry",
    "Picture",
    "encode_plain",
    "encode_plain_file",
    "geometry",
    "pixels_of",
    "rebuild",
    "take_apart",
]

# The numbers are on the wire, and only ever appended to.
_FORMATS: Formats[Picture, Geometry] = Formats(
    "an image",
    {base.PNG: png, base.BMP: bmp, base.PNM: pnm, base.TIFF: tiff},
    (
        (png.MAGIC, png),
        (b"BM", bmp),
        *((magic, pnm) for magic in pnm.MAGICS),
        *((magic, tiff) for magic in tiff.MAGICS),
    ),
)
FORMATS, MAGICS = _FORMATS.by_number, _FORMATS.magics
take_apart = _FORMATS.take_apart
rebuild = _FORMATS.rebuild
geometry = _FORMATS.geometry
"""64 bytes are mostly enough."""


def pixels_of(data: bytes, most_pixels: int) -> bytes | None:
    """A PNG with the pixels and the colour profile of an image file, made to be packed small; None
    for files that are no such image, or that cost nothing to keep as they are."""
    picture = take_apart(data, most_pixels)
    return encode_plain_file(data) if picture is None else encode_plain(picture)
