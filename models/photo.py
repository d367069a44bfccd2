"""The networks of the photo model that come with lmc: models/data/photo-N.npz.

They are part of the format (FORMAT.md, section 5.4, has their checksums): a released one never
changes, a better one gets a new number. models/train/photo.py makes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmc.kernels import _native
from lmc.models.layers import layers

FAST, NORMAL, BEST = 1, 2, 3
"""Numbers of network sets, on the wire."""
PLACES = ("first", "second", "third", "alone")
"""Where a channel comes in its pixel: of three channels, or the only one."""


def path(number: int) -> Path:
    """The file of a network set."""
    return Path(__file__).parent / "data" / f"photo-{number}.npz"


@cache
def networks(number: int) -> _native.PhotoNetworks:
    """A network set, ready to use. Raises KeyError for a number that this lmc does not know."""
    if not path(number).exists():
        raise KeyError(number)
    with np.load(path(number), allow_pickle=False) as file:
        return from_arrays(file)


def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> _native.PhotoNetworks:
    """Networks from arrays PLACE.wK (int8), .bK, .fK (int32), .sK, for layers K = 0, 1, ..."""
    return _native.PhotoNetworks([list(layers(arrays, f"{place}.")) for place in PLACES])
