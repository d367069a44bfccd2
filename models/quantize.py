"""Float checkpoint to integer model.

Rounding is kind to a network whose vectors have no outliers, so all the network's free choices of
basis are spent on that first, without changing what it computes:

- The gains of the norms are folded into the matrices behind them, and the residual stream is
  rotated by an orthogonal matrix, a Hadamard matrix times a small Hartley matrix (QuaRot, Ashkboos
  et al. 2024). Outlier channels, which cost int8 activations most of their precision, disappear.
- The channels of each attention head's values are rotated likewise, undone in `out`.
- Channels of the feed-forward's hidden layer are scaled up in `up` and down in `down`, or the
  reverse, by powers of sqrt(2) (SmoothQuant, Xiao et al. 2023), as a calibration chose.

The weights then become int8 with one scale a row. Everything here is elementwise float64
arithmetic in a stated order and so gives the same integers on every machine: the identity of a
model can be stated in advance. No matrix product, no sum of an unstated order, no libm.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from lmc.errors import Unsupported
from lmc.models.card import Architecture, Card
from lmc.models.checkpoint import Checkpoint
from lmc.models.modelfile import identity, revision
from lmc.models.rotary import PI, frequencies
from lmc.models.tokenizer import TokenTable, prepare

Array = npt.NDArray[Any]
Doubles = npt.NDArray[np.float64]
Progress = Callable[[str], None]

LOG2E = float.fromhex("0x1.71547652b82fep+0")  # logits and attention scores are in bits
NEVER = -(1 << 28)  # logit bias of tokens that the model does not know: 2^-4096
FRACTION = 1 << 16  # Q16
BALANCE_STEPS = 2  # steps an octave of the balance of hidden channels
ROOTS = (1.0, math.sqrt(2.0))  # 2^(i / BALANCE_STEPS)


@dataclass(frozen=True)
class Recipe:
    """What a calibration decided, as integers.

    `begin`: the original id whose embedding stands for the begin of a text. `residual`: embed, out
    and down are scaled by 2^-residual to keep the residual stream within the arithmetic's range.
    `balance`: for each layer, for each hidden channel, the number of half octaves by which `up` is
    scaled down and `down` up; empty for none.
    """

    begin: int
    residual: int = 0
    balance: list[list[int]] = field(default_factory=list)


# --- orthogonal transforms, always in the same order of operations ---


def _cosine_sine(numerator: int, denominator: int) -> tuple[Decimal, Decimal]:
    """Cosine and sine of a fraction of a turn: Taylor series in decimal arithmetic."""
    angle = 2 * PI * numerator / denominator
    cosine, sine, term, n = Decimal(1), Decimal(0), Decimal(1), 0
    while n < angle or abs(term) > Decimal("1e-40"):
        n += 1
        term = term * angle / n
        if n % 2:
            sine += term if n % 4 == 1 else -term
        else:
            cosine += term if n % 4 == 0 else -term
    return cosine, sine


@cache
def hartley(size: int) -> tuple[float, ...]:
    """(cos + sin)(2 pi n / size) / sqrt(size) for n in 0..size-1: entry (i, j) of the orthogonal
    and symmetric Hartley matrix is that of n = i j mod size."""
    with localcontext() as context:
        context.prec = 50
        root = Decimal(size).sqrt()
        return tuple(float(sum(_cosine_sine(n, size)) / root) for n in range(size))


def _turn(x: Doubles) -> Doubles:
    """The columns of `x` [size, n] times the Hartley matrix of the odd part of size, times the
    Hadamard matrix of its power of two."""
    size, n = x.shape
    power = size & -size
    odd = size // power
    half = power // 2
    while half:
        pairs = x.reshape(-1, 2, half, n)
        turned = np.empty_like(pairs)
        np.add(pairs[:, 0], pairs[:, 1], turned[:, 0])
        np.subtract(pairs[:, 0], pairs[:, 1], turned[:, 1])
        x = turned
        half //= 2
    parts, waves = x.reshape(odd, power, n), hartley(odd)
    out = np.empty_like(parts)
    scale = 1 / math.sqrt(power)
    for j in range(odd):
        total = parts[0] * (waves[0] * scale)
        for i in range(1, odd):
            total += parts[i] * (waves[i * j % odd] * scale)
        out[j] = total
    return out.reshape(size, n)


def rotate(rows: Doubles) -> Doubles:
    """Each row times one orthogonal matrix; the matrix is symmetric and so its own inverse."""
    out = np.empty(rows.shape)
    for start in range(0, len(rows), 128):  # blocks that stay in the cache
        block = slice(start, start + 128)
        out[block] = _turn(np.ascontiguousarray(rows[block].T)).T
    return out


def rotate_heads(rows: Doubles, head_dim: int) -> Doubles:
    """Each row's channels rotated head by head."""
    return rotate(rows.reshape(-1, head_dim)).reshape(rows.shape)


# --- integers ---


def integer_scales(scale: Doubles, low_bits: int) -> tuple[npt.NDArray[np.int32], int]:
    """Fixed point with a common exponent: (integers, exponent), the largest magnitude in
    [2^(low_bits), 2^(low_bits + 1))."""
    peak = float(np.abs(scale).max())
    if peak == 0:
        return np.zeros(len(scale), np.int32), 0
    exponent = min(max(low_bits + 1 - math.frexp(peak)[1], -64), 96)
    if round(math.ldexp(peak, exponent)) >> (low_bits + 1):
        exponent -= 1
    return np.rint(np.ldexp(scale, exponent)).astype(np.int32), exponent


def matrix(
    name: str, rows: Doubles, unit: float | Doubles = 1.0, limit: int = 127
) -> dict[str, Array]:
    """`name`.weight (up to `limit`), .scale and .exponent of a matrix whose rows count `unit`
    times."""
    peak = np.abs(rows).max(axis=1)
    step = np.where(peak > 0, peak, 1.0) / limit
    weight = np.rint(rows / step[:, None]).astype(np.int8)
    scale, exponent = integer_scales(np.where(peak > 0, step * unit, 0.0), 23)
    scale[(peak > 0) & (scale == 0)] = 1
    return {
        f"{name}.weight": weight,
        f"{name}.scale": scale,
        f"{name}.exponent": np.array([exponent], np.int32),
    }


def norm(name: str, gains: Doubles) -> dict[str, Array]:
    """A norm of `gains`, which are ones where they were folded into the matrix behind."""
    gain, exponent = integer_scales(gains, 29)
    return {
        f"{name}.source": np.arange(len(gains), dtype=np.int32),
        f"{name}.gain": gain,
        f"{name}.exponent": np.array([exponent], np.int32),
    }


def head_norm(name: str, gains: Doubles) -> dict[str, Array]:
    """The norm of the query or key heads."""
    gain, exponent = integer_scales(gains, 29)
    return {f"{name}.gain": gain, f"{name}.exponent": np.array([exponent], np.int32)}


def widen(rows: Array, head_dim: int, parts: int) -> Array:
    """Heads of `head_dim` rows made a multiple of 32 long by zeros behind each of their `parts`:
    the two halves that are rotated together, or one."""
    wide = wide_head(head_dim)
    if wide == head_dim:
        return rows
    heads = rows.reshape(-1, parts, head_dim // parts, *rows.shape[1:])
    out = np.zeros((len(heads), parts, wide // parts, *rows.shape[1:]))
    out[:, :, : head_dim // parts] = heads
    return out.reshape(-1, *rows.shape[1:])


def wide_head(head_dim: int) -> int:
    """The integer network's size of a head."""
    return -(-head_dim // 32) * 32


# --- the model ---


def _doubles(checkpoint: Checkpoint, name: str) -> Doubles:
    return checkpoint.tensor(name).astype(np.float64)


def _layer(checkpoint: Checkpoint, i: int, recipe: Recipe) -> dict[str, Array]:
    s, at = checkpoint.shape, f"layers.{i}."
    # Scores in bits, and the softmax's usual divisor.
    score = LOG2E / math.sqrt(s.head_dim) * s.score_factor
    shrink = 2.0**-recipe.residual
    wide = wide_head(s.head_dim)
    query, key = s.heads * wide, s.kv_heads * wide

    def heads(q: Array, k: Array, v: Array) -> Array:
        parts = widen(q, s.head_dim, 2), widen(k, s.head_dim, 2), widen(v, s.head_dim, 1)
        return np.concatenate(parts)

    q, k, v = (_doubles(checkpoint, f"{at}{part}.weight") for part in "qkv")
    v = rotate_heads(np.ascontiguousarray(v.T), s.head_dim).T
    qkv = heads(q, k, v) * _doubles(checkpoint, at + "attn_norm")
    unit = np.concatenate([np.full(query, score), np.ones(2 * key)])
    ones = np.ones(s.dim)
    tensors = norm(at + "attn_norm", ones) | norm(at + "ffn_norm", ones)
    if s.head_norms:
        # What is normed may be scaled as one likes, and the scale be chosen so that the mean of
        # the squares, over zeros too, is that of the real head next to the epsilon in the card.
        stretched = math.sqrt(wide / s.head_dim)
        unit[: query + key] = shrink * stretched
        for which, by in (("q_norm", score), ("k_norm", 1.0)):
            gains = _doubles(checkpoint, at + which) * (by / stretched)
            tensors |= head_norm(at + which, widen(gains, s.head_dim, 2))
    if i in s.still:
        tensors[at + "rotary.frequency"] = np.zeros(wide // 2, np.uint64)
    tensors |= matrix(at + "qkv", rotate(qkv), unit)
    bias = checkpoint.bias(i)
    if bias is not None:
        real = bias.astype(np.float64)
        first, second = s.heads * s.head_dim, (s.heads + s.kv_heads) * s.head_dim
        real[second:] = rotate_heads(real[None, second:], s.head_dim)[0]
        real = heads(real[:first], real[first:second], real[second:])
        fixed = np.rint(real * unit * FRACTION)
        if np.abs(fixed).max() >= 1 << 30:
            raise Unsupported(f"layer {i} has a bias beyond the range of lmc's arithmetic")
        tensors[at + "qkv.bias"] = fixed.astype(np.int32)
    out = rotate_heads(_doubles(checkpoint, at + "out"), s.head_dim)
    out = np.ascontiguousarray(widen(out.T, s.head_dim, 1).T)
    tensors |= matrix(at + "out", rotate(out.T).T, shrink)
    gate, up = _doubles(checkpoint, at + "gate"), _doubles(checkpoint, at + "up")
    down = _doubles(checkpoint, at + "down")
    if recipe.balance:
        whole, part = np.divmod(np.array(recipe.balance[i], np.int32), BALANCE_STEPS)
        factor = np.ldexp(np.array(ROOTS)[part], whole)
        up, down = up / factor[:, None], down * factor
    both = np.concatenate([gate, up]) * _doubles(checkpoint, at + "ffn_norm")
    tensors |= matrix(at + "gate_up", rotate(both))
    return tensors | matrix(at + "down", rotate(down.T).T, shrink)


def quantize(
    checkpoint: Checkpoint, recipe: Recipe, name: str, progress: Progress = lambda _line: None
) -> tuple[Card, dict[str, Array]]:
    """The card and the tensors of the integer model."""
    s = checkpoint.shape
    wide = wide_head(s.head_dim)
    if wide > 256:
        raise Unsupported(f"lmc takes heads of up to 256 channels, these have {s.head_dim}")
    text, spelled = prepare(checkpoint.tokenizer_json, s.vocab, checkpoint.specials)
    table = TokenTable.of(spelled)
    place = {token: i for i, token in enumerate(table.tokens)}
    ids = np.array([place.get(token, -1) for token in spelled], np.int32)
    original = np.full(len(table), -1, np.int64)  # sorted id -> first original id of that string
    for i in range(s.vocab - 1, -1, -1):
        if ids[i] >= 0:
            original[ids[i]] = i
    virtual = original < 0  # single bytes that the vocabulary lacks: never predicted, but codable
    rows = np.concatenate([np.where(virtual, recipe.begin, original), [recipe.begin]])

    embed = _doubles(checkpoint, "embed")
    head = embed if s.tied else _doubles(checkpoint, "head")
    head = np.where(virtual[:, None], 0.0, head[rows[:-1]]) * _doubles(checkpoint, "final_norm")
    tensors: dict[str, Array] = {
        "tokens.bytes": table.data,
        "tokens.offsets": table.offsets,
        "tokenizer.json": np.frombuffer(text.encode(), np.uint8),
        "tokenizer.ids": ids,
        "rotary.frequency": np.pad(
            frequencies(s.rope_theta, s.head_dim, s.divisors), (0, (wide - s.head_dim) // 2)
        ),
    }
    if any(s.reach):
        tensors["reach"] = np.array(s.reach, np.int32)
    tensors |= norm("final_norm", np.ones(s.dim))
    tensors |= matrix("head", rotate(head), LOG2E)
    if virtual.any():
        tensors["head.bias"] = np.where(virtual, NEVER, 0).astype(np.int32)
    del head
    tensors |= matrix("embed", rotate(embed)[rows], 2.0**-recipe.residual)
    del embed
    for i in range(s.layers):
        progress(f"layer {i + 1} of {s.layers}")
        tensors |= _layer(checkpoint, i, recipe)
    architecture = Architecture(
        dim=s.dim,
        layers=s.layers,
        heads=s.heads,
        kv_heads=s.kv_heads,
        head_dim=wide,
        hidden=s.hidden,
        vocab=len(table),
        extra=1,
        context=s.context,
        tied=False,
        eps=round(s.epsilon * 2.0 ** (32 - 2 * recipe.residual)),
    )
    card = Card(
        name=name,
        licence=checkpoint.licence,
        source=checkpoint.source,
        arithmetic=revision(tensors),
        architecture=architecture,
        identity=identity(architecture, tensors),
        recipe="int8 rows; residual stream and values rotated"
        + ("; hidden channels balanced" if recipe.balance else ""),
    )
    return card, tensors
