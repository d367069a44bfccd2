"""For who wants to keep pixels and not files: the same image as a PNG with a short recipe."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from lmc.codecs.pictures import base, png, zlib_stream
from lmc.codecs.pictures.base import Picture

# What Pillow reads without loss, and the bytes that a lossless WebP has where others have "VP8 ".
LOSSLESS = ("GIF", "PCX", "QOI", "SGI", "TGA", "TIFF", "WEBP")
WEBP_LOSSLESS = b"VP8L"
COLOURS = {"L": 0, "I;16": 0, "RGB": 2, "LA": 4, "RGBA": 6}


def encode_plain(picture: Picture) -> bytes | None:
    """The PNG with these pixels and all other chunks of the one it was taken from; None for
    other file formats."""
    if picture.format != base.PNG:
        return None
    before, after = png.chunks(picture.recipe)
    return png.write(picture.samples, picture.depth, before[0][1][9], before[1:], after[:-1])


def encode_plain_file(data: bytes) -> bytes | None:
    """A PNG with the pixels and the colour profile of an image that Pillow reads without loss;
    None for others, for animations, and where Pillow is not installed."""
    try:
        from PIL import Image
    except ImportError:
        return None
    try:
        image = Image.open(io.BytesIO(data), formats=LOSSLESS)
        if image.format == "WEBP" and WEBP_LOSSLESS not in data[:64]:
            return None
        if getattr(image, "n_frames", 1) > 1:
            return None
        profile = image.info.get("icc_profile")
        mode = _mode(image)
        samples = np.asarray(image if image.mode == mode else image.convert(mode))
    except Exception:  # Pillow raises what it likes on damaged files
        return None
    if mode not in COLOURS:
        return None
    chunks = []
    if profile:
        chunks.append((b"iCCP", b"profile\0\0" + zlib_stream.plain(profile)))
    if samples.ndim == 2:
        samples = samples[:, :, None]
    depth = 8 * samples.dtype.itemsize
    return png.write(np.ascontiguousarray(samples), depth, COLOURS[mode], chunks, [])


def _mode(image: Any) -> str:
    """The mode that holds all that the image has."""
    if "transparency" in image.info or image.mode == "PA":
        return "RGBA"
    return {"1": "L", "P": "RGB"}.get(image.mode, str(image.mode))
