"""The coder of drawn images in plain Python: what graphic.hpp must equal.

Every function is a paragraph of ARITHMETIC.md (part "Drawn images"); tables, mixer, histories and
probability maps are those of reference_mixer.py. Slow on purpose: some hundred pixels a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lmc.kernels.reference_mixer import (
    FROZEN_HALF,
    M32,
    M64,
    NEXT,
    PRIOR,
    STRETCH,
    HistoryTable,
    Mixer,
    ProbabilityMap,
    fit,
    hash64,
    learned,
    squash24,
)

PAD, ROWS_ABOVE = 8, 4
CANDIDATES, PROPOSALS = 3, 20
MOST_NODES = 1 << 20
HALF = 1 << 31
SALT = 0x9DDFEA08EB382D69


@dataclass(frozen=True)
class Plan:
    """How much an effort looks at: lengths of prefixes of the lists below."""

    values: int
    shapes: int
    histories: int
    smooth: int
    numeric: int
    log2_values: int
    log2_histories: int


PLANS = [
    Plan(6, 6, 6, 2, 6, 20, 20),
    Plan(14, 10, 16, 4, 12, 22, 22),
    Plan(16, 10, 26, 6, 18, 22, 22),
]

# Neighbours as (rows up, columns right), and the factor of each in a context's sum.
NEAR = {
    "W": (0, -1),
    "N": (1, 0),
    "NW": (1, -1),
    "NE": (1, 1),
    "WW": (0, -2),
    "NN": (2, 0),
    "NNE": (2, 1),
    "NNW": (2, -1),
    "NWW": (1, -2),
    "NEE": (1, 2),
    "WWW": (0, -3),
    "NNN": (3, 0),
    "NEEE": (1, 3),
    "NNWW": (2, -2),
    "NNEE": (2, 2),
    "NWWW": (1, -3),
}
W, N, NW, NE, WW, NN, NNE, NNW, NWW, NEE, WWW, NNN, NEEE, NNWW, NNEE, NWWW = range(16)
MORE = [(0, -4), (0, -5), (3, 1), (3, -1), (1, 4)]
FACTORS = [
    0x9E3779B97F4A7C15,
    0xBF58476D1CE4E5B9,
    0x94D049BB133111EB,
    0xD6E8FEB86659FD93,
    0xA0761D6478BD642F,
    0xE7037ED1A0B428DB,
    0x8EBC6AF09C88C6E3,
    0x589965CC75374CC3,
    0x1D8E4E27C47D124F,
    0xEB44ACCAB455D165,
    0x9FB21C651E98DF25,
    0xC2B2AE3D27D4EB4F,
    0x165667B19E3779F9,
    0x27D4EB2F165667C5,
    0x85EBCA77C2B2AE63,
    0xFF51AFD7ED558CCD,
    0xC4CEB9FE1A85EC53,
    0x2545F4914F6CDD1D,
    0x369DEA0F31A53F85,
    0xDB4F0B9175AE2165,
    0xBD3A2B5C1E6F7A89,
]
COLUMN_FACTOR = 0xF1357AEA2E62A9C5
AROUND = [  # the order in which a match is verified
    (0, -1), (1, 0), (1, -1), (1, 1), (0, -2), (2, 0), (1, 2), (1, -2), (2, 1), (2, -1), (0, -3),
    (2, 2), (2, -2), (1, 3), (1, -3), (0, -4), (3, 0), (3, 1), (3, -1), (1, 4), (1, -4), (0, -5),
    (2, 3), (2, -3),
]  # fmt: skip
ORDER = [[], [0], [1, 0], [1, 0, 2], [3, 1, 0, 2]]  # of coding the channels


def magnitude(v: int) -> int:
    if v < 4:
        return v
    log = v.bit_length() - 1
    return min(15, 4 + (log - 2) * 2 + (v >> (log - 1) & 1))


def distance(v: int) -> int:
    if v < 5:
        return v
    return 5 + sum(v >= end for end in (7, 9, 13, 17, 25, 33, 49, 65, 97, 129))


def length_bucket(length: int) -> int:
    if length < 16:
        return length
    log = length.bit_length() - 1
    return min(31, 16 + (log - 4) * 2 + (length >> (log - 1) & 1))


def quotient(a: int, b: int) -> int:
    """a / b, rounded towards 0."""
    return a // b if (a < 0) == (b < 0) else -(-a // b)


def median_edge(a: int, b: int, c: int) -> int:
    return max(min(a, b), min(max(a, b), a + b - c))


def apart(a: int, b: int) -> int:
    return sum(abs((a >> s & 255) - (b >> s & 255)) for s in (0, 8, 16, 24))


# --- parts ----------------------------------------------------------------------------------


@dataclass
class ValueSlot:
    value: list[int] = field(default_factory=lambda: [0, 0, 0])
    check: int = 0
    past: int = 0
    run: int = 0

    def known(self) -> bool:
        return self.past > 1

    def place(self, v: int) -> int:
        return self.value.index(v) if v in self.value else 3

    def learn(self, came: int) -> None:
        if not self.known():
            self.value, self.run, self.past = [came] * 3, 1, 4
            return
        v, at = self.value, self.place(came)
        if at == 0:
            self.run = min(self.run + 1, 255)
        elif self.run >= 4:
            self.run //= 4
            if at != 1:
                self.value = [v[0], came, v[1]]
        else:
            self.value = [came, v[0], v[2] if at == 1 else v[1]]
            self.run = 1
        grown = self.past << 2 | at
        self.past = grown if self.past < 32 else 64 | (grown & 63)

    def relation(self, v: int, first_gone: bool) -> int:
        return ((0, 2, 4, 6), (0, 1, 3, 5))[first_gone][self.place(v)]

    def run_class(self) -> int:
        return self.run if self.run < 4 else 4 + sum(self.run >= end for end in (7, 16, 80))


class ValueTable:
    def __init__(self, log2_slots: int) -> None:
        self.shift = 34 - log2_slots
        self.lines: dict[int, list[ValueSlot]] = {}

    def find(self, h: int) -> ValueSlot:
        line = self.lines.setdefault(h >> self.shift, [ValueSlot() for _ in range(4)])
        worst = line[0]
        for slot in line:
            if slot.past and slot.check == h & 0xFFFF:
                return slot
            if slot.past == 0 or slot.run < worst.run:
                worst = slot
            if slot.past == 0:
                break
        worst.value, worst.check, worst.past, worst.run = [0, 0, 0], h & 0xFFFF, 1, 0
        return worst


def first_value(relation: int, past: int, run_class: int) -> int:
    one, n = 1 << 22, (1, 3, 6, 10, 14, 20, 60, 200)[run_class]
    if past == 0:
        return FROZEN_HALF
    p = {
        0: one // (10 * n + 10) * (10 * n + 4),
        2: one // 8,
        4: one // 8,
        5: one // 4,
        6: one // (10 * n + 10) * 4,
    }.get(relation, one // 2)
    return p << 10


@dataclass
class Match:
    bits: int
    least: int
    heads: dict[int, int] = field(default_factory=dict)
    at: int = 0
    expected: int = 0
    length: int = 0
    misses: int = 0

    def find(self, pixels: Sequence[int], at: int, stride: int, h: int) -> None:
        head = self.heads.get(h >> (32 - self.bits), 0)
        if head and self.length < 16:
            length = 0
            for up, right in AROUND:
                step = right - up * stride
                if pixels[head + step] != pixels[at + step]:
                    break
                length += 1
            if length >= self.least and length > self.length:
                self.at, self.length, self.misses = head, length, 0
        self.heads[h >> (32 - self.bits)] = at
        self.expected = pixels[self.at] if self.at else 0

    def follow(self, pixel: int) -> None:
        if not self.at:
            return
        hit = self.expected == pixel
        self.misses = (self.misses << 1 | (not hit)) & 255
        self.length = min(self.length + 1, 65535) if hit else 0
        self.at += 1
        if self.misses.bit_count() > 4:
            self.at = self.length = 0


class Decision:
    """Voices, their mixer, and two probability maps."""

    def __init__(self, voices: int, sets: int, weight: int) -> None:
        self.width = -(-voices // 8) * 8
        first = [weight] * voices + [0] * (2 * self.width - voices)
        self.mixer = Mixer(sets, first, (21, 10))
        self.refine = [ProbabilityMap(), ProbabilityMap()]

    def predict(
        self, cells: list[tuple[dict[int, int], int, int] | None], selected: list[int], final: int,
        contexts: tuple[int, int],
    ) -> int:  # fmt: skip
        """cells: (map, place, first content) of each voice, None for a silent one."""
        self.cells = cells
        self.values = [m.get(at, first) if m else first for m, at, first in map(_cell, cells)]
        values = self.values + [FROZEN_HALF] * (self.width - len(cells))
        self.mixer.select(selected, final)
        logit = self.mixer.predict(
            [STRETCH[v >> 20] for v in values] + [((v >> 20) - 2048) >> 2 for v in values]
        )
        q = [r.refine(c, logit) for r, c in zip(self.refine, contexts, strict=True)]
        return max(16, min((1 << 24) - 16, (2 * squash24(logit) + sum(q) + 2) >> 2))

    def learn(self, bit: int) -> None:
        self.mixer.update(bit)
        for r in self.refine:
            r.update(bit)
        for cell, value in zip(self.cells, self.values, strict=True):
            if cell is not None:
                cell[0][cell[1]] = learned(value, bit, 255, 7)


def _cell(cell: tuple[dict[int, int], int, int] | None) -> tuple[dict[int, int] | None, int, int]:
    return cell if cell is not None else (None, 0, FROZEN_HALF)


class Linear:
    def __init__(self) -> None:
        first = [32768, -16384, 16384, 0, 0, 0, 0, 0, 49152, -16384, 0, 0, 0, 0]
        self.weights = [list(first), list(first)]

    def predict(self, features: list[int], origin: int, most: int) -> list[int]:
        self.f = features
        sums = [sum(a * b for a, b in zip(w, features, strict=True)) for w in self.weights]
        self.out = [max(0, min(4 * most, (s >> 14) + 4 * origin)) for s in sums]
        return self.out

    def learn(self, sample: int) -> None:
        norm = 16 + sum(v * v for v in self.f)
        for k, rate in enumerate((1024, 256)):
            step = (4 * sample - self.out[k]) * rate
            moved = [w + quotient(step * v, norm) for w, v in zip(self.weights[k], self.f)]  # noqa: B905
            self.weights[k] = [max(1 - (4 << 16), min((4 << 16) - 1, v)) for v in moved]


class Colours:
    """The colours seen, as the set of their prefixes."""

    def __init__(self, bits: int) -> None:
        self.bits, self.seen, self.full = bits, set[int](), False
        self.below: dict[tuple[int, int], int] = {}  # (bits left, prefix): colours

    def add(self, colour: int) -> None:
        if self.full or colour in self.seen:
            return
        if 1 + len(self.below) + self.bits > MOST_NODES:
            self.full = True
            return
        self.seen.add(colour)
        for left in range(self.bits):
            key = (left, colour >> left)
            self.below[key] = self.below.get(key, 0) + 1

    def branches(self, left: int, prefix: int, gone: Sequence[int]) -> list[int]:
        """The next bits after which a colour that is not gone is left, `left` bits after them."""
        out = []
        for bit in (0, 1):
            p = prefix << 1 | bit
            lost = sum(c >> left == p for c in gone)
            if self.below.get((left, p), 0) > lost:
                out.append(bit)
        return out


# --- the coder ------------------------------------------------------------------------------


class Encoder:
    """Codes samples (height, width, channels); `coded` is the list of (bit, probability)."""

    def __init__(self, samples: NDArray[np.uint8], depth: int, effort: int) -> None:
        self.height, self.width, self.channels = map(int, samples.shape)
        self.depth, self.plan = depth, PLANS[effort]
        plan, pixels = self.plan, self.height * self.width
        self.pixel_bits = depth if self.channels == 1 else 8 * self.channels
        self.stride = self.width + 2 * PAD
        self.pixels = [0] * (self.stride * (self.height + ROWS_ABOVE))
        self.map_shift = 32 - fit(4 * pixels, 8, 16)
        self.values = ValueTable(fit(pixels * plan.values // 2, 10, plan.log2_values))
        self.histories = HistoryTable(fit(pixels * plan.histories, 10, plan.log2_histories))
        self.value_maps: list[dict[int, int]] = [{} for _ in range(plan.values)]
        self.shape_maps: list[dict[int, int]] = [{} for _ in range(plan.shapes)]
        self.fresh_maps: list[dict[int, int]] = [{} for _ in range(8)]
        self.history_maps: list[dict[int, int]] = [{} for _ in range(plan.histories)]
        predictors = plan.smooth + plan.numeric
        self.numeric_maps: list[dict[int, int]] = [{} for _ in range(predictors)]
        self.matches = [Match(fit(pixels, 8, 22), 12), Match(fit(pixels, 8, 22), 6)]
        self.candidate = Decision(plan.values + plan.shapes, 5, 9000)
        self.fresh = Decision(8, 3, 20000)
        self.colour = Decision(plan.histories + predictors, 5, 6500)
        self.linear = [Linear() for _ in range(4)]
        self.colours = Colours(self.pixel_bits)
        self.ranks = [0] * (self.stride + 1)
        self.ranks_above = [0] * (self.stride + 1)
        self.errors = [[0] * 4 for _ in range(self.stride + 1)]
        self.errors_above = [[0] * 4 for _ in range(self.stride + 1)]
        self.news = self.escapes = 0
        self.tried: list[int] = [0, 0, 0]
        self.coded: list[tuple[int, int]] = []
        self.run(samples)

    def run(self, samples: NDArray[np.uint8]) -> None:
        for y in range(self.height):
            self.at = (y + ROWS_ABOVE) * self.stride + PAD
            self.pixels[self.at - PAD : self.at] = [self.pixels[self.at - self.stride]] * PAD
            for m in self.matches:
                m.at += 2 * PAD if y and m.at else 0
            self.ranks, self.ranks_above = self.ranks_above, self.ranks
            self.ranks[:PAD] = [self.ranks_above[PAD]] * PAD
            self.errors_above, self.errors = self.errors, [[0] * 4 for _ in self.errors]
            self.run_length = self.ahead = 0
            for x in range(self.width):
                self.x = x
                sample = [int(samples[y, x, c]) for c in ORDER[self.channels]]
                self.known = int.from_bytes(bytes(sample), "big")
                self.code()
                self.pixels[self.at] = self.known
                self.at += 1
            self.pixels[self.at : self.at + PAD] = [self.pixels[self.at - 1]] * PAD

    def bit(self, decision: Decision, bit: int, p: int) -> int:
        self.coded.append((bit, p))
        decision.learn(bit)
        return bit

    def map_hash(self, v: int) -> int:
        return hash64(v) >> self.map_shift

    def channel(self, v: int, j: int) -> int:
        return v >> 8 * (self.channels - 1 - j) & 255

    # Before a pixel.

    def look_around(self) -> None:
        def pixel(place: tuple[int, int]) -> int:
            return self.pixels[self.at - place[0] * self.stride + place[1]]

        self.near = [pixel(place) for place in NEAR.values()]
        h = [(v + 1) * f for v, f in zip(self.near, FACTORS, strict=False)]
        two = h[W] + h[N]
        four = two + h[NW] + h[NE]
        six = four + h[WW] + h[NN]
        eight = six + h[NWW] + h[NEE]
        twelve = eight + h[NNE] + h[NNW] + h[WWW] + h[NNN]
        sixteen = sum(h)
        more = sixteen + sum(pixel(q) * f for q, f in zip(MORE, FACTORS[16:], strict=True))
        sums = [
            sixteen,
            eight,
            four,
            two,
            h[N] + h[NE] + h[NEE] + h[NW],
            h[W] + h[WW] + h[WWW],
            h[N] + self.x * COLUMN_FACTOR,
            twelve,
            six,
            two + h[NE],
            two + h[NW],
            h[N] + h[NN] + h[NNN],
            more,
            h[W] + h[NE] + h[NEE],
            h[W],
            h[N],
        ]
        self.hashes = [
            hash64(v + (i + 1) * SALT & M64) for i, v in enumerate(sums[: self.plan.values])
        ]
        for m, v in zip(self.matches, (twelve, six), strict=True):
            m.find(self.pixels, self.at, self.stride, hash64(v & M64))

    def measure(self) -> None:
        n = self.near
        pairs = ((W, N), (N, NW), (W, NW), (N, NE), (W, WW), (N, NN), (NE, NEE), (NW, NWW))
        self.pattern = sum((n[a] == n[b]) << i for i, (a, b) in enumerate(pairs))
        self.activity = sum(apart(n[a], n[b]) for a, b in ((W, NW), (N, NW), (N, NE), (W, WW)))
        x, above = self.x + PAD, self.ranks_above
        around = (self.ranks[x - 1], above[x], above[x + 1], above[x - 1], self.ranks[x - 2])
        self.around = sum(r << 2 * i for i, r in enumerate(around))
        if self.ahead:
            self.ahead -= 1
        else:
            start = self.at - self.stride
            most = min(40, self.width - self.x + 3)
            while self.ahead < most and self.pixels[start + self.ahead + 1] == self.pixels[start]:
                self.ahead += 1

    # Candidates.

    def propose_all(self) -> list[list[int]]:
        """Values and their scores, in the order in which they were proposed."""
        out: list[list[int]] = []

        def propose(value: int, score: int) -> None:
            for one in out:
                if one[0] == value:
                    one[1] += score
                    return
            if len(out) < PROPOSALS:
                out.append([value, score])

        self.slots, self.states = [], []
        for i, h in enumerate(self.hashes):
            slot = self.values.find(h)
            self.slots.append(slot)
            self.states.append((slot.past, slot.run_class()))
            if slot.known():
                v = slot.value
                propose(v[0], self.odds(i, 0))
                if v[1] != v[0]:
                    propose(v[1], self.odds(i, 2))
                if slot.past >= 16 and v[2] != v[1]:
                    propose(v[2], self.odds(i, 4))
        for m in self.matches:
            if m.at:
                propose(m.expected, 200 + 40 * min(m.length, 32))
        for place, score in ((W, 40), (N, 40), (NE, 4), (NW, 4)):
            propose(self.near[place], score)
        return out

    def value_cell(self, i: int, relation: int) -> tuple[dict[int, int], int, int]:
        past, run_class = self.states[i]
        first = first_value(relation, past, run_class)
        return self.value_maps[i], relation << 10 | past << 3 | run_class, first

    def odds(self, i: int, relation: int) -> int:
        cells, at, first = self.value_cell(i, relation)
        p = cells.get(at, first) >> 20
        return p * 16 // (4100 - p)

    def match_class(self, m: Match, k: int) -> int:
        if not m.at:
            return 0
        kind = 0 if m.expected == self.tried[k] else 2 if m.expected in self.tried[:k] else 1
        misses = min(m.misses.bit_count(), 3)
        return 1 + ((kind << 2 | misses) << 5 | length_bucket(m.length))

    def code_candidate(self, k: int) -> bool:
        c, near, later = self.tried[k], self.near, int(k > 0)
        mask = sum((v == c) << i for i, v in enumerate(near))
        votes = 0
        cells: list[tuple[dict[int, int], int, int] | None] = []
        for i, slot in enumerate(self.slots):
            if not slot.known():
                cells.append(None)
                continue
            relation = slot.relation(c, slot.value[0] in self.tried[:k])
            votes |= (relation == 0) << i
            cells.append(self.value_cell(i, relation))
        matches = [self.match_class(m, k) for m in self.matches]
        ahead = self.ahead
        if ahead >= 6:
            ahead = 6 + sum(self.ahead >= end for end in (9, 14, 24, 40))
        shapes = [
            (mask & 1023) | k << 10,
            (mask & 63) | self.pattern << 6 | later << 14,
            hash64(mask * 4 + k) >> 16,
            matches[0] * 2 + later,
            self.around | (mask & 3) << 10 | k << 12,
            min(self.run_length, 255).bit_length() | ahead << 4 | (mask & 15) << 8 | k << 12,
            matches[1] * 2 + later,
            magnitude(self.activity) | (mask & 15) << 4 | (self.pattern & 15) << 8 | k << 12,
            hash64((c << 8 | k) + 77) >> 16,
            hash64((votes << 4 | k) + 99) >> 16,
        ]
        cells += [(m, at, HALF) for m, at in zip(self.shape_maps, shapes, strict=False)]
        m0 = matches[0] - 1
        selected = [
            (mask & 15) | (self.pattern & 15) << 4 | k << 8,
            (0 if m0 < 0 else m0 // 4 % 8 + 8 * (m0 // 128 + 1)) * 2 + later,
            (self.around & 63) | k << 6,
            (votes & 127) | k << 7,
            k,
        ]
        contexts = (self.map_hash((c << 32 | near[W]) * 3 + near[N]), (mask & 1023) | k << 10)
        p = self.candidate.predict(cells, selected, k, contexts)
        return self.bit(self.candidate, int(c == self.known), p) != 0

    def code(self) -> None:
        self.look_around()
        self.measure()
        proposed = self.propose_all()
        tries = min(len(proposed), CANDIDATES)
        how = -1
        for k in range(tries):
            best = max(range(len(proposed)), key=lambda i: proposed[i][1])  # the first of equals
            self.tried[k] = proposed[best][0]
            proposed[best] = proposed[-1]
            proposed.pop()
            if self.code_candidate(k):
                how = int(k > 0)
                break
        if how < 0:
            how = 2 if self.code_colour(self.tried[:tries]) else 3
        for slot in self.slots:
            slot.learn(self.known)
        for m in self.matches:
            m.follow(self.known)
        self.ranks[self.x + PAD] = how
        self.run_length = self.run_length + 1 if self.known == self.near[W] else 0

    # Colours.

    def code_colour(self, tried: list[int]) -> bool:
        """True for a colour that came before."""
        self.escapes += 1
        colours = self.colours
        gone = [c for c in tried if c in colours.seen]
        came = len(colours.seen) > len(gone) and not colours.full and self.code_known()
        value = 0
        for j in range(self.channels):
            self.code_channel(j, value, gone if came else None)
            value = value << 8 | self.channel(self.known, j)
        colours.add(value)
        return came

    def code_known(self) -> bool:
        past, ranks, act = self.news, self.around & 255, magnitude(self.activity)
        near = self.near
        counts = len(self.colours.seen).bit_length() * 32 + self.escapes.bit_length()
        contexts = [
            past & 255,
            ranks,
            act | (past & 15) << 4,
            (ranks & 15) | act << 4,
            (self.pattern & 63) | (past & 3) << 6,
            counts,
            hash64((near[W] << 32 | near[N]) + 5) >> 22,
            hash64((near[NE] << 32 | near[N]) + 7) >> 22,
        ]
        p = self.fresh.predict(
            [(m, at, HALF) for m, at in zip(self.fresh_maps, contexts, strict=True)],
            [(past & 15) << 4 | act, ranks, 0],
            0,
            (past & 255, act | (ranks & 63) << 4),
        )
        bit = self.bit(self.fresh, int(self.known in self.colours.seen), p)
        self.news = (self.news << 1 | (bit == 0)) & M32
        return bit != 0

    def guess(self, j: int, value: int) -> None:
        first = int(self.channels in (2, 4))  # the first channel that is no alpha
        self.has_base = has = j > first
        self.base = b = value & 255 if has else 0
        w = self.own = [self.channel(v, j) for v in self.near]
        under = self.under = [self.channel(v, j - 1) if has else 0 for v in self.near]
        d = [a - u for a, u in zip(w, under, strict=True)]

        def blend_near() -> int:
            if not has:
                return w[NE]
            z = N if under[N] != under[W] else NE if under[NE] != under[W] else NW
            if under[z] == under[W]:
                return w[W] + b - under[W]
            return w[W] + quotient((w[z] - w[W]) * (b - under[W]), under[z] - under[W])

        def blend_far() -> int:
            if not has:
                return w[NW]
            low, high = under.index(min(under[:12])), under.index(max(under[:12]))
            span = under[high] - under[low]
            if span == 0:
                return w[low] + b - under[low]
            return w[low] + quotient((w[high] - w[low]) * (b - under[low]) * 2 + span, 2 * span)

        numeric = [
            b + d[W],
            b + d[N],
            b + median_edge(d[W], d[N], d[NW]),
            self.channel(self.tried[0], j),
            blend_far(),
            b + d[W] + d[N] - d[NW],
            blend_near(),
            w[W],
            w[N],
            b + ((d[W] + d[N] + 1) >> 1),
            median_edge(w[W], w[N], w[NW]),
            b + ((d[W] + d[NE] + 1) >> 1),
            b + d[N] + d[NE] - d[NNE],
            b + 2 * d[W] - d[WW],
            b + 2 * d[N] - d[NN],
            b + d[W] + d[NE] - d[N],
            b + ((2 * d[W] + 2 * d[NE] + d[N] - d[NW]) >> 2),
            w[W] + w[NE] - w[N] if has else (w[N] + w[WW] + 1) >> 1,
        ]
        most = (1 << self.depth) - 1
        self.numeric = [max(0, min(most, v)) for v in numeric]
        features = [w[i] - w[W] for i in (N, NW, NE, WW, NN, NNE, NWW, NEE)] + [0] * 6
        if has:
            features[8] = b - under[W]
            features[9:12] = [under[i] - under[W] for i in (N, NW, NE)]
            if j >= first + 2:
                west = self.channel(self.near[W], j - 2)
                features[12] = (value >> 8 & 255) - west
                features[13] = self.channel(self.near[N], j - 2) - west
        fast, slow = self.linear[j].predict(features, w[W], most)

        def near_mean(v: list[int]) -> int:
            return (2 * (v[W] + v[N]) + v[NW] + v[NE] + v[WW] + v[NN]) >> 1

        far = sum(w) >> 2
        self.surprise = 4 * b - (sum(under) >> 2) if has else 0
        change = (4 * b - near_mean(under)) >> 1 if has else 0
        self.smooth = [fast, slow, far, far + self.surprise, near_mean(w), near_mean(w) + change]

    def contexts(self, value: int, act: int, miss: int) -> list[int]:
        near, w, num, smooth = self.near, self.own, self.numeric, self.smooth
        before, base = value + 1, value & 255
        with_w, with_n = before << 32 | near[W], before << 32 | near[N]
        following = [m.expected for m in self.matches if m.at]
        expected = following[0] if following else 0

        def bounded(v: int) -> int:
            return max(-31, min(31, v)) & 63

        return [
            before,
            with_w * 3 + near[N],
            with_w,
            with_n,
            smooth[0] >> 1 << 16 | miss << 8 | 5,
            num[4] << 24 | base << 1 | self.has_base,
            before << 32 | self.tried[0],
            before << 24 | w[W] << 16 | w[N] << 8 | w[NW],
            smooth[2] << 32 | bounded(self.surprise) << 8,
            num[6] << 24 | num[1] << 8 | base,
            w[W] << 16 | w[N] << 8 | base,
            smooth[0] >> 2 << 16 | smooth[1] >> 2 << 8 | 5,
            with_w * 5 + near[NE],
            num[5] << 16 | num[0],
            ((with_w * 3 + near[N]) * 5 + near[NW]) * 7 + near[NE],
            with_n * 9 + near[NE],
            with_n * 3 + near[NN],
            with_w * 11 + near[WW],
            (before << 32 | self.tried[1]) * 3 + self.tried[0],
            w[NW] << 32 | w[NE] << 24 | w[N] << 16 | w[W] << 8 | base,
            num[13] << 24 | num[14] << 8 | 1,
            num[11] << 24 | num[12] << 8 | 2,
            num[15] << 24 | act << 8 | 3,
            (before << 32 | expected) * 13,
            (before << 32 | near[NE]) * 17 + near[NEE],
            smooth[4] >> 1 << 32 | smooth[2] >> 2 << 16 | bounded(self.surprise >> 1) << 8,
        ]

    def code_channel(self, j: int, value: int, gone: list[int] | None) -> None:
        """gone: for a colour that came before, those that it is not."""
        self.guess(j, value)
        plan, depth, walk = self.plan, self.depth, int(gone is not None)
        act = magnitude(self.activity // (1 if self.channels < 3 else 2))
        x, above = self.x + PAD, self.errors_above
        missed = 2 * self.errors[x - 1][j] + 2 * above[x][j] + above[x + 1][j] + above[x - 1][j]
        miss = sum(missed >= end for end in (12, 40, 120))
        hashes = [
            hash64((c * 4 + j + (i + 1) * SALT) & M64)
            for i, c in enumerate(self.contexts(value, act, miss)[: plan.histories])
        ]
        kind = 0 if j == 0 else 3 if not self.has_base else 2 if j + 1 == self.channels else 1
        surprised = 3 if not self.has_base else 0 if self.surprise < -2 else 1 + (self.surprise > 2)
        sample = self.channel(self.known, j)
        c0 = node = 1
        slots: list[list[int]] = []
        for left in reversed(range(depth)):
            if depth - 1 - left in (0, 4):
                part = 0 if left == depth - 1 else c0
                keys = [(h + part * 0x9E3779B1) * 0x85EBCA6B & M32 for h in hashes]
                slots = [self.histories.find(k ^ k >> 15, 0) for k in keys]
                node = 1
            behind = left + 8 * (self.channels - 1 - j)  # bits of the pixel
            bit = sample >> left & 1
            options = [0, 1]
            if gone is not None:
                prefix = self.known >> (behind + 1)
                going = [c for c in gone if c >> (behind + 1) == prefix]
                options = self.colours.branches(behind, prefix, going)
            if len(options) == 2:
                self.code_bit(
                    j,
                    value,
                    (kind, left, c0, node, walk),
                    (act, miss, surprised),
                    slots,
                    bit,
                )
                for slot in slots:
                    slot[node] = NEXT[bit][slot[node]]
            c0, node = c0 << 1 | bit, node << 1 | bit
        self.errors[x][j] = min(255, abs(4 * sample - self.smooth[0]))
        self.linear[j].learn(sample)

    def code_bit(
        self, j: int, value: int, state: tuple[int, int, int, int, int],
        local: tuple[int, int, int], slots: list[list[int]], bit: int,
    ) -> None:  # fmt: skip
        kind, left, c0, node, walk = state
        act, miss, surprised = local
        depth, plan, w = self.depth, self.plan, self.own
        cells: list[tuple[dict[int, int], int, int] | None] = []
        for m, slot in zip(self.history_maps, slots, strict=True):
            history = slot[node]
            cells.append((m, kind << 8 | history, PRIOR[history] << 10 if history else FROZEN_HALF))
        middle = ((c0 << 1 | 1) << left) - (1 << depth)
        offs = [
            (v + 2 - 4 * middle, miss if i < 2 else surprised) for i, v in enumerate(self.smooth)
        ]
        offs[plan.smooth :] = [(v - middle, 0) for v in self.numeric[: plan.numeric]]
        based = 1 if kind == 2 else kind
        for m, (off, around) in zip(self.numeric_maps, offs, strict=True):
            side = 16 + distance(off) if off >= 0 else 15 - distance(-off - 1)
            cells.append((m, ((based * 4 + around) * 8 + left) * 32 + side, HALF))
        at = kind * 8 + left
        beside = [*self.numeric[:3], w[W], w[N]]
        agree = sum(((s | 1 << depth) >> (left + 1) == c0) << i for i, s in enumerate(beside))
        selected = [
            at << 5 | agree,
            act << 5 | at,
            (kind << 8 | c0) << 1 | walk,
            (self.pattern & 31) << 6 | walk << 5 | at,
            at,
        ]
        contexts = (
            self.map_hash((value << 12 | c0) * 4 + kind),
            self.map_hash((self.smooth[0] >> 2 << 12 | c0) * 4 + kind),
        )
        p = self.colour.predict(cells, selected, at, contexts)
        self.bit(self.colour, bit, p)
