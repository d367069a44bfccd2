"""The networks of the video model that come with lmc: models/data/video-N.npz.

They are part of the format (FORMAT.md, section 5.11, has their checksums): a released one never
changes, a better one gets a new number. models/train/video.py makes them.
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

NONE, NORMAL = 0, 1
"""Numbers of network sets, on the wire."""
PLACES = ("luma", "first", "second")
"""Of planes that see no other, one, and two."""


def path(number: int) -> Path:
    """The file of a network set."""
    return Path(__file__).parent / "data" / f"video-{number}.npz"


def known(number: int) -> bool:
    """Whether this lmc has the networks, or none are asked for."""
    return number == NONE or path(number).exists()


@cache
def networks(number: int) -> _native.VideoNetworks | None:
    """A network set, ready to use; None for NONE. Raises KeyError for an unknown number."""
    if number == NONE:
        return None
    if not known(number):
        raise KeyError(number)
    with np.load(path(number), allow_pickle=False) as file:
        return from_arrays(file)


def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> _native.VideoNetworks:
    """Networks from arrays PLACE.wK (int8), .bK, .fK (int32), .sK, for layers K = 0, 1, ..."""
    return _native.VideoNetworks([list(layers(arrays, f"{place}.")) for place in PLACES])
