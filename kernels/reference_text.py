"""The distribution over tokens, the online bias and the walk, as plain integers (ARITHMETIC.md).

Slow and short: this is the meaning of `kernels/src/distribution.cpp` and `kernels/src/walk.hpp`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from typing import Protocol

ONE = (1 << 28) - 1  # the weight of the likeliest token
LIMIT = 1 << 29  # of a bias, in 2^-22 bit


def weight(distance: int) -> int:
    """2^(28 - distance / 2^16), 0.35 % exact: the weight of a token that lies `distance` (in
    2^-16 bit) below the likeliest."""
    whole, f = min(distance, 60 << 16) >> 16, min(distance, 60 << 16) & 0xFFFF
    slope = 44013 - ((11245 * f) >> 16)
    return (ONE - ((slope * f) >> 4)) >> whole if whole < 32 else 0


def weights(logits: Sequence[int], bias: Sequence[int] | None = None) -> list[int]:
    """Unnormalised probabilities of all tokens. logits: 2^-16 bit; bias: 2^-22 bit."""
    biased = [x + (b >> 6) for x, b in zip(logits, bias or [0] * len(logits), strict=True)]
    best = max(biased)
    return [weight(best - x) for x in biased]


class Bias:
    """A correction of each token's logit, learned by Adagrad (Duchi et al. 2011) while coding."""

    def __init__(self, vocabulary: int) -> None:
        self.values = [0] * vocabulary  # 2^-22 bit
        self.squares = [0] * vocabulary  # 2^-16
        self.rates = [self.rate(0)] * vocabulary  # 2^-13 bit

    @staticmethod
    def rate(square: int) -> int:
        """0.4 / (0.3 + sqrt(square)) nat."""
        return (4727 << 16) // (19661 + isqrt(square << 16))

    def learn(self, seen: Sequence[int], token: int) -> None:
        """`seen`: the biased weights that `token` was coded with."""
        reciprocal = (1 << 56) // sum(seen)
        for v, w in enumerate(seen):
            p = (w * reciprocal) >> 32
            value = max(self.values[v] - ((p * self.rates[v]) >> 15), -LIMIT)
            error = p
            if v == token:
                value = min(value + (self.rates[v] << 9), LIMIT)
                error = max((1 << 24) - p, 0)
            self.values[v] = value
            if v == token or p >= 1 << 16:
                self.squares[v] = min(self.squares[v] + (error * error >> 32), 2**32 - 1)
                self.rates[v] = self.rate(self.squares[v])


def ratio(part: int, whole: int) -> int:
    """part / whole in 2^-24, at least 1 and at most 2^24 - 1; one half where nothing is known."""
    if whole == 0:
        return 1 << 23
    drop = max(whole.bit_length() - 40, 0)
    return min(max(((part >> drop) << 24) // (whole >> drop), 1), (1 << 24) - 1)


class Decide(Protocol):
    """Codes the decisions of a walk; see `kernels/src/walk.hpp`."""

    def full(self) -> bool: ...
    def begin_byte(self, inside: bool) -> None: ...
    def end(self, plain: int, biased: int, known: bool) -> bool: ...
    def bit(self, plain: int, biased: int, known: bool) -> bool: ...
    def skip(self, bit: int) -> None: ...


def walk(
    table: Sequence[bytes],
    plain: Sequence[int],
    biased: Sequence[int],
    decide: Decide,
    token: int = 0,
) -> int:
    """From the root of the sorted table's trie to a token; `token` is known when encoding."""
    low, high, depth = 0, len(table), 0
    while True:
        inside = depth > 0
        if inside and len(table[low]) == depth:
            if high - low == 1 or decide.full():
                return low
            decide.begin_byte(True)
            p = ratio(plain[low], sum(plain[low:high]))
            q = ratio(biased[low], sum(biased[low:high]))
            if decide.end(p, q, token == low):
                return low
            low += 1
        else:
            decide.begin_byte(inside)
        value = 0
        for shift in range(7, -1, -1):
            upper = value | 1 << shift
            middle = next((v for v in range(low, high) if table[v][depth] >= upper), high)
            if middle in (low, high):
                bit = middle == low
                decide.skip(int(bit))
            else:
                p = ratio(sum(plain[middle:high]), sum(plain[low:high]))
                q = ratio(sum(biased[middle:high]), sum(biased[low:high]))
                bit = decide.bit(p, q, token >= middle)
                low, high = (middle, high) if bit else (low, middle)
            value = upper if bit else value
        depth += 1
