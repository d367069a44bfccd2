"""The coefficient model of JPEG frames in plain Python: what jpeg_model.hpp must equal.

The text is that of ARITHMETIC.md, "JPEG coefficients", which leaves the lists of contexts to this
file. Slow on purpose: some ten blocks a second.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from lmc.kernels.reference_mixer import (
    M32,
    STRETCH,
    Mixer,
    ProbabilityMap,
    hash64,
    learned,
    squash24,
)

EDGE = (1024, 1420, 1338, 1204, 1024, 805, 554, 283)
BORDER = (1024, *[1448] * 7)
COSINE = (
    (1448, 2009, 1892, 1703, 1448, 1138, 784, 400),
    (1448, 1703, 784, -400, -1448, -2009, -1892, -1138),
    (1448, 1138, -784, -2009, -1448, 400, 1892, 1703),
    (1448, 400, -1892, -1138, 1448, 1703, -784, -2009),
    (1448, -400, -1892, 1138, 1448, -1703, -784, 2009),
    (1448, -1138, -784, 2009, -1448, -400, 1892, -1703),
    (1448, -1703, 784, 400, -1448, 2009, -1892, 1138),
    (1448, -2009, 1892, -1703, 1448, -1138, 784, -400),
)
VOICES, NODES, LIMIT, FLIP = 32, 16, 127, M32 - 1023
INNER_COUNT, INNER_VALUE, EDGE_COUNT, EDGE_VALUE, DC = range(5)


def _zigzag() -> Iterator[int]:
    for diagonal in range(15):
        places = [(v, diagonal - v) for v in range(8) if 0 <= diagonal - v < 8]
        for v, u in places if diagonal % 2 else reversed(places):
            yield 8 * v + u


INNER = [place for place in _zigzag() if place >= 8 and place % 8]

Block = Sequence[int]  # 64 coefficients by place
NO_BLOCK: Block = [0] * 64


def steps(v: int) -> int:
    """0, 1, 2, 3, then two steps for each doubling."""
    n = v.bit_length()
    return v if v < 4 else 2 * n + (v >> (n - 2) & 1) - 2


def sign(v: int) -> int:
    return (v > 0) - (v < 0)


def agree(a: int, b: int) -> int:
    return 1 + a * b


def nearest(v: int, unit: int) -> int:
    n = (2 * abs(v) + unit) // (2 * unit)
    return -n if v < 0 else n


def fine(v: int) -> int:
    return steps(min(abs(v), 4000))


def bounded(v: int, most: int) -> int:
    return max(-most, min(most, v))


def log2_lines(size: int, bands: int) -> int:
    """For a file of `size` bytes."""
    return next((n for n in range(16, 21) if bands << n >= 2 * size), 21)


@dataclass
class Component:
    """Sampling factors, size in blocks, steps by place, and rows of blocks."""

    h: int
    v: int
    width: int
    height: int
    quant: list[int]
    rows: list[list[list[int]]]


@dataclass
class Trace:
    """What later blocks need of a block that is coded."""

    right: list[int] = field(default_factory=lambda: [0] * 8)
    right_border: list[int] = field(default_factory=lambda: [0] * 8)
    bottom: list[int] = field(default_factory=lambda: [0] * 8)
    bottom_border: list[int] = field(default_factory=lambda: [0] * 8)
    columns: list[list[int]] = field(default_factory=list)
    rows: list[list[int]] = field(default_factory=list)
    error: int = 0
    inner: int = 0
    row: int = 0
    column: int = 0
    there: bool = False


class Decisions:
    """Adaptive probabilities of all voices, mixed, and corrected by two maps."""

    def __init__(self, log2_lines: int) -> None:
        self.shift = 32 - log2_lines
        self.lines: dict[int, list[int]] = {}
        self.mixer = Mixer(4, [12000] * VOICES, (22, 11), 11)
        self.refine = ProbabilityMap(), ProbabilityMap()
        self.coded: list[tuple[int, int]] = []  # bits and their probabilities to be one

    def find(self, hashes: list[int]) -> None:
        self.at = [self.lines.setdefault(h >> self.shift, [1 << 31] * NODES) for h in hashes]

    def begin(self, contexts: list[tuple[int, int]]) -> None:
        assert len(contexts) == VOICES
        self.hashes = [hash64(context) for context, _ in contexts]
        self.signs = [sign for _, sign in contexts]
        self.find(self.hashes)

    def move(self, part: int) -> None:
        other = []
        for hashed in self.hashes:
            h = (hashed + part * 0x9E3779B1) * 0x85EBCA6B & M32
            h ^= h >> 15
            other.append(h * 0x9E3779B1 & M32)
        self.find(other)

    def turn(self, s: int) -> None:
        for i, expected in enumerate(self.signs):
            if expected * s < 0:
                self.hashes[i] ^= 1 << self.shift
        self.find(self.hashes)

    def code(
        self, bit: int, node: int, selected: list[int], refined: int, is_sign: bool = False
    ) -> None:
        flips = [FLIP if is_sign and s < 0 else 0 for s in self.signs]
        values = [line[node] ^ flip for line, flip in zip(self.at, flips, strict=True)]
        self.mixer.select(selected, selected[-1])
        logit = self.mixer.predict([STRETCH[v >> 20] for v in values])
        a = self.refine[0].refine(selected[0], logit)
        b = self.refine[1].refine(refined, logit)
        p = (2 * squash24(logit) + a + b + 2) >> 2
        self.coded.append((bit, max(16, min((1 << 24) - 16, p))))
        self.mixer.update(bit)
        for refine in self.refine:
            refine.update(bit)
        for line, value, flip in zip(self.at, values, flips, strict=True):
            line[node] = learned(value, bit, LIMIT, 7) ^ flip


class Band:
    """Codes the blocks of all components in the rows of MCUs from `begin` to `end`, with 2^lines
    lines."""

    def __init__(self, components: list[Component], begin: int, end: int, lines: int) -> None:
        self.components = components
        self.decisions = Decisions(lines)
        self.errors: list[int] = []
        for number, c in enumerate(components):
            self.number, self.c = number, c
            self.first = min(c.height, begin * c.v)
            self.errors_before, self.errors = self.errors, []
            self.above = [Trace() for _ in range(c.width + 2)]
            for y in range(self.first, min(c.height, end * c.v)):
                self.now = [Trace() for _ in range(c.width + 2)]
                for x in range(c.width):
                    self.block(x, y)
                self.above = self.now

    @property
    def coded(self) -> list[tuple[int, int]]:
        return self.decisions.coded

    def block(self, x: int, y: int) -> None:
        self.b = Around(self, x, y)
        self.inner()
        self.edge(False)
        self.edge(True)
        self.dc()
        self.leave()

    # --- symbols ----------------------------------------------------------------------------

    def start(self, kind: int, place: int) -> None:
        self.kind = kind
        self.base = ((self.number * 8 + kind) * 64 + place) * VOICES
        self.contexts: list[tuple[int, int]] = []

    def voice(self, sign: int, *numbers: int) -> None:
        fields = 0
        for number in (*numbers, 0, 0, 0, 0)[:4]:
            assert 0 <= number < 1024
            fields = fields << 10 | number
        self.contexts.append(((self.base + len(self.contexts)) << 40 | fields, sign))

    def count(self, width: int, known: int, row: int, guess: int) -> None:
        d = self.decisions
        d.begin(self.contexts)
        v = node = 1
        for done in range(width):
            if done == 3:
                d.move(v)
                node = 1
            bit = known >> (width - 1 - done) & 1
            selected = [
                4096 + row * 64 + v,
                1792 + self.number * 64 + v,
                2048 + guess * 8 + done,
                self.kind * 16 + done,
            ]
            d.code(bit, node - 1, selected, 50688 + guess * 64 + v)
            v, node = v * 2 + bit, node * 2 + bit

    def value(self, known: int, place: int, s1: int, s2: int, s3: int) -> None:
        d = self.decisions
        d.begin(self.contexts)

        def decide(bit: int, node: int, part: int, is_sign: bool = False) -> None:
            firsts = ((self.number * 64 + place), s1, s2, self.kind)
            d.code(bit, node, [i * 16 + part for i in firsts], s3 * 16 + part, is_sign)

        decide(int(known == 0), 0, 0)
        if known == 0:
            return
        decide(int(known < 0), 1, 1, True)
        d.turn(sign(known))
        size = abs(known)
        width = size.bit_length()
        for n in range(1, min(width + 1, 12)):
            decide(int(width > n), 1 + min(n, 7), 1 + min(n, 7))
        for left in range(width - 2, -1, -1):
            done = width - 2 - left
            if done > 0:
                d.move(width * 64 + (size >> (left + 1) if done < 4 else 32 + left))
            node = 0 if done > 0 else 9 + min(width - 2, 5)
            decide(size >> left & 1, node, 9 + min(done, 6))

    # --- a block ----------------------------------------------------------------------------

    def inner(self) -> None:
        b, voice = self.b, self.voice
        w, n, nw, ne = (t.inner for t in (b.west, b.north, b.north_west, b.north_east))
        mean = (w + n + 1) >> 1 if b.north.there and b.west.there else w + n
        ww, nn, other, luma = (
            sum(k[place] != 0 for place in INNER) for k in (b.ww, b.nn, b.other, b.energy)
        )
        total = steps(sum(min(abs(k[place]), 15) for k in (b.w, b.n) for place in INNER))
        outer_w, outer_n = b.west.row + b.west.column, b.north.row + b.north.column
        self.start(INNER_COUNT, 0)
        voice(0, mean)
        voice(0, w, n)
        voice(0, w // 3, n // 3, nw // 3)
        voice(0, mean, ne)
        voice(0, total)
        voice(0, total, mean // 2)
        voice(0, luma, other)
        voice(0, mean, luma // 2, other)
        voice(0, outer_w, mean)
        voice(0, outer_n, outer_w)
        voice(0)
        voice(0, w)
        voice(0, n)
        voice(0, w + n + nw + ne)
        voice(0, w > n, mean)
        voice(0, 2 * w + 2 * n + ne - nw + 49)
        voice(0, steps(abs(b.west.error)), mean)
        voice(0, steps(abs(b.north.error)), mean)
        voice(0, ww, w)
        voice(0, nn, n)
        voice(0, other, mean)
        voice(0, other, w // 4, n // 4)
        voice(0, ww + w + n + nn, (nw + ne) // 4)
        voice(0, luma)
        voice(0, mean, steps(self.c.quant[9]))
        voice(0, nw, n)
        voice(0, ne, w)
        voice(0, max(w, n), min(w, n) // 4)
        voice(0, total, outer_w // 2, outer_n // 2)
        voice(0, total, luma // 2, other // 2)
        voice(0, w + n + luma, other)
        voice(0, w // 2, n // 2, nw // 4, ne // 4)
        found = sum(b.block[place] != 0 for place in INNER)
        self.count(6, found, mean, other if self.number > 0 else (nw + ne + 1) // 2)
        b.here.inner = found

        left, previous, previous2, so_far = found, 0, 0, 0
        for k, place in enumerate(INNER):
            if left == 0:
                break
            v, u = divmod(place, 8)
            wa, na = abs(b.w[place]), abs(b.n[place])
            left_of = b.block[place - 1] if u > 1 else 0
            over = b.block[place - 8] if v > 1 else 0
            la, oa = abs(left_of), abs(over)
            da = abs(b.block[place - 9]) if u > 1 and v > 1 else 0
            by = [place - 1, place - 8, *([place + 1] * (u < 7)), *([place + 8] * (v < 7))]
            near = steps(2 * (wa + na) + sum(abs(k[q]) for k in (b.w, b.n) for q in by))
            weighted = b.weighted(place)
            around = steps(weighted >> 2)
            d1 = b.quarters(b.down[v], EDGE[u], place)
            d2 = b.quarters(b.down_border[v], BORDER[u], place)
            a1 = b.quarters(b.across[u], EDGE[v], place)
            a2 = b.quarters(b.across_border[u], BORDER[v], place)
            both, every = (d1 + a1) >> 1, (d1 + a1 + d2 + a2) >> 2
            s_other, s_w, s_n = (sign(k[place]) for k in (b.other, b.w, b.n))
            s_both = sign(both)
            other_a, luma_a = min(abs(b.other[place]), 7), steps(b.energy[place])
            rest, density = steps(left), min(left * 16 // (50 - k), 15)
            p1, p2 = abs(previous), abs(previous2)
            self.start(INNER_VALUE, place)
            voice(0, around, rest)
            voice(0, min(wa, 7), min(na, 7), rest // 4)
            voice(0, left)
            voice(0, min(la, 3), min(oa, 3), min(da, 3), rest // 2)
            voice(0, min(p1, 3), min(p2, 3), rest)
            voice(0, steps(so_far), rest)
            voice(s_other, other_a, around // 2)
            voice(sign(d1), fine(d1), rest // 2)
            voice(sign(a1), fine(a1), rest // 2)
            voice(sign(d1), fine(d1) // 2, fine(a1) // 2, agree(sign(d1), sign(a1)))
            voice(0, min(abs(b.nw[place]), 7), min(abs(b.ne[place]), 7), min(wa + na, 7))
            voice(s_n or s_w, min(na, 3), min(wa, 3), agree(s_w, s_n))
            voice(0, w + n, found)
            voice(0, found, around // 2)
            voice(0, near, around // 2)
            voice(0, steps(weighted), density, min(la + oa, 7))
            voice(0, near, density, min(la + oa, 7))
            voice(s_other, luma_a, around // 2, other_a)
            voice(sign(d2), fine(d2), around // 2)
            voice(sign(a2), fine(a2), around // 2)
            voice(0, min(abs(b.ww[place]), 3), min(abs(b.nn[place]), 3), min(wa, 3), min(na, 3))
            voice(0, steps(la + oa + da), near, rest // 2)
            voice(0, min(weighted // 4, 31), steps(so_far) // 2)
            voice(0, rest, density, min(p1, 7))
            voice(s_both, fine(both), rest // 2)
            voice(sign(every), fine(every), around)
            voice(s_other or s_both, other_a, fine(both) // 2, agree(s_other, s_both))
            voice(0, min(wa, 15), min(na, 15))
            voice(0, near, rest)
            voice(s_other, luma_a, rest, other_a)
            s_left, s_over = sign(left_of), sign(over)
            voice(s_left or s_over, min(la, 2), min(oa, 2), agree(s_left, s_over))
            voice(0)
            s3 = min(around, 27) * 64 + density * 4 + min(la + oa, 3)
            value = b.block[place]
            self.value(value, place, left, 1 + min(around, 31), s3)
            b.take(place)
            left -= value != 0
            so_far += abs(value)
            previous, previous2 = value, previous

    def edge(self, column: bool) -> None:
        b, voice = self.b, self.voice
        stride, inward = (8, 1) if column else (1, 8)
        w, n = (t.column if column else t.row for t in (b.west, b.north))
        lack, lack_border = (b.down, b.down_border) if column else (b.across, b.across_border)
        total, before = b.here.inner, b.here.row if column else 0
        inside = [place for place in INNER if b.block[place]]
        reach = max((place // 8 if column else place % 8 for place in inside), default=0)
        energy = steps(sum(abs(b.block[place]) for place in inside))
        line = range(1, 8)
        likely = sum(abs(b.quarters(lack[i], EDGE[0], i * stride)) > 2 for i in line)
        border = sum(abs(b.quarters(lack_border[i], BORDER[0], i * stride)) > 2 for i in line)
        other, luma, ne, nw, nn, ww, covering, here = (
            sum(k[i * stride] != 0 for i in line)
            for k in (b.other, b.luma, b.ne, b.nw, b.nn, b.ww, b.energy, b.block)
        )
        self.start(EDGE_COUNT, int(column))
        voice(0, total, (w + n) // 2)
        voice(0, w, n)
        voice(0, likely, total)
        voice(0, likely, w, n)
        voice(0, reach, w, n)
        voice(0, reach, likely, before)
        voice(0, total, before)
        voice(0, other, likely, reach)
        voice(0, energy, likely)
        voice(0, other, w + n)
        voice(0, likely)
        voice(0, border, likely)
        voice(0, border, total)
        voice(0, reach, before)
        voice(0, total)
        voice(0, w + n)
        voice(0, before, w, n)
        voice(0, *(t.row if column else t.column for t in (b.west, b.north)), before)
        voice(0, ne, n, w)
        voice(0, nw, n, w)
        voice(0, luma, other, likely)
        voice(0)
        voice(0, nn + ww, n, w)
        voice(0, covering, likely, other)
        voice(0, border, w, n)
        voice(0, border, likely, energy)
        voice(0, total, likely, before)
        voice(0, total, w, n)
        voice(0, other, w, n, likely)
        voice(0, reach, total)
        voice(0, energy, w, n)
        voice(0, energy, total)
        self.count(3, here, 50 + column, 50 + likely * 2 + column)
        if column:
            b.here.column = here
        else:
            b.here.row = here

        left, previous, so_far, missed = here, 0, 0, 0
        for i in line:
            if left == 0:
                break
            place = i * stride
            p1 = b.quarters(lack[i], EDGE[0], place)
            p2 = b.quarters(lack_border[i], BORDER[0], place)
            p3 = b.quarters(b.across[0] if column else b.down[0], EDGE[i], place)
            mean, every = (p1 + p2) >> 1, (2 * p1 + 2 * p2 + p3) >> 2
            wa, na = abs(b.w[place]), abs(b.n[place])
            weighted = b.weighted(place)
            around = steps(weighted >> 2)
            beside = steps(sum(abs(b.block[place + j * inward]) for j in line))
            next_in = abs(b.block[place + inward])
            further = steps(sum(abs(k[place + stride]) for k in (b.w, b.n))) if i < 7 else 0
            s1, s2, s3, sm = sign(p1), sign(p2), sign(p3), sign(mean)
            s_other, s_w, s_n = (sign(k[place]) for k in (b.other, b.w, b.n))
            s_along, s_cross = (s_n, s_w) if column else (s_w, s_n)
            other_a, luma_a = min(abs(b.other[place]), 15), steps(b.energy[place])
            fm = fine(mean)
            self.start(EDGE_VALUE, place)
            voice(s1, fine(p1), left)
            voice(s2, fine(p2), left)
            voice(sm, fm, left)
            voice(s1, fine(p1), around)
            voice(s1, fine(p1), fine(p2), agree(s1, s2))
            voice(0, around, left)
            voice(s1, min(abs(p1), 80), left // 3)
            voice(sm, min(abs(mean), 80))
            voice(s1, fine(p1), beside, left // 2)
            voice(s1, fine(p1), fine(p3) // 2, agree(s1, s3))
            voice(sm, fm, min(wa, 7), min(na, 7), agree(sm, s_along))
            voice(s_along or s_cross, min(wa, 7), min(na, 7), left, agree(s_w, s_n))
            voice(0, left, beside, min(next_in, 7))
            voice(sm, fm, other_a, agree(sm, s_other))
            voice(s_other, other_a, around, left // 2)
            voice(s_other, other_a, luma_a, left // 2)
            voice(sm, fm, steps(so_far), min(abs(previous), 3))
            voice(s2, fine(p2), total)
            voice(sm, fm, further, left // 2)
            corners = min(abs(b.nw[place]), 7), min(abs(b.ne[place]), 7)
            voice(0, *corners, min(wa + na, 7), left)
            voice(s3, fine(p3), around)
            voice(sm, fm, here if column else left)
            voice(0, steps(weighted), total // 2, left)
            voice(sm, min(abs(b.ww[place]), 7), min(abs(b.nn[place]), 7), fm)
            voice(sm, fm, luma_a, left // 2)
            voice(sm, fm, beside, around)
            voice(s2, min(abs(p2), 160), min(next_in, 3))
            voice(sm, min(abs(mean), 160), left)
            voice(sm, fm, fine(missed), agree(sm, sign(missed)))
            voice(sign(every), fine(every), left)
            voice(s_along, min(wa, 15), min(na, 15))
            voice(sm)
            value = b.block[place]
            s2nd = 34 + left * 8 + min(around, 14) // 2
            self.value(value, place, 50 + fm, s2nd, 1792 + fine(p1) * 24 + fine(p2))
            b.take(place)
            left -= value != 0
            so_far += abs(value)
            previous, missed = value, mean - 4 * value

    def dc(self) -> None:
        b, voice = self.b, self.voice
        b.samples = b.transform()
        north: list[int] = []
        west: list[int] = []
        if b.north.there:
            outer, inner = b.north.rows
            near, far = b.samples[0], b.samples[1]
            north = [(3 * outer[i] - inner[i] - 3 * near[i] + far[i]) >> 1 for i in range(8)]
        if b.west.there:
            outer, inner = b.west.columns
            near, far = ([row[x] for row in b.samples] for x in (0, 1))
            west = [(3 * outer[i] - inner[i] - 3 * near[i] + far[i]) >> 1 for i in range(8)]
        told = sorted(north + west)
        quarter = len(told) // 4
        mean = sum(told[quarter : len(told) - quarter]) >> (3 if quarter == 4 else 2)
        spread = told[-1] - told[0] if told else 0
        unit = 2 * self.c.quant[0]
        predicted = bounded(nearest(mean, unit), 2047)
        rounding = nearest(4 * mean, unit) - 4 * predicted
        up = nearest(sum(north) >> 1, unit) - 4 * predicted if north else 0
        left = nearest(sum(west) >> 1, unit) - 4 * predicted if west else 0
        uncertain = fine(nearest(4 * spread, unit))
        finer = steps(min(nearest(16 * spread, unit), 16000))
        ew, en = steps(abs(b.west.error)), steps(abs(b.north.error))
        s_w, s_n, su, sl = (sign(v) for v in (b.west.error, b.north.error, up, left))
        fu, fl, inner_n, edges = fine(up), fine(left), b.here.inner, b.here.row + b.here.column
        beside = self.errors_before[len(self.errors)] if b.beside else 0
        sb, eb = sign(beside), steps(abs(beside))

        def differs(dc: int) -> None:
            voice(sign(dc - predicted), steps(abs(dc - predicted)), uncertain)

        w, n, nw, ne = (k[0] for k in (b.w, b.n, b.nw, b.ne))
        self.start(DC, 0)
        voice(0, uncertain)
        voice(0, uncertain, (inner_n + edges) // 2)
        voice(0, uncertain, ew, en)
        voice(su, fu, uncertain)
        voice(sl, fl, uncertain)
        voice(su, fu, fl, agree(su, sl))
        voice(sign(rounding), min(abs(rounding), 1023), uncertain)
        voice(s_w, ew, uncertain)
        voice(s_n, en, uncertain)
        voice(s_w, ew, en, agree(s_w, s_n))
        voice(sb, eb, uncertain)
        voice(sb, eb, fu)
        voice(0, inner_n, edges)
        voice(0, edges, uncertain)
        voice(su)
        voice(sl)
        voice(0, ew + en, uncertain)
        voice(sign(up - left), fine(up - left), uncertain)
        voice(sign(up + left), fine(up + left), uncertain)
        differs(n)
        differs(w)
        differs(w + n - nw)
        voice(0, steps(abs(w - nw)), steps(abs(n - nw)))
        differs((n + ne) >> 1)
        voice(0, steps(self.c.quant[0]), uncertain)
        voice(su, uncertain, fu // 2, fl // 2, agree(su, sl))
        voice(sb, eb, ew, en)
        voice(0, inner_n, uncertain)
        rest = up + left - 2 * rounding
        voice(sign(rest), fine(rest), ew)
        voice(0, finer)
        differs(ne)
        voice(0, uncertain, ew + en + steps(abs(b.north_east.error)))
        error = b.block[0] - predicted
        s3 = 2368 + uncertain * 32 + min((ew + en) // 2, 31)
        self.value(error, 0, 80 + uncertain, 106 + min(fu, 20), s3)
        b.here.error = error
        self.errors.append(error)
        b.take(0)

    def leave(self) -> None:
        """Leaves what later blocks need."""
        b, t = self.b, self.b.here
        t.there = True

        def sample(y: int, x: int) -> int:
            return bounded(b.samples[y][x] + 2 * b.dequantised[0], 32767)

        t.columns = [[sample(i, 7 - j) for i in range(8)] for j in range(2)]
        t.rows = [[sample(7 - j, i) for i in range(8)] for j in range(2)]
        for place, d in enumerate(b.dequantised):
            v, u = divmod(place, 8)
            t.right[v] += (-1) ** u * EDGE[u] * d
            t.right_border[v] += (-1) ** u * BORDER[u] * d
            t.bottom[u] += (-1) ** v * EDGE[v] * d
            t.bottom_border[u] += (-1) ** v * BORDER[v] * d


class Around:
    """A block, its neighbourhood, and what its borders lack."""

    def __init__(self, band: Band, x: int, y: int) -> None:
        c, components = band.c, band.components
        self.c = c

        def of(x: int, y: int) -> Block:
            return c.rows[y][x] if 0 <= x < c.width and y >= band.first else NO_BLOCK

        self.block = c.rows[y][x]
        self.w, self.ww, self.n, self.nn = of(x - 1, y), of(x - 2, y), of(x, y - 1), of(x, y - 2)
        self.nw, self.ne = of(x - 1, y - 1), of(x + 1, y - 1)
        self.west, self.here = band.now[x], band.now[x + 1]
        self.north_west, self.north, self.north_east = band.above[x : x + 3]
        self.other = self.luma = NO_BLOCK
        self.energy = [0] * 64
        self.beside = False
        if band.number:
            first, before = components[0], components[band.number - 1]
            lx = min(x * first.h // c.h, first.width - 1)
            ly = min(y * first.v // c.v, first.height - 1)
            mx = min(lx + (first.h > c.h), first.width - 1)
            my = min(ly + (first.v > c.v), first.height - 1)
            self.luma = first.rows[ly][lx]
            for k in (first.rows[j][i] for j in (ly, my) for i in (lx, mx)):
                self.energy = [e + abs(v) for e, v in zip(self.energy, k, strict=True)]
            if band.number > 1 and (before.width, before.height) == (c.width, c.height):
                self.other, self.beside = before.rows[y][x], True
            elif (first.h, first.v) == (c.h, c.v):
                self.other = self.luma
        self.dequantised = [0] * 64
        self.samples: list[list[int]] = []
        self.down, self.down_border = list(self.west.right), list(self.west.right_border)
        self.across, self.across_border = list(self.north.bottom), list(self.north.bottom_border)

    def weighted(self, place: int) -> int:
        sides = abs(self.w[place]) + abs(self.n[place])
        if self.north.there and self.west.there:
            return 13 * sides + 6 * abs(self.nw[place])
        return 32 * sides

    def quarters(self, lack: int, weight: int, place: int) -> int:
        return nearest(4 * lack, weight * self.c.quant[place])

    def take(self, place: int) -> None:
        v, u = divmod(place, 8)
        d = bounded(self.block[place] * self.c.quant[place], 32767)
        self.dequantised[place] = d
        self.down[v] -= EDGE[u] * d
        self.down_border[v] -= BORDER[u] * d
        self.across[u] -= EDGE[v] * d
        self.across_border[u] -= BORDER[v] * d

    def transform(self) -> list[list[int]]:
        """Samples by row, in 16ths: without DC, which is not known yet."""
        half = []
        for v in range(8):
            line = self.dequantised[8 * v : 8 * v + 8]
            sums = (sum(a * d for a, d in zip(COSINE[x], line, strict=True)) for x in range(8))
            half.append([bounded((total + 512) >> 10, 65535) for total in sums])
        return [
            [(sum(COSINE[y][v] * half[v][x] for v in range(8)) + 256) >> 9 for x in range(8)]
            for y in range(8)
        ]
