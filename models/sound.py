"""The networks of the sound model that come with lmc: models/data/sound-N.npz.

They are part of the format (FORMAT.md, section 5.9, has their checksums): a released one never
changes, a better one gets a new number. models/train/sound.py makes them.
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

NONE, NORMAL, BEST = 0, 1, 2
"""Numbers of networks, on the wire."""


def path(number: int) -> Path:
    """The file of a network."""
    return Path(__file__).parent / "data" / f"sound-{number}.npz"


def known(number: int) -> bool:
    """Whether this lmc has the network, or none is asked for."""
    return number == NONE or path(number).exists()


@cache
def network(number: int) -> _native.SoundNetwork | None:
    """A network, ready to use; None for NONE. Raises KeyError for a number that is not known."""
    if number == NONE:
        return None
    if not known(number):
        raise KeyError(number)
    with np.load(path(number), allow_pickle=False) as file:
        return from_arrays(file)


def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> _native.SoundNetwork:
    """A network from arrays wK (int8), bK, fK (int32), sK, for layers K = 0, 1, ..."""
    return _native.SoundNetwork(list(layers(arrays)))
