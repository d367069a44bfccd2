"""Image files taken apart into pixels and a recipe, and rebuilt byte for byte.

The pixels go to a coder of pixels, the recipe to the byte models. What one cannot take apart
at a sensible cost is no error: it stays a file of bytes.
"""

from __future__ import annotations

from typing import Any, Protocol

from numpy.typing import NDArray

from lmc.codecs.pictures import base, bmp, png, pnm, tiff
from lmc.codecs.pictures.base import Geometry, Odd, Picture
from lmc.codecs.pictures.plain import encode_plain, encode_plain_file
from lmc.errors import Corrupt
from lmc.kernels import _native

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


class Format(Protocol):
    """What the module of a file format offers: as the functions below, but raising Odd."""

    def take_apart(self, data: bytes, most_pixels: int) -> Picture: ...
    def rebuild(self, recipe: bytes, samples: NDArray[Any]) -> bytes: ...
    def geometry(self, prefix: bytes) -> Geometry: ...


# format number: the module that knows it. The numbers are on the wire, and only ever appended to.
FORMATS: dict[int, Format] = {base.PNG: png, base.BMP: bmp, base.PNM: pnm, base.TIFF: tiff}
MAGICS: tuple[tuple[bytes, Format], ...] = (
    (png.MAGIC, png),
    (b"BM", bmp),
    *((magic, pnm) for magic in pnm.MAGICS),
    *((magic, tiff) for magic in tiff.MAGICS),
)


def take_apart(data: bytes, most_pixels: int) -> Picture | None:
    """An image file of at most so many pixels as a picture, tried by rebuilding it; None for
    anything else, and for a file that this cannot say or could only say at length."""
    for magic, module in MAGICS:
        if not data.startswith(magic):
            continue
        try:
            picture = module.take_apart(data, most_pixels)
            if rebuild(picture.format, picture.recipe, picture.samples) == data:
                return picture
        except (Odd, Corrupt):
            pass
        return None
    return None


def pixels_of(data: bytes, most_pixels: int) -> bytes | None:
    """A PNG with the pixels and the colour profile of an image file, made to be packed small; None
    for files that are no such image, or that cost nothing to keep as they are."""
    picture = take_apart(data, most_pixels)
    return encode_plain_file(data) if picture is None else encode_plain(picture)


def rebuild(format: int, recipe: bytes, samples: NDArray[Any]) -> bytes:
    """The file that was taken apart into these samples and this recipe. Raises Corrupt."""
    if format not in FORMATS:
        raise Corrupt("an image is of no file format that is known")
    try:
        return FORMATS[format].rebuild(recipe, samples)
    except _native.Damaged as error:
        raise Corrupt(str(error)) from None


def geometry(prefix: bytes) -> Geometry | None:
    """Size, channels and depth of the image whose file begins so (64 bytes are mostly enough)."""
    for magic, module in MAGICS:
        if prefix.startswith(magic):
            try:
                return module.geometry(prefix)
            except Odd:
                return None
    return None
