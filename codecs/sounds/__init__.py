"""Audio files taken apart into samples and a recipe, and rebuilt byte for byte.

The samples go to a coder of samples, the recipe to the byte models. What one cannot take apart
is no error: it stays a file of bytes.
"""

from __future__ import annotations

from typing import Any, Protocol

from numpy.typing import NDArray

from lmc.codecs.sounds import aiff, au, base, flac, wave
from lmc.codecs.sounds.base import Geometry, Odd, Sound
from lmc.errors import Corrupt
from lmc.kernels import _native

__all__ = ["Geometry", "Sound", "geometry", "rebuild", "take_apart"]


class Format(Protocol):
    """What the module of a file format offers: as the functions below, but raising Odd."""

    def take_apart(self, data: bytes, most_samples: int) -> Sound: ...
    def rebuild(self, recipe: bytes, samples: NDArray[Any]) -> bytes: ...
    def geometry(self, prefix: bytes) -> Geometry: ...


# format number: the module that knows it. The numbers are on the wire, and only ever appended to.
FORMATS: dict[int, Format] = {base.WAVE: wave, base.AIFF: aiff, base.AU: au, base.FLAC: flac}
NAMES = {base.WAVE: "WAV", base.AIFF: "AIFF", base.AU: "AU", base.FLAC: "FLAC"}
MAGICS: tuple[tuple[bytes, Format], ...] = tuple(
    (magic, module)
    for module, magics in (
        (wave, wave.MAGICS),
        (aiff, aiff.MAGICS),
        (au, au.MAGICS),
        (flac, flac.MAGICS),
    )
    for magic in magics
)


def take_apart(data: bytes, most_samples: int) -> Sound | None:
    """An audio file of at most so many samples (of all channels) as a sound, tried by rebuilding
    it; None for anything else, and for a file that this cannot say."""
    for magic, module in MAGICS:
        if not data.startswith(magic):
            continue
        try:
            sound = module.take_apart(data, most_samples)
            if rebuild(sound.format, sound.recipe, sound.samples) == data:
                return sound
        except (Odd, Corrupt):
            pass
        return None
    return None


def rebuild(format: int, recipe: bytes, samples: NDArray[Any]) -> bytes:
    """The file that was taken apart into these samples and this recipe. Raises Corrupt."""
    if format not in FORMATS:
        raise Corrupt("a sound is of no file format that is known")
    try:
        return FORMATS[format].rebuild(recipe, samples)
    except _native.Damaged as error:
        raise Corrupt(str(error)) from None


def geometry(prefix: bytes) -> Geometry | None:
    """Channels, rate, bits and length of the audio file that begins so (some hundred bytes are
    mostly enough)."""
    for magic, module in MAGICS:
        if prefix.startswith(magic):
            try:
                return module.geometry(prefix)
            except Odd:
                return None
    return None
