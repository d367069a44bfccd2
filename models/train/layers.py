"""Small networks of exact integer layers (ARITHMETIC.md, "Photos", "Network"), and their export.

Layers are rounded in training as they are when they code (straight-through gradients), so nothing
is lost in the export. The networks of photos and of sounds give mixtures of logistics: offsets in
scales, logarithms of spreads and of weights in octaves.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

COMPONENTS = 4
IN_UNIT, UNIT = 16.0, 32.0  # integers that stand for 1: inputs, hidden activations


class Round(torch.autograd.Function):  # type: ignore[misc]
    """Rounding whose gradient is that of no rounding."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return gradient


class Layers(nn.Module):  # type: ignore[misc]
    """Layers as the codec computes them: 7-bit activations, int8 weights with a scale a row."""

    def __init__(self, inputs: int, hidden: tuple[int, ...]) -> None:
        super().__init__()
        widths = (inputs, *hidden, 3 * COMPONENTS)
        self.linear = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        for layer in self.linear:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        last = self.linear[-1]
        nn.init.normal_(last.weight, std=0.02)
        with torch.no_grad():  # several scales to begin with
            last.bias[COMPONENTS : 2 * COMPONENTS] = torch.tensor([-2.5, -1.5, -0.5, 0.5])

    def forward(self, x: Tensor) -> Tensor:
        """x: [n, inputs] integers 0..127 as floats; gives [n, 3 * COMPONENTS]."""
        h = (x - 64) / IN_UNIT
        for i, layer in enumerate(self.linear):
            scale = layer.weight.abs().amax(1, keepdim=True) / 127 + 1e-8
            weight = Round.apply(layer.weight / scale) * scale
            h = functional.linear(h, weight, layer.bias)
            if i + 1 < len(self.linear):
                h = Round.apply((h * UNIT).clamp(0, 127)) / UNIT
        return h


def exported(net: Layers) -> dict[str, NDArray[np.generic]]:
    """A network's integers: for layer k wk int8 [out, in], bk and fk int32 [out], sk the shift."""
    out: dict[str, NDArray[np.generic]] = {}
    for k, layer in enumerate(net.linear):
        weight, bias = (p.detach().double().cpu().numpy() for p in (layer.weight, layer.bias))
        last = k + 1 == len(net.linear)
        if last:  # offsets in 1/256, octaves in 1/64; rows up to a whole tile
            unit = np.repeat([256.0, 64.0, 64.0], COMPONENTS)
            pad = -len(weight) % 16
            weight, bias = np.pad(weight, ((0, pad), (0, 0))), np.pad(bias, (0, pad))
            unit = np.pad(unit, (0, pad), constant_values=1.0)
        else:
            unit = np.full(len(weight), UNIT)
        scale = np.abs(weight).max(1, keepdims=True) / 127 + 1e-8
        whole = np.rint(weight / scale).astype(np.int8)
        step = scale[:, 0] / (IN_UNIT if k == 0 else UNIT)  # what a sum of 1 stands for
        sums = np.rint(bias / step)
        if k == 0:
            sums -= 64 * whole.astype(np.int64).sum(1)
        factor = step * unit
        shift = int(min(40, np.floor(np.log2((2**24 - 1) / factor.max()))))
        out[f"w{k}"] = whole
        out[f"b{k}"] = np.clip(sums, -(2**30) + 1, 2**30 - 1).astype(np.int32)
        out[f"f{k}"] = np.rint(factor * 2.0**shift).astype(np.int32)
        out[f"s{k}"] = np.array([shift], np.int32)
    return out
