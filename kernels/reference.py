"""The network's arithmetic in plain Python: what the fast kernels must equal.

Every function is a formula of ARITHMETIC.md (part "The network") and is named after it. Arrays
are numpy int64, wide enough for every intermediate value; slow on purpose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

ONE = 1 << 16
LIMIT = (1 << 30) - 1
C127 = 1082196484  # round(2^37 / 127)
C16129 = 1090717716  # round(2^44 / 127^2)
EXP2 = (22657, 7572, 1300)  # 2^-f = 1 - f (c1 - f (c2 - f c3)), Q15, error below 2^-13.5
MASK64 = (1 << 64) - 1


def bits(n: int) -> int:
    """Bit length of a non-negative integer."""
    return int(n).bit_length()


def mul31(a: Ints, b: Ints | int) -> Ints:
    """High part of a product: floor(a b / 2^31)."""
    return (a * np.int64(b) if isinstance(b, int) else a * b) >> 31


def shift(t: Ints, r: int) -> Ints:
    """Divide by 2^r to nearest (halves up), or multiply by 2^-r, saturating at LIMIT."""
    if r > 0:
        r = min(r, 31)
        return (t + (1 << (r - 1))) >> r
    left = min(-r, 30)
    return np.clip(t, -(LIMIT >> left), LIMIT >> left) << left


def clamp(x: Ints) -> Ints:
    """Cut to the range that every Q16 value keeps."""
    return np.clip(x, -LIMIT, LIMIT)


def _sine_table() -> Ints:
    """4,097 values of sin over a quarter turn in Q30 (the last one twice): Taylor series in Q60."""
    half_pi = 0x1921FB54442D1846  # pi/2 in Q60
    table = []
    for i in range(4097):
        x = i * half_pi >> 12
        term, total, n = x, 0, 1
        while term:
            total += term if n % 4 == 1 else -term
            term = ((term * x >> 60) * x >> 60) // ((n + 1) * (n + 2))
            n += 2
        table.append((total + (1 << 29)) >> 30)
    return np.array([*table, table[-1]], np.int64)


def _sigmoid_table() -> Ints:
    """1,025 values of sigmoid(i/64) in Q16 (the last one twice): powers of exp(-1/64) in Q60."""
    one = 1 << 60
    term, step, n = one, 0, 1
    while term:
        step += term if n % 2 else -term
        term = (term >> 6) // n
        n += 1
    table, power = [], one
    for _ in range(1025):
        e = power >> 20
        below = (1 << 40) + e
        table.append(min(65535, ((1 << 56) + below // 2) // below))
        power = power * step >> 60
    return np.array([*table, table[-1]], np.int64)


SINE = _sine_table()
SIGMOID = _sigmoid_table()


def sine(phase: int) -> int:
    """Sine of phase / 2^64 turns in Q30."""
    quarter = phase >> 62
    a = (phase >> 30) & 0xFFFFFFFF
    if quarter & 1:
        a = (1 << 32) - a
    i, f = a >> 20, a & 0xFFFFF
    value = int(SINE[i]) + (((int(SINE[i + 1]) - int(SINE[i])) * f + (1 << 19)) >> 20)
    return -value if quarter & 2 else value


@dataclass
class Quantised:
    """int8 values; one unit is `mantissa` * 2^-nb / 127 units of the input."""

    q: Ints
    mantissa: int
    nb: int


def quantise(z: Ints) -> Quantised:
    """Scale a vector so that its largest magnitude becomes 127."""
    peak = max(1, int(np.abs(z).max()))
    nb = 31 - bits(peak)
    mantissa = peak << nb
    q = (mul31(z << nb, (127 << 54) // mantissa) + (1 << 22)) >> 23
    return Quantised(q, mantissa, nb)


@dataclass
class Activation:
    """A quantised vector as a matrix sees it: real value = q * scale * 2^-exponent."""

    q: Ints
    scale: int
    exponent: int


def activation(z: Ints, fraction: int) -> Activation:
    """Quantise a vector that has `fraction` fraction bits."""
    got = quantise(z)
    return Activation(got.q, got.mantissa * C127 >> 31, 6 + got.nb + fraction)


def norm(x: Ints, source: Ints, gain: Ints, exponent: int, eps: int) -> Activation:
    """RMSNorm with gain, quantised; the root mean square goes into the scale alone."""
    m = max(1, int(np.abs(x).max()))
    s = max(0, bits(m) - 24)
    total = int(((x >> s) ** 2).sum())
    v = max(1, total // len(x) + (eps >> 2 * s))
    j = (62 - bits(v)) >> 1
    r = isqrt(v << 2 * j)
    nx = 31 - bits(m)
    got = quantise(mul31(x[source] << nx, gain))
    d = (got.mantissa << 30) // r
    return Activation(got.q, d * C127 >> 31, 5 + got.nb + nx + exponent + s - j)


def head_norm(y: Ints, gain: Ints, exponent: int, eps: int) -> Ints:
    """RMSNorm of a query or key head before it is rotated: Q16 again."""
    m = max(1, int(np.abs(y).max()))
    s = max(0, bits(m) - 24)
    total = int(((y >> s) ** 2).sum())
    v = max(1, total // len(y) + (eps >> 2 * s))
    j = (62 - bits(v)) >> 1
    r = isqrt(v << 2 * j)
    nx = 31 - bits(m)
    z = mul31(y << nx, gain)
    d = min((1 << 61) // r, (1 << 31) - 1)
    return clamp(shift(clamp(mul31(z, d)), nx + exponent + s - j - 17))


@dataclass
class Matrix:
    """int8 rows with integer scales; `up` is what the loader's bound leaves free."""

    weight: Ints
    scale: Ints
    exponent: int
    bias: Ints | None
    up: int

    def __call__(self, a: Activation) -> Ints:
        """Product and epilogue: Q16 values."""
        acc = self.weight @ a.q
        t = mul31(mul31(acc << self.up, self.scale << 7), a.scale)
        y = shift(t, self.exponent + a.exponent + self.up - 71)
        return clamp(y if self.bias is None else y + self.bias)


def matrix(
    weight: Ints, scale: Ints, exponent: int, bias: Ints | None = None, source: Ints | None = None
) -> Matrix:
    """Gather the columns that the norm feeds, and prove that the sums fit."""
    if source is not None:
        weight = weight[:, source]
    bound = 127 * int(np.abs(weight).sum(axis=1).max())
    if bound >= 1 << 30:
        raise ValueError("an accumulator could overflow")
    return Matrix(weight, scale, exponent, bias, 30 - bits(bound))


@dataclass
class Rotated:
    """A head vector after rotary, quantised; the input had n1 bits of head room."""

    q: Ints
    mantissa: int
    nb: int
    n1: int


def rotate(y: Ints, position: int, frequency: Sequence[int]) -> Rotated:
    """Turn the pairs (i, i + head_dim/2) by position * frequency[i], then quantise."""
    n1 = 30 - bits(max(1, int(np.abs(y).max())))
    h = y << n1
    half = len(y) // 2
    phases = [position * f & MASK64 for f in frequency]
    s = np.array([sine(p) for p in phases], np.int64)
    c = np.array([sine((p + (1 << 62)) & MASK64) for p in phases], np.int64)
    h1, h2 = h[:half], h[half:]
    turned = np.concatenate([mul31(h1, c) - mul31(h2, s), mul31(h2, c) + mul31(h1, s)])
    got = quantise(turned)
    return Rotated(got.q, got.mantissa, got.nb, n1)


def key_scale(k: Rotated) -> int:
    """The largest magnitude of a rotated key in Q22, saturating."""
    peak, left = k.mantissa >> k.nb, 7 - k.n1
    if left >= 0:
        return min(peak << left, (1 << 31) - 1)
    return (peak + (1 << (-left - 1))) >> -left


def value_scale(v: Quantised) -> int:
    """The largest magnitude of a value vector in Q22, saturating."""
    return min((v.mantissa >> v.nb) << 6, (1 << 31) - 1)


def exp2_negative(d: Ints) -> Ints:
    """2^-(d / 2048) in Q30."""
    i, f = np.minimum(d >> 11, 31), (d & 2047) << 4
    c1, c2, c3 = EXP2

    def h(a: Ints, b: Ints | int) -> Ints:
        return (a * b + (1 << 14)) >> 15

    y: Ints = 32767 - h(f, c1 - h(f, c2 - h(f, c3)))
    e: Ints = (y << 15) >> i
    return e


def attend(
    queries: Sequence[tuple[Rotated, Ints, Ints]], values: Ints, scales: Ints, head_dim: int
) -> Ints:
    """One head of one row. `queries` holds, for each group of keys, the query as it is turned for
    them, the keys int8 [n, head_dim] and their scales; `values` int8 [sum n, head_dim] and `scales`
    follow the same order. Returns Q16 [head_dim]."""
    up = 30 - bits(head_dim * 127 * 127)
    parts = []
    for query, keys, key_scales in queries:
        factor = query.mantissa * C16129 >> 31
        t = mul31(mul31((keys @ query.q) << up, factor), key_scales)
        parts.append(shift(t, up + query.n1 + query.nb - 23))
    s = np.clip(np.concatenate(parts), -(1 << 29) + 1, (1 << 29) - 1)
    e = exp2_negative(np.minimum(s.max() - s, ONE - 1))
    total = int((e >> 12).sum())
    p = mul31(e, scales)
    b = min(15, 24 - bits(len(s) - 1))
    down = bits(max(1, int(p.max()))) - b
    w = (p + (1 << (down - 1))) >> down if down > 0 else p << -down
    acc = np.minimum(w, (1 << b) - 1) @ values
    n = bits(total)
    m = min((1 << 61) // (total << (31 - n)), (1 << 31) - 1) * C127 >> 31
    return clamp(shift(clamp(mul31(acc, m)), n - 8 - down))


def swiglu(gate: Ints, up: Ints) -> Activation:
    """SiLU(gate) * up, quantised."""
    a = np.minimum(np.abs(gate), (1 << 20) - 1)
    i, f = a >> 10, a & 1023
    sigmoid = SIGMOID[i] + (((SIGMOID[i + 1] - SIGMOID[i]) * f + 512) >> 10)
    z = mul31(gate, np.where(gate < 0, ONE - sigmoid, sigmoid) << 15)
    nz = 30 - bits(max(1, int(np.abs(z).max())))
    nu = 30 - bits(max(1, int(np.abs(up).max())))
    return activation(mul31(z << nz, up << nu), nz + nu + 1)


@dataclass
class Entry:
    """One token's keys and values of one layer, for all key-value heads."""

    key: Ints
    key_scale: Ints
    value: Ints
    value_scale: Ints


class ReferenceNetwork:
    """The network of ARITHMETIC.md over a dictionary of tensors."""

    def __init__(self, tensors: Mapping[str, NDArray[Any]], config: Mapping[str, int]) -> None:
        self.config = dict(config)
        self.tensors = {name: np.asarray(t) for name, t in tensors.items()}
        self.frequency = [
            [
                int(f)
                for f in self.tensors.get(
                    f"layers.{i}.rotary.frequency", self.tensors["rotary.frequency"]
                )
            ]
            for i in range(config["layers"])
        ]
        self.head_norms = [
            [self._head_norm(f"layers.{i}.{part}_norm") for part in "qk"]
            for i in range(config["layers"])
        ]
        self.blocks = [
            (
                self._norm(f"layers.{i}.attn_norm"),
                self._matrix(f"layers.{i}.qkv", f"layers.{i}.attn_norm"),
                self._matrix(f"layers.{i}.out"),
                self._norm(f"layers.{i}.ffn_norm"),
                self._matrix(f"layers.{i}.gate_up", f"layers.{i}.ffn_norm"),
                self._matrix(f"layers.{i}.down"),
            )
            for i in range(config["layers"])
        ]
        self.reach = (
            self._ints("reach").tolist() if "reach" in self.tensors else [0] * config["layers"]
        )
        self.final = self._norm("final_norm")
        self.head = self._matrix("head", "final_norm")

    def _ints(self, name: str) -> Ints:
        return self.tensors[name].astype(np.int64)

    def _norm(self, name: str) -> tuple[Ints, Ints, int]:
        return (
            self._ints(f"{name}.source"),
            self._ints(f"{name}.gain"),
            int(self.tensors[f"{name}.exponent"][0]),
        )

    def _head_norm(self, name: str) -> tuple[Ints, int] | None:
        if f"{name}.gain" not in self.tensors:
            return None
        return self._ints(f"{name}.gain"), int(self.tensors[f"{name}.exponent"][0])

    def _matrix(self, name: str, norm: str | None = None) -> Matrix:
        tied = f"{name}.weight" not in self.tensors
        weight = (
            self._ints("embed.weight")[: self.config["vocab"]]
            if tied
            else self._ints(f"{name}.weight")
        )
        return matrix(
            weight,
            self._ints(f"{name}.scale"),
            int(self.tensors[f"{name}.exponent"][0]),
            self._ints(f"{name}.bias") if f"{name}.bias" in self.tensors else None,
            self._ints(f"{norm}.source") if norm else None,
        )

    def embed(self, token: int) -> Ints:
        """The residual stream's start: Q16 [dim]."""
        row = self._ints("embed.weight")[token] * int(self.tensors["embed.scale"][token])
        e = int(self.tensors["embed.exponent"][0]) - 16
        if e > 0:
            e = min(e, 62)
            return clamp((row + (1 << (e - 1))) >> e)
        return clamp(row << min(-e, 30))

    def forward(
        self, cache: ReferenceCache, lanes: Sequence[int], tokens: Sequence[int]
    ) -> NDArray[np.int32]:
        """Append each token to its lane, one after the other; logits int32 [rows, vocab]."""
        rows = [self._row(cache, int(a), int(t)) for a, t in zip(lanes, tokens, strict=True)]
        return np.array(rows, np.int64).astype(np.int32).reshape(-1, self.config["vocab"])

    def _row(self, cache: ReferenceCache, lane: int, token: int) -> Ints:
        position = cache.length(lane)
        x = self.embed(token)
        eps = self.config["eps"]
        for layer, (norm1, qkv, out, norm2, gate_up, down) in enumerate(self.blocks):
            mixed = self._attention(cache, layer, lane, position, qkv(norm(x, *norm1, eps)))
            x = clamp(x + out(activation(mixed, 16)))
            both = gate_up(norm(x, *norm2, eps))
            hidden = self.config["hidden"]
            x = clamp(x + down(swiglu(both[:hidden], both[hidden:])))
        return self.head(norm(x, *self.final, eps))

    def _attention(
        self, cache: ReferenceCache, layer: int, lane: int, position: int, qkv: Ints
    ) -> Ints:
        heads, kv_heads = self.config["heads"], self.config["kv_heads"]
        hd = self.config["head_dim"]
        q, k, v = np.split(qkv.reshape(-1, hd), [heads, heads + kv_heads])
        frequency, eps = self.frequency[layer], self.config["eps"]
        q, k = (
            part if norm is None else np.stack([head_norm(y, *norm, eps) for y in part])
            for part, norm in zip((q, k), self.head_norms[layer], strict=True)
        )
        turned = [rotate(y, position, frequency) for y in k]
        flat = [quantise(y) for y in v]
        cache.append(
            layer,
            lane,
            Entry(
                np.stack([t.q for t in turned]),
                np.array([key_scale(t) for t in turned], np.int64),
                np.stack([t.q for t in flat]),
                np.array([value_scale(t) for t in flat], np.int64),
            ),
        )
        reach = self.reach[layer]
        anchor, own = cache.visible(layer, lane, position, reach)
        far = position if reach else min(position, cache.anchor + cache.window - 1)
        result = []
        for h in range(heads):
            g = h * kv_heads // heads
            queries = [
                (
                    rotate(q[h], turn, frequency),
                    np.stack([e.key[g] for e in entries]),
                    np.array([e.key_scale[g] for e in entries], np.int64),
                )
                for turn, entries in ((far, anchor), (position, own))
                if entries
            ]
            seen = anchor + own
            result.append(
                attend(
                    queries,
                    np.stack([e.value[g] for e in seen]),
                    np.array([e.value_scale[g] for e in seen], np.int64),
                    hd,
                )
            )
        return np.concatenate(result)


class ReferenceCache:
    """Keys and values of every lane, all of them kept; `visible` chooses."""

    def __init__(self, network: ReferenceNetwork, lanes: int, window: int, anchor: int) -> None:
        self.window, self.anchor = window, anchor
        self._entries: list[list[list[Entry]]] = [
            [[] for _ in range(lanes)] for _ in range(network.config["layers"])
        ]

    def length(self, lane: int) -> int:
        """Positions the lane has passed; a lane other than 0 starts behind the anchor."""
        return len(self._entries[-1][lane]) + (self.anchor if lane else 0)

    def append(self, layer: int, lane: int, entry: Entry) -> None:
        self._entries[layer][lane].append(entry)

    def visible(
        self, layer: int, lane: int, position: int, reach: int
    ) -> tuple[list[Entry], list[Entry]]:
        """The anchor entries and the lane's own entries that a row at `position` attends to."""
        start = self.anchor if lane else 0
        oldest = position - (min(self.window, reach) if reach else self.window) + 1
        first = max(self.anchor, oldest)
        anchor = self._entries[layer][0][max(0, oldest) if reach else 0 : position + 1]
        anchor = anchor[: max(0, self.anchor - (max(0, oldest) if reach else 0))]
        return anchor, self._entries[layer][lane][first - start : position + 1 - start]
