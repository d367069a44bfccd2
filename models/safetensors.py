"""Memory-mapped safetensors files, read believing nothing."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lmc.errors import Corrupt, Unsupported


class Safetensors:
    """A memory-mapped safetensors file with its header checked.

    https://github.com/huggingface/safetensors#format. Read here and not through the library
    because numpy has no bfloat16 and because the tensors must stay mapped, not copied.
    """

    def __init__(self, path: Path) -> None:
        """Raises Corrupt unless every tensor lies inside the file, without holes and overlaps."""
        size = path.stat().st_size
        if size < 8:
            raise Corrupt(f"{path} is too short for a safetensors file")
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(size - 8, 100_000_000):
                raise Corrupt(f"{path} ends inside its header")
            try:
                header = json.loads(file.read(length))
            except (ValueError, RecursionError) as error:
                raise Corrupt(f"{path} has a header that is not JSON") from error
        if not isinstance(header, dict):
            raise Corrupt(f"{path} has a header that is not an object")
        metadata = header.pop("__metadata__", {})
        if not isinstance(metadata, dict):
            raise Corrupt(f"{path} has metadata that is no object")
        self.metadata: dict[str, Any] = metadata
        self.path = path
        self._base = 8 + length
        self._entries = {name: self._entry(name, entry) for name, entry in header.items()}
        self._check_cover(size)
        self._data = np.memmap(path, np.uint8, "r")

    def _entry(self, name: str, entry: Any) -> tuple[str, tuple[int, ...], int, int]:
        try:
            dtype, shape, (start, stop) = entry["dtype"], entry["shape"], entry["data_offsets"]
            whole = all(type(n) is int and n >= 0 for n in (*shape, start, stop))
        except (TypeError, KeyError, ValueError) as error:
            raise Corrupt(f"{self.path}: the entry of tensor {name!r} is malformed") from error
        if not (whole and isinstance(dtype, str) and len(shape) <= 8):
            raise Corrupt(f"{self.path}: the entry of tensor {name!r} is malformed")
        return dtype, tuple(shape), start, stop

    def _check_cover(self, size: int) -> None:
        end = 0
        for start, stop in sorted((entry[2], entry[3]) for entry in self._entries.values()):
            if start != end or stop < start:
                raise Corrupt(f"{self.path}: the tensors overlap or leave holes")
            end = stop
        if self._base + end != size:
            raise Corrupt(f"{self.path} is {size} bytes long, its header says {self._base + end}")

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def names(self) -> list[str]:
        """The tensors' names, sorted."""
        return sorted(self._entries)

    def view(self, name: str, dtypes: Mapping[str, str]) -> npt.NDArray[Any]:
        """The tensor, mapped and read-only, its dtype looked up in `dtypes`."""
        dtype, shape, start, stop = self._entries[name]
        if dtype not in dtypes:
            raise Unsupported(f"{self.path}: tensor {name} has dtype {dtype}")
        kind = np.dtype(dtypes[dtype])
        if math.prod(shape) * kind.itemsize != stop - start:
            raise Corrupt(f"{self.path}: the size of tensor {name} does not fit its shape")
        raw = self._data[self._base + start : self._base + stop]
        return np.frombuffer(raw, kind).reshape(shape)
