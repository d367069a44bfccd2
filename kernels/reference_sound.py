"""The sound model in plain Python: what sound_*.hpp must equal.

The text is that of ARITHMETIC.md, "Sounds", and the lists and numbers that were chosen by measuring
stand here as there in one place. Slow on purpose: some dozen samples a second.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lmc.kernels.reference_mixer import (
    LN2,
    LOGIT_LIMIT,
    STRETCH,
    Mixer,
    ProbabilityMap,
    clamp_logit,
    log24,
    squash24,
)
from lmc.kernels.reference_photo import (
    COMPONENTS,
    NINE,
    POWER,
    Layer,
    bounded,
    infer,
    log64,
    octaves8,
    quantile,
    quotient,
)

# --- what was chosen ------------------------------------------------------------------------


@dataclass(frozen=True)
class Set:
    """A set of features, and how its least squares forget."""

    own: int  # samples of this channel before this one,
    other: int  # and of its partner
    fade: int
    every: int  # samples between two solutions


@dataclass(frozen=True)
class Effort:
    sets: tuple[Set, ...]
    filters: tuple[tuple[int, int], ...]  # taps and rate
    longest: int  # distance of a repetition


EFFORTS = (
    Effort(
        (Set(16, 8, 7, 8), Set(16, 8, 6, 8), Set(8, 4, 5, 4)),
        ((256, 260), (16, 600)),
        256,
    ),
    Effort(
        (Set(32, 16, 7, 16), Set(32, 16, 6, 16), Set(16, 8, 5, 8), Set(2, 1, 9, 8)),
        ((1024, 260), (256, 260), (32, 600), (16, 600)),
        320,
    ),
    Effort(
        (
            *(Set(32, 16, 7, 4), Set(32, 16, 6, 4), Set(16, 8, 5, 4)),
            *(Set(2, 1, 9, 4), Set(32, 24, 10, 8), Set(24, 8, 7, 4)),
        ),
        ((2048, 260), (256, 260), (32, 600), (16, 600)),
        512,
    ),
)
DISTINCT = 3  # sets whose predictions are distributions of their own
RIDGE = 500
JOIN_FADE = 7
REPEAT_TAPS, TAPS_AROUND, NEAREST = 5, 17, 25
LAST_FILTER = (32, 100)
LEVEL_FILTERS = ((256, 100), (16, 200))
SPEEDS = (2, 4, 7, 5, 5, 5, 5)  # of the mean errors: of the centre, the cascade, the sets
LEVELS = 24
MAPS = (LEVELS * 3, 81 * 4, LEVELS * 8, 256, 256, 81)
LAST = (LEVELS, 81)
FIRST_WEIGHTS = [23000] + [3300] * 14 + [0]
FIRST_WEIGHTS_NETWORK = [12000] + [3300] * 14 + [16000]
PARTS = 5 + DISTINCT  # distributions beside the network's
INPUTS = 256
MOST_SETS, MOST_FILTERS = 6, 4

# --- numbers --------------------------------------------------------------------------------


def power(base: int, e: int, low: int, high: int) -> int:
    """base 2^(e / 64)."""
    v, whole = base * POWER[e & 63] >> 8, e >> 6
    return bounded((v << whole if whole >= 0 else v >> -whole) >> 8, low, high)


def cut(v: int, limit: int) -> int:
    return bounded(v, -limit, limit)


# --- least squares --------------------------------------------------------------------------


class Squares:
    def __init__(self, n: int, fade: int, every: int, limit_bits: int) -> None:
        self.n, self.fade, self.every, self.limit = n, fade, every, 1 << (limit_bits + 12)
        self.moments = [[0] * (i + 1) for i in range(n + 1)]  # the last row: the target's
        self.weights = [0] * n
        self.seen = 0

    def predict(self, features: Sequence[int]) -> int:
        return sum(w * f for w, f in zip(self.weights, features, strict=True))

    def learn(self, units: Sequence[int]) -> None:
        """units: of the features and, last, the target."""
        for i, row in enumerate(self.moments):
            for j in range(i + 1):
                row[j] += units[i] * units[j]
        self.seen += 1
        if self.seen % self.every:
            return
        self.solve()
        for row in self.moments:
            for j, m in enumerate(row):
                row[j] = m - (m >> self.fade) * self.every

    def solve(self) -> None:
        n, m, most, far = self.n, self.moments, (1 << 62) - 1, 1 << 60
        up = 60 - max(1, *(m[i][i] + RIDGE for i in range(n))).bit_length()
        l: list[list[int]] = []  # noqa: E741
        r, s, y = [0] * n, [0] * n, [0] * n
        for i in range(n):
            c, li = [0] * i, [0] * i
            for j in range(i):
                total = sum(a * b for a, b in zip(c[:j], l[j], strict=True))
                c[j] = cut((m[i][j] << up) - (total >> 32), most)
                li[j] = cut(c[j] * r[j] >> s[j], 1 << 48)
            total = sum(a * b for a, b in zip(c, li, strict=True))
            d = bounded((m[i][i] + RIDGE << up) - (total >> 32), 1 << 20, most)
            s[i] = d.bit_length() + 29
            r[i] = (1 << (s[i] + 32)) // d
            past = sum(a * b for a, b in zip(y[:i], li, strict=True))
            y[i] = cut((m[n][i] << up) - (past >> 32), most)
            l.append(li)
        z = [cut(y[i] * r[i] >> s[i], far) for i in range(n)]
        for i in reversed(range(n)):
            v = cut(z[i], self.limit)
            self.weights[i] = v >> 12
            for k in range(i):
                z[k] = cut(z[k] - (l[i][k] * v >> 32), far)


# --- filters --------------------------------------------------------------------------------


class Filter:
    """Weights in units of 2^-29; inputs are 64ths of samples >> shift."""

    def __init__(self, taps: int, rate: int, shift: int) -> None:
        self.taps, self.rate, self.shift = taps, rate, shift
        self.history, self.weights = [0] * taps, [0] * taps  # the oldest first

    def predict(self) -> int:
        total = sum((w >> 16) * x for w, x in zip(self.weights, self.history, strict=True))
        total = ((total + (1 << 31)) & ((1 << 32) - 1)) - (1 << 31)
        return total >> (13 - self.shift)

    def learn(self, value: int, predicted: int) -> None:
        """value: what should have been predicted, in 64ths."""
        error = cut(value - predicted >> self.shift, 32767)
        energy = sum(x * x for x in self.history)
        step = cut(quotient(error * self.rate << 25, energy + 64 * self.taps + 1), 65535)
        if step:
            self.weights = [
                cut(w + (x * step >> 12), 1 << 30)
                for w, x in zip(self.weights, self.history, strict=True)
            ]
        self.history = [*self.history[1:], cut(value >> self.shift, 32767)]


class Repetition:
    """The distance at which residuals agree best with the last ones."""

    def __init__(self, longest: int) -> None:
        self.residuals, self.units = [0] * longest * 2, [0] * longest  # the newest last
        self.sums = dict.fromkeys(range(NEAREST, longest + 1), 0)
        self.distance, self.seen = NEAREST, 0

    def taps(self, count: int) -> list[int]:
        first = -self.distance - count // 2
        return [self.residuals[first + k] for k in range(count)]

    def put(self, residual: int, unit: int) -> None:
        for d in self.sums:
            self.sums[d] += unit * self.units[-d]
        self.residuals = [*self.residuals[1:], residual]
        self.units = [*self.units[1:], unit]
        if self.seen % 16 == 0:
            self.distance = max(self.sums, key=lambda d: self.sums[d])  # the nearest of equals
            self.sums = {d: v - (v >> 3) for d, v in self.sums.items()}
        self.seen += 1


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
        return squash24(clamp_logit(d * ((1 << 40) // self.scale) >> 28))


class Foretold:
    """The network's logistics; shares are of 2^16."""

    def __init__(self, centre: int, scale: int, out: Sequence[int]) -> None:
        offsets, spreads, weights = (
            out[i : i + COMPONENTS] for i in (0, COMPONENTS, 2 * COMPONENTS)
        )
        falls = [w - max(weights) for w in weights]
        chances = [1 if f < -704 else power(4096, f, 1, 4096) for f in falls]
        moves = [bounded(o, -(1 << 13), 1 << 13) * scale + 128 >> 8 for o in offsets]
        scales = [power(scale, bounded(s, -512, 384), 4, 1 << 33) for s in spreads]
        total = sum(chances)
        self.shares = [(w << 16) // total for w in chances]
        self.shares[0] = (1 << 16) - sum(self.shares[1:])
        self.parts = [Logistic(centre + m, s) for m, s in zip(moves, scales, strict=True)]
        self.centre = centre + quotient(
            sum(w * m for w, m in zip(chances, moves, strict=True)), total
        )
        self.scale = sum(w * s for w, s in zip(chances, scales, strict=True)) // total

    def below(self, b: int) -> int:
        return sum(w * p.below(b) for w, p in zip(self.shares, self.parts, strict=True)) >> 16


def scaled(v: int, scale: int) -> int:
    """16 for one scale, within -64 ... 63."""
    return bounded(cut(v, 4 * scale) * ((1 << 40) // scale) + (1 << 35) >> 36, -64, 63)


# --- channels -------------------------------------------------------------------------------

Coder = Callable[[int, int], int]
"""Takes a bit (of no meaning while decoding) and its probability, 24 bits; returns the bit."""


class Channel:
    def __init__(
        self,
        *,
        effort: int,
        fade: int,
        weighted: bool,
        limits: tuple[int, int],
        place: int,
        channels: int,
        network: Sequence[Layer] | None,
    ) -> None:
        self.network = network
        self.effort, self.weighted = EFFORTS[effort], weighted
        self.low, self.high = limits
        self.depth = max(abs(self.low), abs(self.high)).bit_length() + 1
        self.present, alone = place > 0, channels == 1
        self.past = [0] * 64  # the newest last
        self.others = [0 if alone else s.other + self.present for s in self.effort.sets]
        self.sets = [
            Squares(s.own + o, s.fade + (max(0, fade - 1) if k else fade), s.every, 30)
            for k, (s, o) in enumerate(zip(self.effort.sets, self.others, strict=True))
        ]
        shift = 2 + max(0, self.depth - 16)
        self.filters = [Filter(taps, rate, shift) for taps, rate in self.effort.filters]
        joined = len(self.sets) - 1 + len(self.filters) + REPEAT_TAPS
        self.join = Squares(joined, JOIN_FADE, 1, 26)
        self.last_filter = Filter(*LAST_FILTER, shift)
        self.level_filters = [Filter(*f, 2) for f in LEVEL_FILTERS]
        self.repetition = Repetition(self.effort.longest)
        self.means = [1 << 15] * len(SPEEDS)
        self.errors = [0, 0]  # the newest first
        self.scale, self.mean_level = 1, 6400
        self.logs = [0] * (PARTS + (network is not None))
        self.history, self.loud = [0] * 64, [0] * 368  # errors, the newest first
        self.missed = [[0] * (DISTINCT + 1)] * 4  # of the sets and the cascade
        self.done = 0
        self.size = 1 << 15
        first = FIRST_WEIGHTS if network is None else FIRST_WEIGHTS_NETWORK
        self.mixer = Mixer(5, first, (22, 10))
        self.maps = [ProbabilityMap() for _ in MAPS]
        self.last = [ProbabilityMap(1000) for _ in LAST]

    def spread(self, which: int) -> int:
        return (self.means[which] * 3 >> 5) + 10

    def code(self, coder: Coder, partner: Channel | None, known: int) -> int:
        bottom, top = 64 * self.low, 64 * self.high
        features = []
        for kind, others in zip(self.effort.sets, self.others, strict=True):
            f = [self.past[-1 - i] for i in range(kind.own)]
            if partner is not None:
                f += [partner.past[-1 - i] for i in range(others)]
            features.append(f)
        by_set = [
            bounded(s.predict(f) >> 14, bottom, top)
            for s, f in zip(self.sets, features, strict=True)
        ]
        by_filter = [f.predict() for f in self.filters]
        joined = [cut(p - by_set[0], 1 << 30) for p in by_set[1:]]
        joined += [cut(q, 1 << 30) for q in by_filter]
        joined += self.repetition.taps(REPEAT_TAPS)
        cascade = bounded(by_set[0] + sum(by_filter), bottom, top)
        late = self.last_filter.predict()
        centre = bounded(by_set[0] + (self.join.predict(joined) >> 20) + late, bottom, top)

        by_level = [f.predict() for f in self.level_filters]
        level = self.mean_level + sum(by_level)
        parts: list[Logistic | Foretold] = [
            Logistic(centre, self.spread(1)),
            Logistic(centre, self.spread(0)),
            Logistic(centre, self.spread(2)),
            Logistic(centre, power(1, level >> 3, 0, 1 << 32) + 6),
            Logistic(cascade, self.spread(3)),
            *(Logistic(by_set[k], self.spread(4 + k)) for k in range(DISTINCT)),
        ]
        if self.network is not None:
            taps = joined[-REPEAT_TAPS:]
            shown = self.shown(partner, parts, by_set, by_filter, taps, cascade, late)
            eight = self.mixture(parts)
            parts.append(Foretold(eight[2], eight[3], infer(self.network, shown)))
        value = self.decide(coder, partner, parts, by_set, by_filter, known)

        v64 = 64 * value
        error = v64 - centre
        misses = [error] * 3 + [v64 - cascade] + [v64 - p for p in by_set[:DISTINCT]]
        self.means = [
            m + (8 * abs(e) - m >> speed)
            for m, e, speed in zip(self.means, misses, SPEEDS, strict=True)
        ]
        loud = octaves8(abs(error) + 16) * 64
        rest = loud - self.mean_level
        for f2, q in zip(self.level_filters, by_level, strict=True):
            f2.learn(rest, q)
            rest -= q
        self.mean_level += loud - self.mean_level >> 8
        self.errors = [error, self.errors[0]]
        self.history = [error, *self.history[:-1]]
        self.loud = [octaves8(abs(error) + 16), *self.loud[:-1]]
        self.missed = [[*misses[4:], misses[3]], *self.missed[:-1]]
        self.done += 1
        self.size += 8 * abs(v64) - self.size >> 8

        expected = 1 << max(5, self.depth - 5)
        if self.weighted:
            octave = octaves8((17 * self.scale + abs(error) >> 4) + 16)
            expected = power(1, (13 * octave >> 1) + 120, 32, 1 << 32)
        inverse = (1 << 36) // expected

        def unit(v: int, shift: int) -> int:
            return cut(v * inverse >> shift, 1 << 20)

        for s, f in zip(self.sets, features, strict=True):
            s.learn([unit(v, 22) for v in [*f, value]])
        residual = v64 - by_set[0]
        self.join.learn([unit(v, 28) for v in [*joined, residual]])
        self.last_filter.learn(v64 - (centre - late), late)
        self.repetition.put(cut(residual, 1 << 30), bounded(residual * inverse >> 28, -2047, 2047))
        rest = residual
        for f2, q in zip(self.filters, by_filter, strict=True):
            f2.learn(rest, q)
            rest -= q
        self.past = [*self.past[1:], value]
        return value

    def mixture(
        self, parts: Sequence[Logistic | Foretold]
    ) -> tuple[list[int], int, int, int, list[int]]:
        """The shares of distributions, their sum, the centre and scale of all, the logs' falls."""
        middle = parts[0].centre
        logs = self.logs[: len(parts)]
        falls = [max(logs) - log for log in logs]
        shares = [1 if f > 11 * 4096 else power(65536, -(f * 64 // LN2), 1, 65536) for f in falls]
        total = sum(shares)
        offsets = sum(w * (p.centre - middle) for w, p in zip(shares, parts, strict=True))
        scale = sum(w * p.scale for w, p in zip(shares, parts, strict=True)) // total
        return shares, total, middle + quotient(offsets, total), scale, falls

    def shown(
        self,
        partner: Channel | None,
        parts: Sequence[Logistic | Foretold],
        by_set: Sequence[int],
        by_filter: Sequence[int],
        taps: Sequence[int],
        cascade: int,
        late: int,
    ) -> list[int]:
        """The network's inputs."""
        middle = parts[0].centre
        _, _, joined, scale, falls = self.mixture(parts)
        octave = octaves8(scale + 16)

        def rel(size: int) -> int:
            return octaves8(size + 16) - octave

        def filled(values: Sequence[int], count: int) -> list[int]:
            return [*values, *[0] * (count - len(values))]

        loud = self.loud
        out = [scaled(e, scale) for e in self.history[:32]]
        out += [loud[k] - octave for k in range(16)]
        out += [(sum(loud[16 + 4 * k : 20 + 4 * k]) >> 2) - octave for k in range(24)]
        out += [(sum(loud[112 + 16 * k : 128 + 16 * k]) >> 4) - octave for k in range(16)]
        out += [scaled(v, scale) for v in taps] + [rel(abs(v)) for v in taps]
        out += filled([scaled(p - middle, scale) for p in by_set], MOST_SETS)
        out += [scaled(v, scale) for v in (cascade - middle, joined - middle, late)]
        out += filled([scaled(q, scale) for q in by_filter], MOST_FILTERS)
        out += [rel(p.scale) for p in parts] + [-(8 * f // LN2) for f in falls]
        out += [octave - 112 >> 1]
        if self.present and partner is not None:
            told = octaves8(abs(partner.errors[0]) + 16) - octaves8(partner.scale + 16)
            out += [scaled(partner.errors[0], partner.scale + 1), told, 32]
        else:
            out += [0, 0, -32]
        size = (self.size >> 3) + 64
        out += [scaled(64 * self.past[-1 - k], size) for k in range(24)]
        out += [scaled(middle, size), rel(size)]
        out += [rel(64 * self.high - middle) >> 1, rel(middle - 64 * self.low) >> 1, 0]
        out += [scaled(e, scale) for e in self.history[32:]]
        out += [scaled(e, scale) for missed in self.missed for e in missed]
        out += [scaled(64 * self.past[-1 - k], size) for k in range(24, 32)]
        out += [scaled(v, scale) for v in self.repetition.taps(TAPS_AROUND)]
        out += [octaves8(self.done + 1) - 64]
        if partner is not None:
            there = octaves8(partner.scale + 16)
            out += [scaled(e, partner.scale + 1) for e in partner.history[:16]]
            out += [v - there for v in partner.loud[:6]]
        return [bounded(v, -64, 63) + 64 for v in filled(out, INPUTS)]

    def decide(
        self,
        coder: Coder,
        partner: Channel | None,
        parts: Sequence[Logistic | Foretold],
        by_set: Sequence[int],
        by_filter: Sequence[int],
        value: int,
    ) -> int:
        middle = parts[0].centre
        shares, total, centre, scale, _ = self.mixture(parts)
        self.scale = scale

        def relative(d: int, to: int = scale) -> int:
            return bounded(quotient(8 * d, to + 1), -64, 63)

        def nine(v: int) -> int:
            return bisect_right(NINE, v)

        level = bounded(octaves8(scale) - 16 >> 2, 0, LEVELS - 1)
        loud = [octaves8((m >> 3) + 16) for m in self.means[:3]]
        before = nine(relative(self.errors[0])) * 9 + nine(relative(self.errors[1]))
        far = relative(by_set[DISTINCT - 1] - middle), relative(by_set[0] - middle)
        apart = nine(far[0]) * 9 + nine(far[1])
        told = relative(by_filter[0])
        if self.present and partner is not None:
            told = relative(partner.errors[0], partner.scale)
        contexts = [
            level * 3 + bounded(loud[0] - loud[2] + 12 >> 3, 0, 2),
            before * 4 + bounded(loud[0] - loud[1] + 8 >> 2, 0, 3),
            level * 8 + (centre >> 3 & 7),
            bounded((told >> 2) + 8, 0, 15) * 16 + bounded(loud[2] - loud[1] + 16 >> 1, 0, 15),
            0,  # each decision has its own
            apart,
        ]

        def below_all(b: int) -> list[int]:
            return [p.below(b) for p in parts]

        low, high = self.low, self.high + 1
        part_low, part_high = [0] * len(parts), [1 << 24] * len(parts)
        all_low, all_high = 0, total << 24
        depth = path = 0
        while high - low > 1:
            if depth < 5:
                at = centre + (scale * quantile(depth, path) >> 12) + 64 >> 6
                node = (1 << depth) - 1 + path
            else:
                step = bounded(scale << (depth - 5) >> 6, 1, 1 << 26)
                deep = min(depth - 5, 5)
                if low == self.low:
                    at, node = high - step, 31 + 2 * deep
                elif high > self.high:
                    at, node = low + step, 32 + 2 * deep
                else:
                    at = low + high + 1 >> 1
                    node = 42 + min((high - low).bit_length() - 1, 5)
            at = bounded(at, low + 1, high - 1)
            if high - low == 2:
                contexts[4] = at & 127
            else:
                contexts[4] = (128 if high - low <= 4 else 192) + (at & 63)
            third = 0 if depth < 2 else 1 if depth < 5 else 2
            self.mixer.select((node, level * 3 + third, apart, before, 0), node)
            part_at = below_all(at)
            all_at = sum(w * p for w, p in zip(shares, part_at, strict=True))
            up, down = max(0, all_high - all_at) + total, max(0, all_at - all_low) + total
            logit = clamp_logit(log64(up) - log64(down))
            x = [bounded(logit >> 4, -3071, 3071)]
            for a, l, h in zip(part_at, part_low, part_high, strict=True):  # noqa: E741
                odds = log24(max(0, h - a) + 1) - log24(max(0, a - l) + 1)
                x.append(bounded(odds >> 4, -2047, 2047))
            foretold = x[1 + PARTS :]  # comes last
            del x[1 + PARTS :]
            for map, size, context in zip(self.maps, MAPS, contexts, strict=True):
                x.append(STRETCH[map.refine(node * size + context, logit) >> 12])
            x += foretold or [256]
            mixed = self.mixer.predict(x)
            p = 2 * squash24(mixed)
            for map, size, context in zip(self.last, LAST, (level, before), strict=True):
                p += map.refine(node * size + context, mixed)
            bit = coder(int(value >= at), bounded(p >> 2, 16, (1 << 24) - 16))
            self.mixer.update(bit)
            for map in (*self.maps, *self.last):
                map.update(bit)
            if bit:
                low, all_low, part_low = at, all_at, part_at
            else:
                high, all_high, part_high = at, all_at, part_at
            if depth < 5:
                path = 2 * path + bit
            depth += 1
        self.logs = [
            (log * 15 >> 4) + log24(max(0, right - left) + 4)
            for log, left, right in zip(self.logs, part_low, part_high, strict=True)
        ]
        return low


def code(
    coder: Coder,
    samples: Sequence[Sequence[int]],
    ranges: Sequence[tuple[int, int]],
    effort: int,
    fade: int,
    weighted: bool,
    network: Sequence[Layer] | None = None,
) -> list[list[int]]:
    """Samples (channels, time) through a coder; what they turn out to be."""
    count = len(ranges)
    channels = [
        Channel(
            effort=effort,
            fade=fade,
            weighted=weighted,
            limits=limits,
            place=c,
            channels=count,
            network=network,
        )
        for c, limits in enumerate(ranges)
    ]
    out: list[list[int]] = [[] for _ in channels]
    for t in range(len(samples[0])):
        for c, channel in enumerate(channels):
            partner = None if count == 1 else channels[c - 1 if c else 1]
            out[c].append(channel.code(coder, partner, samples[c][t]))
    return out
