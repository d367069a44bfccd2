"""Audio files taken apart into samples and a recipe, and rebuilt byte for byte.

The samples go to a coder of samples, the recipe to the byte models. What one cannot take apart
is no error: it stays a file of bytes.
"""

from __future__ import annotations

from lmc.codecs.formats import Formats
from lmc.codecs.sounds import aiff, au, base, flac, wave
from lmc.codecs.sounds.base import Geometry, Sound

__all__ = ["Geometry", "Sound", "geometry", "rebuild", "take_apart"]

# The numbers are on the wire, and only ever appended to.
_FORMATS: Formats[Sound, Geometry] = Formats(
    "a sound",
    {base.WAVE: wave, base.AIFF: aiff, base.AU: au, base.FLAC: flac},
    (
        *((magic, wave) for magic in wave.MAGICS),
        *((magic, aiff) for magic in aiff.MAGICS),
        *((magic, au) for magic in au.MAGICS),
        *((magic, flac) for magic in flac.MAGICS),
    ),
)
FORMATS, MAGICS = _FORMATS.by_number, _FORMATS.magics
NAMES = {base.WAVE: "WAV", base.AIFF: "AIFF", base.AU: "AU", base.FLAC: "FLAC"}
take_apart = _FORMATS.take_apart
rebuild = _FORMATS.rebuild
geometry = _FORMATS.geometry
"""Some hundred bytes are mostly enough."""
