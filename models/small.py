"""The small networks that foretell pixels, samples and frames: models/data/KIND-N.npz.

They come with lmc and are part of the format (FORMAT.md, section 5, has their checksums): a
released one never changes, a better one gets a new number. models/train/ makes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from lmc.kernels import _native

T = TypeVar("T")
Arrays = Mapping[str, NDArray[Any]]
Layer = tuple[NDArray[Any], NDArray[Any], NDArray[Any], int]

NONE = 0
"""The number, on the wire, that stands for no network."""


class Kind(Generic[T]):
    """Sets of networks of one kind. A file holds one network for each of `places`, its arrays
    named PLACE.wK, or, without places, a single one."""

    def __init__(
        self, name: str, make: Callable[[Sequence[Any]], T], places: tuple[str, ...] = ()
    ) -> None:
        self.name = name
        self.places = places
        self._make = make
        self.open = cache(self._open)

    def path(self, number: int) -> Path:
        """The file of a set."""
        return Path(__file__).parent / "data" / f"{self.name}-{number}.npz"

    def known(self, number: int) -> bool:
        """Whether this lmc has the set, or none is asked for."""
        return number == NONE or self.path(number).exists()

    def _open(self, number: int) -> T:
        """A set, ready to use. Raises KeyError for a number that this lmc does not know."""
        if not self.path(number).exists():
            raise KeyError(number)
        with np.load(self.path(number), allow_pickle=False) as file:
            return self.from_arrays(file)

    def optional(self, number: int) -> T | None:
        """The same, and None for NONE."""
        return None if number == NONE else self.open(number)

    def from_arrays(self, arrays: Arrays) -> T:
        """A set from its arrays."""
        if not self.places:
            return self._make(list(layers(arrays)))
        return self._make([list(layers(arrays, f"{place}.")) for place in self.places])


def layers(arrays: Arrays, prefix: str = "") -> Iterator[Layer]:
    """Weights, bias, factor and shift of each layer, from arrays wK (int8), bK, fK (int32) and sK
    for K = 0, 1, ..., whose names all begin with `prefix`."""
    k = 0
    while f"{prefix}w{k}" in arrays:
        weights, bias, factor, shift = (arrays[f"{prefix}{part}{k}"] for part in "wbfs")
        yield weights, bias, factor, int(shift[0])
        k += 1


# Where a channel comes in its pixel: of three channels, or the only one.
PHOTOS = Kind("photo", _native.PhotoNetworks, ("first", "second", "third", "alone"))
SOUNDS = Kind("sound", _native.SoundNetwork)
# Of planes that see no other, one, and two.
VIDEOS = Kind("video", _native.VideoNetworks, ("luma", "first", "second"))
