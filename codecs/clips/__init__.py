"""Video files taken apart into samples and a recipe, and rebuilt byte for byte.

The samples go to a coder of videos, the recipe to the byte models. What one cannot take apart is
no error: it stays a file of bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from lmc.codecs.clips import base, raw, streams, y4m
from lmc.codecs.clips.base import Geometry, Odd, Samples, Video
from lmc.codecs.clips.raw import Stated, state
from lmc.errors import Corrupt

__all__ = [
    "NAMES",
    "Geometry",
    "Samples",
    "Stated",
    "Video",
    "memory",
    "rebuild",
    "state",
    "take_apart",
]

# The numbers are on the wire, and only ever appended to.
NAMES = {
    base.Y4M: "Y4M",
    base.RAW: "raw",
    base.FFV1: "FFV1",
    base.UT_VIDEO: "Ut Video",
    base.HUFFYUV: "HuffYUV",
}
_REBUILD: dict[int, Callable[[bytes, Samples, Geometry], bytes]] = {
    base.Y4M: y4m.rebuild,
    base.RAW: raw.rebuild,
    **{format: partial(streams.rebuild, format) for format in streams.FORMATS},
}


def take_apart(data: bytes, stated: Stated | None, most_samples: int) -> Video | None:
    """A file within the limit, tried by rebuilding it; None for what is no video, or is one that
    could not be said. stated: what the user says of frames without a header."""
    try:
        if data.startswith(y4m.MAGIC):
            video = y4m.take_apart(data, most_samples)
        elif stated is not None:
            video = raw.take_apart(data, stated, most_samples)
        else:
            video = streams.take_apart(data, most_samples)
        same = rebuild(video.format, video.recipe, video.samples, video.geometry) == data
    except (Odd, Corrupt):
        return None
    return video if same else None


def memory(format: int) -> int:
    """Bytes that rebuilding a file takes beside its frames and itself."""
    return streams.MEMORY.get(format, 0)


def rebuild(format: int, recipe: bytes, samples: Samples, geometry: Geometry) -> bytes:
    """The file that was taken apart into these samples and this recipe. Raises Corrupt."""
    if format not in _REBUILD:
        raise Corrupt("a video is of no file format that is known")
    return _REBUILD[format](recipe, samples, geometry)
