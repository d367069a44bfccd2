"""A frozen target for the training of drafts: its float twin, run over rows of tokens at once.

The streams and tables that it hands out are in the basis of the integer model, which for imported
checkpoints is a rotated one (lmc.models.quantize), so that a draft reads what the integer network
computes.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmc.errors import Unsupported
from lmc.models.card import HEADS
from lmc.models.checkpoint import Checkpoint, Shape
from lmc.models.delta import Adapted
from lmc.models.floatnet import Weights, from_integers, head_rows
from lmc.models.gguf import GgufCheckpoint
from lmc.models.modelfile import read
from lmc.models.quantize import rotate
from lmc.models.tokenizer import TokenTable, prepare
from lmc.models.train import network

if TYPE_CHECKING:
    from torch import Tensor

Array = npt.NDArray[Any]


class Target:
    """A network whose residual streams are wanted. Its id after the last one begins a text.

    `embed` [vocab + 1, dim], `final_norm` [dim] and `head` [vocab, dim] are float32 on the device;
    `layers` are matrices and gains as network.layer takes them.
    """

    def __init__(
        self,
        shape: Shape,
        weights: dict[str, Array],
        device: str,
        *,
        rotated: bool = False,
        identity: str = "",
        licence: str = "",
        source: str = "",
    ) -> None:
        """`weights` as lmc.models.floatnet names them, rows by sorted ids; `rotated`: whether the
        integer model has another basis."""
        import torch

        self.shape, self.device = shape, device
        self.identity, self.licence, self.source = identity, licence, source
        self.dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
        query, key = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim

        def tensor(array: Array) -> Tensor:
            return torch.from_numpy(np.array(array, np.float32)).to(device)

        def half(array: Array) -> Tensor:
            return tensor(array).to(self.dtype)

        self._embedded = half(weights["embed"])
        self.layers = []
        for i in range(shape.layers):
            at = f"layers.{i}."
            if at + "bias" in weights:
                raise SystemExit("a target with biases has no twin here")
            q, k, v = np.split(weights[at + "qkv"], [query, query + key])
            gate, up = np.split(weights[at + "gate_up"], 2)
            matrices = (q, k, v, weights[at + "out"], gate, up, weights[at + "down"])
            gains = (weights[at + "attn_norm"], weights[at + "ffn_norm"])
            self.layers.append((*map(half, matrices), *map(tensor, gains)))
        embed, head, gain = weights["embed"], weights["head"], weights["final_norm"]
        self._basis: Tensor | None = None
        if rotated:
            self._basis = half(rotate(np.eye(shape.dim)))
            embed = rotate(embed.astype(np.float64))
            head = rotate(head.astype(np.float64) * gain)
            gain = np.ones(shape.dim)
        self.embed, self.head, self.final_norm = tensor(embed), tensor(head), tensor(gain)
        self._turns: dict[int, tuple[Tensor, Tensor]] = {}

    def fed(self, tokens: Tensor) -> Tensor:
        """What the first layer reads of tokens [batch, length]: [batch, length, dim]."""
        return self._embedded[tokens]

    def streams(self, fed: Tensor, taps: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Residual streams over rows of tokens `fed` [batch, length], each from an empty context:
        those after the layers `taps` [batch, length, taps, dim], and the last one [batch, length,
        dim]."""
        import torch

        s, length = self.shape, fed.shape[1]
        if length not in self._turns:
            self._turns[length] = network.rotary(s, length, self.device)
        cos, sin = self._turns[length]
        with torch.no_grad():
            x = self.fed(fed)
            kept = {}
            reaches = s.reach or (0,) * s.layers
            for i, (reach, w) in enumerate(zip(reaches, self.layers, strict=True)):
                x = network.layer(x, w, cos, sin, s, reach, False)
                if i in taps:
                    kept[i] = self._turned(x)
            last = kept[s.layers - 1] if s.layers - 1 in kept else self._turned(x)
            return torch.stack([kept[i] for i in taps], 2), last

    def _turned(self, x: Tensor) -> Tensor:
        return x if self._basis is None else x @ self._basis


def _of_checkpoint(checkpoint: Checkpoint, begin: int) -> tuple[Shape, dict[str, Array], int]:
    """The shape with the sorted table's size, and the weights by sorted ids."""
    checkpoint.shape.require_plain()
    _, spelled = prepare(checkpoint.tokenizer_json, checkpoint.shape.vocab, checkpoint.specials)
    table = TokenTable.of(spelled)
    place = {token: i for i, token in reversed(list(enumerate(spelled)))}
    original = np.array([place.get(token, begin) for token in table.tokens] + [begin])
    weights = dict(Weights(checkpoint))
    weights["embed"] = weights["embed"][original]
    weights["head"] = weights["head"][original[:-1]]
    return replace(checkpoint.shape, vocab=len(table)), weights, len(table)


def load(
    path: Path, device: str, *, begin: int = 0, delta: Path | None = None, identity: str = ""
) -> Target:
    """The twin of a model file, or of a GGUF checkpoint (with a delta) whose integer model has
    `identity`. `begin`: the checkpoint's id that begins a text."""
    if path.suffix == ".gguf":
        checkpoint: Checkpoint = GgufCheckpoint(path)
        if delta is not None:
            checkpoint = Adapted(checkpoint, delta)
        shape, weights, _ = _of_checkpoint(checkpoint, begin)
        return Target(
            shape, weights, device, rotated=True, identity=identity,
            licence=checkpoint.licence, source=checkpoint.source,
        )  # fmt: skip
    model = read(path)
    a, t = model.card.architecture, model.tensors
    if model.card.arithmetic >= HEADS:
        raise Unsupported(f"lmc cannot train beside {model.card.name}: its attention is not plain")
    frequency = t["rotary.frequency"].astype(np.float64)
    half = len(frequency)
    theta = (frequency[0] / frequency[-1]) ** (half / (half - 1))
    reach = tuple(t["reach"].tolist()) if "reach" in t else ()
    shape = Shape(
        dim=a.dim, layers=a.layers, heads=a.heads, kv_heads=a.kv_heads, head_dim=a.head_dim,
        hidden=a.hidden, vocab=a.vocab, context=a.context, rope_theta=round(float(theta), 3),
        epsilon=a.eps / 2.0**32, tied=a.tied, reach=reach,
    )  # fmt: skip
    weights = from_integers(t, shape)
    if a.tied:  # a head of the embedding's integers has scales of its own
        weight, scale = head_rows(t, a.vocab)
        weights["head"] = (weight * scale[:, None]).astype(np.float32)
    return Target(
        shape, weights, device, identity=model.card.identity,
        licence=model.card.licence, source=model.card.source,
    )  # fmt: skip
