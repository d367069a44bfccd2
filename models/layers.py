"""The layers of small networks that come with lmc, as their files hold them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from numpy.typing import NDArray


def layers(
    arrays: Mapping[str, NDArray[Any]], prefix: str = ""
) -> Iterator[tuple[Any, Any, Any, int]]:
    """Weights, bias, factor and shift of each layer, from arrays wK (int8), bK, fK (int32) and sK
    for K = 0, 1, ..., whose names all begin with `prefix`."""
    k = 0
    while f"{prefix}w{k}" in arrays:
        weights, bias, factor, shift = (arrays[f"{prefix}{part}{k}"] for part in "wbfs")
        yield weights, bias, factor, int(shift[0])
        k += 1
