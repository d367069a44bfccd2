"""What turning a model into integers costs: bits per byte of the float and of the integer model."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lmc.models.checkpoint import Checkpoint
from lmc.models.floatnet import FloatNet, Weights
from lmc.models.modelfile import Model
from lmc.models.quantize import Recipe
from lmc.models.tokenizer import Ids, prepare

WINDOW = 1024  # tokens from an empty context, then the next window
ROWS = 128  # logits held at once


@dataclass(frozen=True)
class Report:
    """Sizes of one text under both models."""

    tokens: int
    size_bytes: int
    float_bits: float
    integer_bits: float

    @property
    def loss(self) -> float:
        """How much larger the integer model's code is, as a fraction."""
        return self.integer_bits / self.float_bits - 1

    def __str__(self) -> str:
        return (
            f"{self.tokens} tokens, {self.size_bytes} bytes: "
            f"float {self.float_bits / self.size_bytes:.4f}, "
            f"integer {self.integer_bits / self.size_bytes:.4f} bits per byte "
            f"({100 * self.loss:+.2f} %)"
        )


def integer_bits(model: Model, ids: Ids, threads: int) -> float:
    """Bits of `ids` (sorted ids) under the integer network."""
    from lmc.kernels._native import Cache

    network, begin = model.network(threads), len(model.table)
    total = 0.0
    for start in range(0, len(ids), WINDOW):
        window = ids[start : start + WINDOW]
        cache = Cache(network, 1, WINDOW, 0, ROWS)
        fed = np.concatenate([[begin], window[:-1]]).astype(np.int32)
        for at in range(0, len(window), ROWS):
            rows = fed[at : at + ROWS]
            logits = network.forward(cache, np.zeros(len(rows), np.int32), rows)
            scores = logits.astype(np.float64) / 65536  # log2 of unnormalised probabilities
            peak = scores.max(axis=1)
            sums = np.log2(np.exp2(scores - peak[:, None]).sum(axis=1)) + peak
            right = scores[np.arange(len(rows)), window[at : at + ROWS]]
            total += float((sums - right).sum())
    model.verify()
    return total


def float_bits(checkpoint: Checkpoint, recipe: Recipe, ids: Ids) -> float:
    """Bits of `ids` (original ids) under the float model. Needs torch.

    Tokens that stand for no text are excluded from the softmax, as the integer model has none.
    """
    import torch

    _text, spelled = prepare(checkpoint.tokenizer_json, checkpoint.shape.vocab, checkpoint.specials)
    keep = torch.tensor([bool(token) for token in spelled])
    net = FloatNet(checkpoint.shape, Weights(checkpoint))
    windows = torch.from_numpy(ids.astype(np.int64)).split(WINDOW)
    losses = net.losses(windows, [recipe.begin] * len(windows), keep)
    return sum(float(nats.double().sum()) for nats in losses) / math.log(2)


def compare(
    checkpoint: Checkpoint, recipe: Recipe, model: Model, text: bytes, threads: int
) -> Report:
    """Code the first tokens of `text` under both. Bytes that the float model has no token for end
    the comparison early."""
    ids = model.tokenizer.encode(text)
    original = np.full(len(model.table), -1, np.int32)
    stored = model.tensors["tokenizer.ids"]
    known = np.flatnonzero(stored >= 0)
    original[stored[known]] = known
    strange = np.flatnonzero(original[ids] < 0)
    ids = ids[: strange[0]] if len(strange) else ids
    return Report(
        len(ids),
        len(model.table.join(ids)),
        float_bits(checkpoint, recipe, original[ids]),
        integer_bits(model, ids, threads),
    )
