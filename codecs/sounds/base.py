"""What an audio file is taken apart into (FORMAT.md, "Recipes of audio files")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmc.codecs.recipe import Odd, Reader, Writer
from lmc.errors import Corrupt

__all__ = ["Geometry", "Odd", "Reader", "Samples", "Sound", "Writer"]

Samples = NDArray[np.int32]
"""(channels, time); of floats the bit patterns."""

WAVE, AIFF, AU, FLAC = 1, 2, 3, 4
MOST_CHANNELS = 255


@dataclass(frozen=True, slots=True)
class Sound:
    """An audio file as samples and the rest.

    samples: (channels, time). bits: of a sample, 1 to 32; integers are signed. kind: "integer" or
    "float" (bit patterns of 32 bits). rate: samples a second. format: the file format's number on
    the wire. recipe: all that `rebuild` needs besides the samples.
    """

    samples: Samples
    bits: int
    kind: str
    rate: int
    format: int
    recipe: bytes


@dataclass(frozen=True, slots=True)
class Geometry:
    """What the first bytes of an audio file say: its name, kind of samples, and how many.

    samples: of each channel, as claimed; 0 where the file does not say.
    """

    name: str
    kind: str
    channels: int
    rate: int
    bits: int
    samples: int


def narrow(samples: Samples) -> int:
    """How many of the lowest bits are 0 in all samples (0 for silence)."""
    found = int(np.bitwise_or.reduce(samples, axis=None)) if samples.size else 0
    return (found & -found).bit_length() - 1 if found else 0


def check(samples: NDArray[Any], channels: int) -> None:
    """Raise Corrupt where samples are not what a recipe is made for."""
    if samples.dtype != np.int32 or samples.ndim != 2 or len(samples) != channels:
        raise Corrupt("the recipe of a sound is for one of another shape")


def widen(samples: Samples, shift: int, bits: int) -> Samples:
    """Samples with `shift` zeros below, of `bits` bits in all. Raises Corrupt."""
    if not 0 <= shift < bits:
        raise Corrupt("the recipe of a sound shifts its samples away")
    low = -1 << (bits - shift - 1)
    if samples.size and not low <= int(samples.min()) <= int(samples.max()) <= ~low:
        raise Corrupt("a sound has samples that are out of range")
    return samples << np.int32(shift) if shift else samples
