"""The transformer of ARITHMETIC.md in torch, for training.

In full precision, or with the roundings of the integer network imitated: 7-bit weights with one
scale a row, 8-bit activations with one scale a vector (straight-through gradients, Bengio et al.
2013). Seven bits, because AVX2's and NEON's dot products then need no correction, and training
makes up for the eighth. What is imitated is exact but for bfloat16's rounding of the products'
results: integers up to 127 are exact in bfloat16 and are summed in float32.

Parameters are a dictionary of tensors; those of the layers are stacked along their first axis.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from lmc.models.checkpoint import Shape

if TYPE_CHECKING:
    from torch import Tensor

WEIGHT_LIMIT = 63
ACTIVATION_LIMIT = 127
MATRICES = ("q", "k", "v", "out", "gate", "up", "down")
GAINS = ("attn_norm", "ffn_norm")


def matrix_shapes(s: Shape) -> dict[str, tuple[int, int]]:
    """Outputs and inputs of the matrices of a layer."""
    query, key = s.heads * s.head_dim, s.kv_heads * s.head_dim
    return {
        "q": (query, s.dim),
        "k": (key, s.dim),
        "v": (key, s.dim),
        "out": (s.dim, query),
        "gate": (s.hidden, s.dim),
        "up": (s.hidden, s.dim),
        "down": (s.dim, s.hidden),
    }


def begin(s: Shape, seed: int) -> dict[str, Tensor]:
    """Fresh float32 parameters: `out` and `down` zero, so that each layer begins as the identity.

    `embed` has vocab + 1 rows, the last one for the begin of a text.
    """
    import torch

    source = torch.Generator().manual_seed(seed)
    out = {"embed": torch.randn(s.vocab + 1, s.dim, generator=source) * 0.02}
    for name, (rows, columns) in matrix_shapes(s).items():
        deviation = 0.0 if name in ("out", "down") else 0.5 / math.sqrt(columns)
        out[name] = torch.randn(s.layers, rows, columns, generator=source) * deviation
    for name in GAINS:
        out[name] = torch.ones(s.layers, s.dim)
    out["final_norm"] = torch.ones(s.dim)
    return out


def _integers(x: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """x / scale, rounded, and the scale, so that the largest magnitude of each row is `limit`."""
    x = x.float()
    scale = (x.abs().amax(-1, keepdim=True) / limit).clamp_min(1e-12).detach()
    real = x / scale
    return real + (real.round() - real).detach(), scale


def _rounded(x: Tensor) -> Tensor:
    integers, scale = _integers(x, ACTIVATION_LIMIT)
    return (integers * scale).to(x.dtype)


def linear(x: Tensor, weight: Tensor, rounded: bool) -> Tensor:
    """x [..., inputs] times weight [outputs, inputs], transposed."""
    from torch.nn.functional import linear as product

    if not rounded:
        return product(x, weight.to(x.dtype))
    a, a_scale = _integers(x, ACTIVATION_LIMIT)
    w, w_scale = _integers(weight, WEIGHT_LIMIT)
    wide = product(a.to(x.dtype), w.to(x.dtype)).float()
    return (wide * (a_scale * w_scale.squeeze(-1))).to(x.dtype)


def norm(x: Tensor, gain: Tensor | None, epsilon: float) -> Tensor:
    """x / rms(x) * gain, in float32 inside."""
    import torch

    wide = x.float()
    wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + epsilon)
    return (wide if gain is None else wide * gain).to(x.dtype)


def rotary(s: Shape, length: int, device: object) -> tuple[Tensor, Tensor]:
    """Cosines and sines, [length, head_dim / 2]."""
    import torch

    half = s.head_dim // 2
    frequency = s.rope_theta ** (-torch.arange(half, dtype=torch.float64) / half)
    angle = torch.arange(length)[:, None] * frequency
    return angle.cos().float().to(device), angle.sin().float().to(device)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Pairs (i, i + half) of [batch, heads, tokens, head_dim]."""
    import torch

    a, b = x.float().chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1).to(x.dtype)


def attention(query: Tensor, key: Tensor, value: Tensor, reach: int) -> Tensor:
    """Causal attention over [batch, heads, tokens, head_dim]; each token sees the newest `reach`
    ones, itself included, or all if that is 0.

    Where `reach` divides the length, blocks of so many tokens look at themselves and at the block
    before, so that the work is linear in the length.
    """
    import torch
    from torch.nn.functional import pad, scaled_dot_product_attention

    batch, heads, length, dim = query.shape
    if not 0 < reach < length:
        return scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
    groups = heads // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    place = torch.arange(length, device=query.device)
    if length % reach:
        back = place[:, None] - place
        return scaled_dot_product_attention(query, key, value, (back >= 0) & (back < reach))
    blocks = length // reach

    def pairs(x: Tensor) -> Tensor:  # [batch * blocks, heads, 2 * reach, dim]
        x = pad(x, (0, 0, reach, 0)).unflatten(2, (blocks + 1, reach))
        return torch.cat([x[:, :, :-1], x[:, :, 1:]], 3).transpose(1, 2).flatten(0, 1)

    q = query.unflatten(2, (blocks, reach)).transpose(1, 2).flatten(0, 1)
    at = torch.arange(2 * reach, device=query.device) - reach
    back = place[:reach, None] - at
    seen = (back >= 0) & (back < reach)
    real = seen & ((at >= 0) | (torch.arange(blocks, device=at.device) > 0)[:, None, None])
    mask = real[:, None].repeat(batch, 1, 1, 1)
    mixed = scaled_dot_product_attention(q, pairs(key), pairs(value), mask)
    return mixed.unflatten(0, (batch, blocks)).transpose(1, 2).reshape(batch, heads, length, dim)


def layer(
    x: Tensor,
    w: tuple[Tensor, ...],
    cos: Tensor,
    sin: Tensor,
    s: Shape,
    reach: int,
    rounded: bool,
    biases: tuple[Tensor, ...] | None = None,
) -> Tensor:
    """One layer; `w`: its MATRICES and GAINS; `biases`: of q, k and v, if it has any."""
    from torch.nn.functional import silu

    q, k, v, out, gate, up, down, attn_norm, ffn_norm = w
    batch, length, _ = x.shape

    def heads(y: Tensor) -> Tensor:
        return y.view(batch, length, -1, s.head_dim).transpose(1, 2)

    y = norm(x, attn_norm, s.epsilon)
    three = [linear(y, matrix, rounded) for matrix in (q, k, v)]
    if biases is not None:
        three = [z + bias.to(z.dtype) for z, bias in zip(three, biases, strict=True)]
    query, key, value = map(heads, three)
    query, key = _rotate(query, cos, sin), _rotate(key, cos, sin)
    if rounded:
        query, key, value = _rounded(query), _rounded(key), _rounded(value)
    mixed = attention(query, key, value, reach)
    x = x + linear(mixed.transpose(1, 2).reshape(batch, length, -1), out, rounded)
    y = norm(x, ffn_norm, s.epsilon)
    inner = silu(linear(y, gate, rounded)) * linear(y, up, rounded)
    return x + linear(inner, down, rounded)


def embedding(tokens: Tensor, table: Tensor, epsilon: float, rounded: bool) -> Tensor:
    """Rows of the table, each normed (which its row scale in the model file does)."""
    from torch.nn.functional import embedding as rows

    return norm(rows(tokens, _integers(table, WEIGHT_LIMIT)[0] if rounded else table), None, 0.0)


def losses(
    x: Tensor, final_norm: Tensor, table: Tensor, targets: Tensor, s: Shape, rounded: bool
) -> Tensor:
    """Nats of each target, 0 where it is `vocab` (the begin of a text is never predicted)."""
    from torch.nn.functional import cross_entropy

    logits = linear(norm(x, final_norm, s.epsilon), table[: s.vocab], rounded)
    return cross_entropy(
        logits.flatten(0, -2).float(), targets.flatten(), ignore_index=s.vocab, reduction="none"
    )


class Runner:
    """The network with one layer and the head compiled; one layer's code serves all."""

    def __init__(self, s: Shape, device: str, compiled: bool) -> None:
        import torch

        self.shape, self.device = s, device
        # Each reach, rounding, batch and gradient mode is a compilation of its own.
        torch._dynamo.config.recompile_limit = 64
        self._dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
        self._layer = torch.compile(layer) if compiled else layer
        self._losses = torch.compile(losses) if compiled else losses
        self._embedding = torch.compile(embedding) if compiled else embedding
        self._rotary: dict[int, tuple[Tensor, Tensor]] = {}

    def __call__(self, p: Mapping[str, Tensor], rows: Tensor, rounded: bool) -> Tensor:
        """Nats of the tokens of `rows` [batch, length], each row after the begin of a text."""
        import torch

        s, length = self.shape, rows.shape[1]
        if length not in self._rotary:
            self._rotary[length] = rotary(s, length, self.device)
        cos, sin = self._rotary[length]
        fed = torch.cat([torch.full_like(rows[:, :1], s.vocab), rows[:, :-1]], 1)
        x = self._embedding(fed, p["embed"], s.epsilon, rounded).to(self._dtype)
        stacks = [p[name].unbind(0) for name in (*MATRICES, *GAINS)]
        for reach, *w in zip(s.reach or [0] * s.layers, *stacks, strict=True):
            x = self._layer(x, tuple(w), cos, sin, s, reach, rounded)
        return self._losses(x, p["final_norm"], p["embed"], rows, s, rounded)
