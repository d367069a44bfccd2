"""The photo model in plain Python: what photo_*.hpp must equal.

The text is that of ARITHMETIC.md, "Photos", and the lists and numbers that were chosen by measuring
stand here as there in one place. Slow on purpose: some hundred samples a second.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lmc.kernels.reference_mixer import (
    LN2,
    LOG_MANTISSA,
    LOGIT_LIMIT,
    STRETCH,
    Mixer,
    ProbabilityMap,
    clamp_logit,
    log24,
    squash24,
    stretch24,
)

# --- what was chosen ------------------------------------------------------------------------


@dataclass(frozen=True)
class Set:
    """A set of features, and how its least squares forget."""

    own: int  # neighbours of this channel,
    before: int  # of each channel coded before it,
    after: int  # and of each coded after it
    along: int  # fade along a row
    down: int  # and from row to row
    every: int  # steps between two solutions


SETS = (
    Set(20, 10, 6, along=5, down=3, every=4),
    Set(12, 6, 2, along=4, down=2, every=2),
    Set(6, 2, 1, along=3, down=1, every=1),
    Set(10, 4, 1, along=2, down=1, every=1),
)
NEAR = (
    *((-1, 0), (0, -1), (-1, -1), (1, -1), (-2, 0), (0, -2), (-1, -2)),
    *((1, -2), (-2, -1), (2, -1), (-3, 0), (0, -3), (-2, -2), (2, -2)),
    *((-3, -1), (-1, -3), (1, -3), (3, -2), (-3, -2), (-4, 0)),
)
FAR = ((-2, -1), (2, -1), (-1, -2), (1, -2))
WIDE = ((-3, 0), (-4, 0), (-5, 0), (-2, -1), (2, -1), (-2, -2), (2, -2), (0, -3))
LAG = 3
RIDGE = 80
FIVE = (-6, -1, 2, 7)
SEVEN = (-11, -4, -1, 2, 5, 12)
NINE = (-16, -8, -4, -1, 2, 5, 9, 17)
LEVELS = 16
MAPS = (LEVELS, 49, 81, 64, LEVELS * 8, 512, 125, 256)  # contexts of each, for one node
LAST = (LEVELS, 81)
FIRST_WEIGHTS = [20000] + [4000] * 12 + [0] * 3

INPUTS, COMPONENTS = 64, 4

# --- numbers --------------------------------------------------------------------------------


def bounded(v: int, low: int, high: int) -> int:
    return max(low, min(high, v))


def quotient(a: int, b: int) -> int:
    """a / b rounded towards 0; b > 0."""
    return a // b if a >= 0 else -(-a // b)


def octaves8(v: int) -> int:
    """8 log2(v), linear between powers of two."""
    e = v.bit_length() - 1
    return 8 * e + ((v << 3 >> e) & 7)


def log64(v: int) -> int:
    """4096 ln v."""
    e = v.bit_length() - 1
    return LOG_MANTISSA[(v << (63 - e) & (1 << 63) - 1) >> 52] + e * LN2


def _powers() -> list[int]:
    """2^16 2^(i / 64), from the sixth square root of 2 in units of 2^-62."""
    step = 1 << 63
    for _ in range(6):
        step = isqrt(step << 62)
    out, v = [], 1 << 62
    for _ in range(64):
        out.append((v + (1 << 45)) >> 46)
        v = v * step >> 62
    return out


POWER = _powers()


def power(base: int, e: int, low: int, high: int) -> int:
    """base 2^(e / 64)."""
    v, whole = base * POWER[e & 63] >> 8, e >> 6
    return bounded((v << whole if whole >= 0 else v >> -whole) >> 8, low, high)


def quantile(depth: int, path: int) -> int:
    """Of the logistic distribution at (2 path + 1) / 2^(depth + 1), units of 2^-12."""
    return stretch24((2 * path + 1) << (23 - depth))


# --- planes ---------------------------------------------------------------------------------


class Plane:
    """A number for each pixel that is known, and what stands for it beyond the picture."""

    def __init__(self, height: int, width: int, first: int) -> None:
        self.width, self.first = width, first
        self.rows: list[list[int]] = [[] for _ in range(height)]

    def put(self, y: int, value: int) -> None:
        self.rows[y].append(value)

    def at(self, x: int, y: int) -> int:
        top = self.rows[0]
        if not top:
            return self.first
        if y < 0:
            return top[bounded(x - 1, 0, len(top) - 1)]
        if x < 0:
            return self.rows[max(0, y - 1)][0]
        return self.rows[y][min(x, self.width - 1)]

    def all(self, x: int, y: int, places: Sequence[tuple[int, int]]) -> list[int]:
        return [self.at(x + dx, y + dy) for dx, dy in places]

    def around(self, x: int, y: int) -> int:
        """8 times the mean of the nearest, W and N twice."""
        return sum(f * v for f, v in zip((2, 2, 1, 1, 1, 1), self.all(x, y, NEAR[:6]), strict=True))


# --- least squares --------------------------------------------------------------------------


def solve(m: NDArray[np.int64]) -> NDArray[np.int64]:
    """Weights (n,) from moments (n + 1, n + 1) whose last row is the target's."""
    n = len(m) - 1
    limit, steep = (1 << 31) - 1, 1 << 24
    up = max(0, 29 - max(1, *map(int, m.diagonal()[:n])).bit_length())
    l = np.zeros((n, n), np.int64)  # noqa: E741
    c, r, y = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64)
    for i in range(n):
        for j in range(i):
            rest = (int(m[i, j]) << up) - (int(c[:j] @ l[j, :j]) >> 16)
            c[j] = bounded(rest, -limit, limit)
            l[i, j] = bounded(int(c[j]) * int(r[j]) >> 29, -steep, steep)
        a = int(m[i, i])
        ridged = a + (a >> 8) + RIDGE
        d = bounded((ridged << up) - (int(c[:i] @ l[i, :i]) >> 16), 1 << 15, limit)
        r[i] = (1 << 45) // d
        rest = (int(m[n, i]) << up) - (int(y[:i] @ l[i, :i]) >> 16)
        y[i] = bounded(rest, -limit, limit)
    z = y * r >> 29
    w = np.zeros(n, np.int64)
    for i in reversed(range(n)):
        w[i] = bounded(int(z[i]), -(1 << 20), 1 << 20)
        z[:i] -= l[i, :i] * w[i] >> 16
    return w


class Fades(Protocol):
    """How a set's least squares forget; see Set."""

    @property
    def along(self) -> int: ...
    @property
    def down(self) -> int: ...
    @property
    def every(self) -> int: ...


class Squares:
    """Recursive least squares of a set for all rows; sums: with the rows above."""

    def __init__(self, kind: Fades, features: list[int], height: int) -> None:
        self.kind, self.features = kind, features
        n = len(features)
        self.row = np.zeros((height, n + 1, n + 1), np.int64)
        self.sums = np.zeros((height, n + 1, n + 1), np.int64)
        self.weights = np.zeros((height, n), np.int64)

    def advance(self, t: int, rows: range) -> None:
        for y in reversed(rows):
            self.sums[y] = self.row[y]
            if y > 0:
                self.sums[y] += self.sums[y - 1] - (self.sums[y - 1] >> self.kind.down)
            if t % self.kind.every == 0:
                self.weights[y] = solve(self.sums[y])

    def predict(self, y: int, features: NDArray[np.int64]) -> int:
        return int(self.weights[y] @ features[self.features]) >> 10

    def update(self, y: int, units: NDArray[np.int64]) -> None:
        """units: of the features and, last, the target."""
        u = units[[*self.features, -1]]
        self.row[y] += np.outer(u, u) - (self.row[y] >> self.kind.along)


# --- distributions --------------------------------------------------------------------------


@dataclass
class Logistic:
    """A distribution on a line in units of 1/64."""

    centre: int
    scale: int

    def below(self, b: int) -> int:
        """Probability of less than b - 1/2, 24 bits."""
        d, most = b * 64 - 32 - self.centre, self.scale * 12 - 1
        if abs(d) >= most:
            return squash24(LOGIT_LIMIT if d > 0 else -LOGIT_LIMIT)
        return squash24(clamp_logit(d * ((1 << 26) // self.scale) >> 14))


Layer = tuple[NDArray[Any], NDArray[Any], NDArray[Any], int]  # weights, bias, factor, shift


def infer(layers: Sequence[Layer], inputs: Sequence[int]) -> list[int]:
    x = np.array(inputs, np.int64)
    for k, (weights, bias, factor, shift) in enumerate(layers):
        y = (weights.astype(np.int64) @ x + bias) * factor.astype(np.int64)
        x = y + (1 << (shift - 1)) >> shift
        if k + 1 < len(layers):
            x = x.clip(0, 127)
    return [int(v) for v in x]


class Mixture:
    """The network's logistics, around the joined prediction."""

    def __init__(self, centre: int, scale: int, out: Sequence[int]) -> None:
        offsets, spreads, weights = (
            out[i : i + COMPONENTS] for i in (0, COMPONENTS, 2 * COMPONENTS)
        )
        best = max(weights)
        self.parts: list[tuple[int, Logistic]] = []
        self.total = centres = scales = 0
        for o, s, w in zip(offsets, spreads, weights, strict=True):
            offset = bounded(o, -(1 << 13), 1 << 13) * scale + 128 >> 8
            spread = power(scale, bounded(s, -512, 256), 4, 1 << 23)
            weight = 1 if best - w > 11 * 64 else power(4096, w - best, 1, 4096)
            self.parts.append((weight, Logistic(centre + offset, spread)))
            self.total += weight
            centres += weight * offset
            scales += weight * spread
        self.centre = centre + quotient(centres, self.total)
        self.scale = scales // self.total

    def below(self, b: int) -> int:
        return sum(weight * part.below(b) for weight, part in self.parts)


# --- channels -------------------------------------------------------------------------------


@dataclass
class Site:
    """What is known of a sample before it is coded; units of 1/64 from by_set to scale."""

    base: int
    features: NDArray[np.int64]
    by_set: list[int]
    error_of: list[int]
    centre: int
    scale: int
    inputs: list[int]
    contexts: list[int]
    level: int
    west_north: int
    earlier: int


class Channel:
    """What a channel knows and has learned."""

    def __init__(self, shape: tuple[int, int, int], depth: int, number: int) -> None:
        height, width, channels = shape
        self.depth, self.number, self.most = depth, number, (1 << depth) - 1
        self.value = Plane(height, width, 1 << (depth - 1))
        self.error = Plane(height, width, 0)
        self.size = Plane(height, width, 128)
        self.size_of = [Plane(height, width, 128) for _ in SETS]
        self.features: list[tuple[int, int, int]] = []  # channel, dx, dy
        of_set: list[list[int]] = [[] for _ in SETS]

        def add(channel: int, role: str) -> None:
            for rank in range(getattr(SETS[0], role)):
                for chosen, kind in zip(of_set, SETS, strict=True):
                    if rank < getattr(kind, role):
                        chosen.append(len(self.features))
                self.features.append((channel, *NEAR[rank]))

        add(number, "own")
        for other in range(channels):
            if other < number:
                for chosen in of_set:
                    chosen.append(len(self.features))
                self.features.append((other, 0, 0))
            if other != number:
                add(other, "before" if other < number else "after")
        self.squares = [
            Squares(kind, chosen, height) for kind, chosen in zip(SETS, of_set, strict=True)
        ]
        self.mixer = Mixer(5, FIRST_WEIGHTS, (22, 10))
        self.maps = [ProbabilityMap() for _ in MAPS]
        self.last = [ProbabilityMap(1000) for _ in LAST]

    def look(self, channels: Sequence[Channel], x: int, y: int) -> Site:
        c, near = self.number, NEAR[:6]
        value = [o.value for o in channels]
        bases = [sum(v.all(x, y, NEAR[:2])) >> 1 for v in value]
        features = np.array(
            [value[o].at(x + dx, y + dy) - bases[o] for o, dx, dy in self.features], np.int64
        )
        by_set = [
            bounded(64 * bases[c] + s.predict(y, features), 0, 64 * self.most) for s in self.squares
        ]
        error_of = [plane.around(x, y) >> 3 for plane in self.size_of]
        shares = [(1 << 36) // (e + 16) ** 2 + 1 for e in error_of]
        centre = sum(w * p for w, p in zip(shares, by_set, strict=True)) // sum(shares)
        scale = (self.size.around(x, y) >> 3) + 32

        inverse = (1 << 26) // scale

        def scaled(d: int) -> int:
            return bounded(bounded(d, -8 * scale, 8 * scale) * inverse + (1 << 22) >> 23, -64, 63)

        own = value[c]
        from_near = [scaled(64 * v - centre) for v in own.all(x, y, NEAR)]
        errors = [scaled(v) for v in self.error.all(x, y, near)]
        inputs = from_near + errors
        earlier = 0
        for o, other in enumerate(channels):
            if o == c:
                continue
            now, v = other.error, [*other.value.all(x, y, near)]
            if o < c:
                error = now.at(x, y)
                relative = quotient(8 * error, (other.size.around(x, y) >> 3) + 32)
                relative = bounded(relative, -64, 63)
                earlier += relative
                inputs += [relative, scaled(error)]
                inputs += [scaled(64 * (v[i] - other.value.at(x, y))) for i in range(4)]
            else:
                inputs += [scaled(64 * (v[i] - v[2])) for i in range(2)]
            inputs += [scaled(e) for e in now.all(x, y, NEAR[:2])]
        west, north, corner = own.all(x, y, NEAR[:3])
        median = bounded(west + north - corner, min(west, north), max(west, north))
        inputs += [scaled(p - centre) for p in by_set]
        inputs.append(scaled(64 * median - centre))
        octaves = octaves8(scale)
        inputs.append(bounded(octaves - 64, -64, 63))
        inputs += [bounded(octaves8(e + 16) - octaves, -64, 63) for e in error_of]
        wide = sum(self.size.all(x, y, WIDE)) >> 3
        inputs.append(bounded(octaves8(wide + 32) - octaves, -64, 63))
        inputs += [(centre >> self.depth) - 32, (centre & 63) - 32]
        inputs += [scaled(e) for e in self.error.all(x, y, FAR)]
        inputs += [32 if x % 2 else -32, 32 if y % 2 else -32]
        inputs += [0] * (INPUTS - len(inputs))

        level = bounded(octaves - 40 >> 2, 0, LEVELS - 1)
        west_north = bisect_right(SEVEN, errors[0]) * 7 + bisect_right(SEVEN, errors[1])
        sets = [scaled(p - centre) for p in by_set]
        told = errors[3] if c == 0 else earlier
        both = bisect_right(NINE, told) * 9 + bisect_right(NINE, sets[0] - sets[2])
        pattern = sum((from_near[i] > 0) << (5 - i) for i in range(6))
        three = [bisect_right(FIVE, v) for v in (sets[1], *from_near[:2])]
        contexts = [
            level,
            west_north,
            both,
            pattern,
            level * 8 + (centre >> 3 & 7),
            0,  # each decision has its own
            three[0] * 25 + three[1] * 5 + three[2],
            x % 8 * 32 + y % 8 * 4 + (level >> 2),
        ]
        return Site(
            *(bases[c], features, by_set, error_of, centre, scale),
            *([v + 64 for v in inputs], contexts, level, west_north, both),
        )

    def learn(self, y: int, site: Site, value: int) -> None:
        """After a sample is known."""
        error = 64 * value - site.centre
        self.value.put(y, value)
        self.error.put(y, error)
        self.size.put(y, abs(error))
        for plane, p in zip(self.size_of, site.by_set, strict=True):
            plane.put(y, abs(64 * value - p))
        scale = (3 * site.scale + abs(error) + 32) >> 2
        v = np.append(site.features, value - site.base).clip(-2 * scale, 2 * scale)
        units = (v * ((1 << 26) // scale) >> 16).clip(-2047, 2047)
        for squares in self.squares:
            squares.update(y, units)


class Strip:
    """Codes samples (height, width, 1 or 3) of `depth` bits; networks: the layers for each place of
    a channel (first, second, third, alone)."""

    def __init__(
        self, samples: NDArray[np.uint16], depth: int, networks: Sequence[Sequence[Layer]]
    ) -> None:
        height, width, count = samples.shape
        self.coded: list[tuple[int, int]] = []  # bits and their probabilities to be one
        self.channels = [Channel((height, width, count), depth, c) for c in range(count)]
        for t in range(width + LAG * (height - 1)):
            rows = range(0 if t < width else (t - width) // LAG + 1, min(t // LAG, height - 1) + 1)
            for c, channel in enumerate(self.channels):
                for squares in channel.squares:
                    squares.advance(t, rows)
                for y in rows:
                    x = t - LAG * y
                    site = channel.look(self.channels, x, y)
                    out = infer(networks[c if count == 3 else 3], site.inputs)
                    self.code(channel, site, out, int(samples[y, x, c]))
                    channel.learn(y, site, int(samples[y, x, c]))

    def code(self, channel: Channel, site: Site, out: Sequence[int], value: int) -> None:
        """The value as a walk down a tree of intervals [low, high)."""
        net = Mixture(site.centre, site.scale, out)
        plain = [
            Logistic(p, (3 * e >> 2) + 10) for p, e in zip(site.by_set, site.error_of, strict=True)
        ]
        plain.append(Logistic(site.centre, (3 * (site.scale - 32) >> 2) + 10))
        low, high, depth, path = 0, channel.most + 1, 0, 0
        net_low, net_high = 0, net.total << 24
        plain_low, plain_high = [0] * len(plain), [1 << 24] * len(plain)
        while high - low > 1:
            deep = min(depth - 5, 5)
            step = bounded(net.scale << max(0, depth - 5) >> 6, 1, 1 << 16)
            if depth < 5:
                at = net.centre + (net.scale * quantile(depth, path) >> 12) + 64 >> 6
                node = (1 << depth) - 1 + path
            elif low == 0:
                at, node = high - step, 31 + 2 * deep
            elif high > channel.most:
                at, node = low + step, 32 + 2 * deep
            else:
                at, node = low + high + 1 >> 1, 42 + min((high - low).bit_length() - 1, 5)
            at = bounded(at, low + 1, high - 1)

            net_at = net.below(at)
            above, under = max(0, net_high - net_at), max(0, net_at - net_low)
            logit = clamp_logit(log64(above + net.total) - log64(under + net.total))
            voices = [bounded(logit >> 4, -3071, 3071)]
            plain_at = [p.below(at) for p in plain]
            for p, lowest, highest in zip(plain_at, plain_low, plain_high, strict=True):
                both = log24(max(0, highest - p) + 1) - log24(max(0, p - lowest) + 1)
                voices.append(bounded(both >> 4, -2047, 2047))
            site.contexts[5] = (
                at & 255 if high - low == 2 else (256 if high - low <= 4 else 384) + (at & 127)
            )
            for refine, size, context in zip(channel.maps, MAPS, site.contexts, strict=True):
                voices.append(STRETCH[refine.refine(node * size + context, logit) >> 12])
            voices += [256] + [0] * (len(FIRST_WEIGHTS) - 1 - len(voices))
            stage = 0 if depth < 2 else 1 if depth < 5 else 2
            selected = [node, site.level * 3 + stage, site.west_north, site.earlier, 0]
            channel.mixer.select(selected, node)
            mixed = channel.mixer.predict(voices)
            refined = [
                refine.refine(node * size + context, mixed)
                for refine, size, context in zip(
                    channel.last, LAST, (site.level, site.earlier), strict=True
                )
            ]
            p = (2 * squash24(mixed) + sum(refined)) >> 2

            bit = int(value >= at)
            self.coded.append((bit, bounded(p, 16, (1 << 24) - 16)))
            channel.mixer.update(bit)
            for refine in channel.maps + channel.last:
                refine.update(bit)
            if bit:
                low, net_low, plain_low = at, net_at, plain_at
            else:
                high, net_high, plain_high = at, net_at, plain_at
            depth, path = depth + 1, path * 2 + bit
