"""A checkpoint changed by a delta: what a training of our own makes of a public model.

A delta holds for each matrix W [outputs, inputs] two integer matrices of low rank (LoRA, Hu et al.
2021), and W becomes W + scale (B A), with one scale for each row of B; the gains of the norms are
replaced. The products of integers are exact and the rest is elementwise, so that the changed
checkpoint is the same on every machine.

The file is safetensors: <matrix>.a int8 [rank, inputs], <matrix>.b int8 [outputs, rank],
<matrix>.scale float32 [outputs], and float32 gains by their names.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from lmc.errors import Corrupt
from lmc.models.checkpoint import Checkpoint, Floats
from lmc.models.safetensors import Safetensors

SUFFIX = ".delta"
DTYPES = {"I8": "<i1", "F32": "<f4"}
MATRICES = ("q.weight", "k.weight", "v.weight", "out", "gate", "up", "down")
LIMIT = 127


def matrices(layers: int) -> list[str]:
    """The names of the matrices that a delta changes, as a checkpoint has them."""
    return [f"layers.{i}.{name}" for i in range(layers) for name in MATRICES]


def gains(layers: int) -> list[str]:
    """The names of the gains that a delta replaces."""
    inner = [f"layers.{i}.{name}" for i in range(layers) for name in ("attn_norm", "ffn_norm")]
    return [*inner, "final_norm"]


def factors(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> dict[str, Floats]:
    """The integer form of b [outputs, rank] times a [rank, inputs]: `a`, `b` and `scale`.

    The scale of each row of `a` moves into the columns of `b`.
    """
    step = np.maximum(np.abs(a).max(axis=1), 1e-30) / LIMIT
    moved = b * step
    scale = (np.abs(moved).max(axis=1) / LIMIT).astype(np.float32)
    divisor = np.where(scale > 0, scale, 1).astype(np.float64)
    return {
        "a": np.rint(a / step[:, None]).astype(np.int8),
        "b": np.rint(moved / divisor[:, None]).clip(-LIMIT, LIMIT).astype(np.int8),
        "scale": scale,
    }


class Adapted(Checkpoint):
    """`base` with the delta of a file. Raises Corrupt for a delta of another network."""

    def __init__(self, base: Checkpoint, path: Path) -> None:
        super().__init__(base.shape, base.tokenizer_json, base.specials, base.licence, base.source)
        self._base = base
        file = Safetensors(path)
        self._delta = {name: file.view(name, DTYPES) for name in file.names()}
        names = [f"{m}.{part}" for m in matrices(base.shape.layers) for part in ("a", "b", "scale")]
        if sorted(self._delta) != sorted(names + gains(base.shape.layers)):
            raise Corrupt(f"{path} is not a delta of this checkpoint")

    def load(self, name: str) -> Floats | None:
        if name in self._delta:
            return self._delta[name].astype(np.float32)
        tensor = self._base.load(name)
        if tensor is None or name + ".a" not in self._delta:
            return tensor
        a, b, scale = (self._delta[f"{name}.{part}"] for part in ("a", "b", "scale"))
        if (len(b), a.shape[1:], len(scale)) != (len(tensor), tensor.shape[1:], len(tensor)):
            raise Corrupt(f"the delta of {name} has the wrong shape")
        # Sums of less than 2^31 in magnitude: exact in float64, in any order.
        product = b.astype(np.float64) @ a.astype(np.float64)
        return (tensor + product * scale.astype(np.float64)[:, None]).astype(np.float32)
