"""The byte models and the mixer in plain Python: what mixer.hpp must equal.

Every function is a paragraph of ARITHMETIC.md (part "The byte models and the mixer") and is named
after it. Slow on purpose: some thousand bytes a minute.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import isqrt

M32 = (1 << 32) - 1
M64 = (1 << 64) - 1
LOGIT_LIMIT = 12 * 4096 - 1
LN2 = 2839  # 4096 ln 2
FROZEN_HALF = 1 << 31 | 1023
WEIGHT_LIMIT = (8 << 16) - 1
STEP = 4096  # a cell of a probability map, units of 2^-12 nat

# --- tables ---------------------------------------------------------------------------------


def _fine_squash() -> list[int]:
    """2^24 / (1 + exp(-x)) at x = i/256 - 12."""
    one = 1 << 60
    step, term, k = 0, one, 1
    while term:
        step += term if k & 1 else -term
        term = term // 256 // k
        k += 1
    fine = [0] * 6145
    e = one
    for i in range(3073):
        low = (e << 24) // (one + e)
        fine[3072 - i] = low
        fine[3072 + i] = (1 << 24) - low
        e = e * step >> 60
    return fine


def _stretch(fine: Sequence[int]) -> list[int]:
    out, x = [], 0
    for i in range(4096):
        while x < 6144 and fine[x + 1] <= i * 4096 + 2048:
            x += 1
        out.append(max(-2047, min(2047, x - 3072)))
    return out


def _log_mantissa() -> list[int]:
    """4096 ln(1 + i/2048) by 2 atanh(z), z = i / (4096 + i) in Q48."""
    out = []
    for i in range(2049):
        z = (i << 48) // (4096 + i)
        power, total, k = z, 0, 1
        while power:
            total += power // k
            power = (power * z >> 48) * z >> 48
            k += 2
        out.append(total >> 35)
    return out


_FINE = _fine_squash()
SQUASH = [*_FINE[::16], _FINE[-1]]
STRETCH = _stretch(_FINE)
LOG_MANTISSA = _log_mantissa()
RECIPROCAL = [131072 // (2 * n + 3) for n in range(1023)] + [0]
RATE = [131 + isqrt(2500 * 2500 * 40 // (40 + n)) for n in range(1024)]

History = tuple[int, int, int, bool]  # zeros, ones, last bits, exact


def history_after(history: History, bit: int) -> History:
    """The history one bit later."""
    zeros, ones, last, exact = history
    same, other = (ones, zeros) if bit else (zeros, ones)
    same += 1
    if exact and same + other <= 4:
        last = last * 2 + bit
    else:
        exact, last = False, bit
        if other > 2:
            shorter = ((24, 6), (12, 5), (6, 4), (3, 3), (2, 2))
            other = next(v for above, v in shorter if other > above)
        same = min(same, (48, 30, 12, 7, 5, 5, 5)[min(other, 6)])
    return (other, same, last, exact) if bit else (same, other, last, exact)


def _automaton() -> tuple[list[list[int]], list[int]]:
    states: list[History] = [(0, 0, 0, True)]
    number = {states[0]: 0}
    after: list[list[int]] = [[], []]
    prior = []
    for state in states:  # grows while it is walked
        for bit in (0, 1):
            then = history_after(state, bit)
            if then not in number:
                number[then] = len(states)
                states.append(then)
            after[bit].append(number[then])
        zeros, ones = state[:2]
        prior.append((1 << 22) * (10 * ones + 4) // (10 * (zeros + ones) + 8))
    return after, prior


NEXT, PRIOR = _automaton()


def clamp_logit(v: int) -> int:
    return max(-LOGIT_LIMIT, min(LOGIT_LIMIT, v))


def squash24(logit: int) -> int:
    """Probability (24 bits) of a logit in units of 2^-12 nat."""
    at = logit + 49152
    a, b = SQUASH[at >> 8], SQUASH[(at >> 8) + 1]
    return a + ((b - a) * (at & 255) >> 8)


def log24(v: int) -> int:
    """ln of a positive number, units of 2^-12."""
    shift = v.bit_length() - 1
    mantissa = (v << (31 - shift)) & 0x7FFFFFFF
    return LOG_MANTISSA[mantissa >> 20] + shift * LN2


def stretch24(p: int) -> int:
    return log24(p) - log24((1 << 24) - p)


def cost(p: int, bit: int) -> int:
    """Nats, units of 2^-12, of a bit whose probability to be one is p."""
    return 24 * LN2 - log24(p if bit else (1 << 24) - p)


def learned(value: int, bit: int, limit: int, cut: int) -> int:
    """An adaptive probability one bit later; the lowest `cut` bits of the distance do not count."""
    count, mask = value & 1023, (1 << 22) - 1 if bit else 0
    q = (value >> 10) ^ mask
    q -= (q >> cut) * RECIPROCAL[count] >> (16 - cut)
    return (q ^ mask) << 10 | (count + (count < limit))


def hash64(v: int) -> int:
    v = v * 0x9E3779B97F4A7C15 & M64
    v ^= v >> 29
    return (v * 0xBF58476D1CE4E5B9 & M64) >> 32


def fit(wanted: int, least: int, most: int) -> int:
    """The least log2 in [least, most] with 2^log2 >= wanted, or most."""
    return max(least, min(most, (wanted - 1).bit_length() if wanted > 1 else 0))


# --- plans ----------------------------------------------------------------------------------

CONTEXTS = [
    "order0",
    "order1",
    "order2",
    "order3",
    "order4",
    "order5",
    "order6",
    "word",
    "word_pair",
    "word_skip",
    "sparse13",
    "sparse23",
    "sparse24",
    "sparse34",
    "above",
    "record1",
    "record2",
    "record_column",
    "indirect1",
    "indirect2",
    "expected",
    "classes",
    "token_pair",
]


@dataclass(frozen=True)
class Plan:
    """What a profile is made of."""

    text: list[str]
    binary: list[str]
    orders: int
    lengths: list[int]
    sets: list[str]
    shifts: tuple[int, int]  # of the final mixer and of the last set
    refinements: int
    log2_refine: int
    log2_slots: int


_TEXT = [
    "order2",
    "order3",
    "order4",
    "order6",
    "word",
    "word_pair",
    "word_skip",
    "above",
    "indirect2",
    "expected",
    "classes",
    "order0",
]
_BINARY = [
    "order1",
    "order2",
    "order3",
    "order6",
    "sparse23",
    "sparse34",
    "sparse13",
    "record2",
    "record_column",
    "classes",
    "expected",
    "order0",
]
_BESIDE = [
    "order2",
    "order4",
    "order6",
    "word_pair",
    "token_pair",
    "expected",
    "classes",
    "above",
    "indirect2",
]
_BESIDE2 = ["order2", "order3", *_BESIDE[1:]]
PLANS = {  # from 4 on those beside a network
    1: Plan(
        ["order2", "order3", "order4", "order6", "word"],
        ["order2", "order3", "order4", "record2", "sparse23"],
        3,
        [6],
        ["match", "partial"],
        (21, 10),
        1,
        8,
        22,
    ),
    2: Plan(
        _TEXT, _BINARY, 4, [12, 5], ["match", "partial", "classes", "one"], (21, 10), 2, 12, 23
    ),
    3: Plan(
        [*_TEXT, "order5", "indirect1", "record2", "sparse23"],
        [*_BINARY, "record1", "sparse24", "order4", "indirect2"],
        4,
        [16, 5],
        ["match", "partial", "order1", "classes", "one"],
        (21, 10),
        2,
        16,
        24,
    ),
    4: Plan(
        _BESIDE,
        _BESIDE,
        3,
        [16, 5],
        ["match", "partial", "order1", "loss", "classes", "one"],
        (24, 12),
        2,
        12,
        22,
    ),
    5: Plan(
        [*_BESIDE2, "order1", "word", "order5"],
        [*_BESIDE2, "order1", "record2", "sparse23"],
        4,
        [16, 5],
        ["match", "partial", "order1", "loss", "classes", "one"],
        (24, 12),
        2,
        16,
        22,
    ),
}

# --- parts ----------------------------------------------------------------------------------


class HistoryTable:
    """Slots of a check and 15 histories, four to a line."""

    def __init__(self, log2_slots: int) -> None:
        self.shift = 34 - log2_slots
        self.lines: dict[int, list[list[int]]] = {}

    def find(self, h: int, fourth: int) -> list[int]:
        line = self.lines.setdefault(h >> self.shift, [[0] * 16 for _ in range(4)])
        check = ((h & 255) + fourth) & 255
        for slot in line:
            if slot[0] == check and slot[1]:
                return slot
        worst = min(line, key=lambda slot: slot[1])  # the first of equals
        worst[:] = [check] + [0] * 15
        return worst


class ProbabilityMap:
    """A context and a coarse logit give a corrected probability."""

    def __init__(self, limit: int = 255) -> None:
        self.limit = limit
        self.first = [squash24(clamp_logit(i * STEP - 49152)) >> 2 << 10 | 6 for i in range(25)]
        self.cells: dict[int, int] = {}
        self.chosen = 0

    def _cell(self, at: int) -> int:
        return self.cells.get(at, self.first[at % 25])

    def refine(self, context: int, logit: int) -> int:
        cell, part = divmod(logit + 49152, STEP)
        base = context * 25 + cell
        self.chosen = base + (part >= STEP // 2)
        a, b = self._cell(base) >> 10, self._cell(base + 1) >> 10
        return (a * (STEP - part) + b * part) * 4 // STEP

    def update(self, bit: int) -> None:
        self.cells[self.chosen] = learned(self._cell(self.chosen), bit, self.limit, 0)


class Mixer:
    """Sets of weight vectors and a final mixer."""

    def __init__(
        self, sets: int, first: list[int], shifts: tuple[int, int], shift: int = 10
    ) -> None:
        self.sets, self.first, self.shifts, self.shift = sets, first, shifts, shift
        self.weights: dict[tuple[int, int], list[int]] = {}
        self.counts: dict[tuple[int, int], int] = {}
        self.finals: dict[int, list[int]] = {}
        self.count = 0  # that the last set's vectors begin with
        self.first_final = [65536 // sets] * sets

    def start(self, start: Sequence[int]) -> None:
        """Begin with what was learned before: count, weights, final weights."""
        inputs = len(self.first)
        self.count = min(start[0], 1023)
        bounded = [max(-WEIGHT_LIMIT, min(WEIGHT_LIMIT, v - (v >> 31 << 32))) for v in start[1:]]
        self.first, self.first_final = bounded[:inputs], bounded[inputs:]

    def select(self, selected: Iterable[int], final_context: int) -> None:
        self.chosen = list(enumerate(selected))
        self.w = [self.weights.setdefault(c, list(self.first)) for c in self.chosen]
        self.final = self.finals.setdefault(final_context, list(self.first_final))
        common = self.counts.setdefault(self.chosen[-1], self.count)
        for s, c in enumerate(self.chosen[:-1]):
            if common and not self.counts.get(c, 0):
                self.w[s][:] = self.w[-1]
                self.counts[c] = min(common, 5)

    def predict(self, x: list[int]) -> int:
        self.x = x
        self.logits = []
        for w in self.w:
            pairs = range(0, len(x), 2)
            total = sum(((w[i] >> 4) * x[i] + (w[i + 1] >> 4) * x[i + 1]) >> 8 for i in pairs)
            self.logits.append(clamp_logit(total))
        total = sum(f * v for f, v in zip(self.final, self.logits, strict=True))
        self.out = clamp_logit(total >> 16)
        return self.out

    def update(self, bit: int) -> None:
        target = 65535 if bit else 0
        error = target - (squash24(self.out) >> 8)
        final, last = self.shifts
        for s, c in enumerate(self.chosen):
            moved = self.final[s] + ((self.logits[s] * error + (1 << (final - 1))) >> final)
            self.final[s] = max(-WEIGHT_LIMIT, min(WEIGHT_LIMIT, moved))
            n = self.counts.get(c, 0)
            self.counts[c] = min(n + 1, 1023)
            miss = target - (squash24(self.logits[s]) >> 8)
            if abs(miss) < 256:
                continue
            gain = miss * RATE[n] >> (last if s == self.sets - 1 else self.shift)
            w = self.w[s]
            for i, x in enumerate(self.x):
                moved = w[i] + ((x * gain + (1 << 13)) >> 14)
                w[i] = max(-WEIGHT_LIMIT, min(WEIGHT_LIMIT, moved))


@dataclass
class Match:
    """Where a lane stands in one match model."""

    at: int = 0
    length: int = 0
    owner: int = 0
    misses: int = 0
    following: bool = False
    expected: int = -1

    def bucket(self) -> int:
        if self.length < 16:
            return self.length
        log = self.length.bit_length() - 1
        return min(31, 16 + (log - 4) * 2 + (self.length >> (log - 1) & 1))


def byte_class(c: int) -> int:
    """0..15: the kind of a byte."""
    if 97 <= c <= 122:
        return 1
    if 65 <= c <= 90:
        return 2
    if 48 <= c <= 57:
        return 3
    named = {32: 4, 10: 5, 13: 5, 0: 6}
    if c in named:
        return named[c]
    if c < 32:
        return 7
    for number, members in ((8, b".,;:!?"), (9, b"\"'`"), (10, b"([{<"), (11, b")]}>")):
        if c in members:
            return number
    return 12 if c < 128 else 13 if c < 192 else 14 if c < 255 else 15


@dataclass
class Lane:
    """What a lane knows about its recent past."""

    start: int
    end: int
    limit: int
    matches: list[Match]
    c8: int = 0
    c16: int = 0
    words: list[int] = field(default_factory=lambda: [0, 0, 0])
    line_start: int = 0
    above_start: int = 0
    classes: int = 0
    control: int = 0
    token: int = 0
    token1: int = 0
    token_bytes: int = 0
    inside: bool = False
    network_now: int = 0
    mixture_now: int = 0
    network_loss: int = 0
    mixture_loss: int = 0
    last: dict[int, int] = field(default_factory=dict)
    gap: dict[int, int] = field(default_factory=dict)
    votes: dict[int, int] = field(default_factory=dict)
    stride: int = 0

    def find_stride(self, index: int, c: int) -> None:
        if c in self.last:
            distance = index - self.last[c]
            if distance == self.gap.get(c, 0) and 1 < distance < 2048:
                votes = self.votes[distance] = self.votes.get(distance, 0) + 1
                if votes > 3 and (self.stride == 0 or votes > self.votes[self.stride]):
                    self.stride = distance
                if votes >= 2000:
                    self.votes = {d: v // 2 for d, v in self.votes.items()}
            self.gap[c] = distance
        self.last[c] = index

    def append(self, index: int, c: int) -> None:
        self.c16 = (self.c16 << 8 | self.c8 >> 56) & M64
        self.c8 = (self.c8 << 8 | c) & M64
        self.network_loss += (min(self.network_now, 65535) * 16 - self.network_loss) >> 4
        self.mixture_loss += (min(self.mixture_now, 65535) * 16 - self.mixture_loss) >> 4
        self.network_now = self.mixture_now = 0
        self.token_bytes = (self.token_bytes + c + 1) * 0x2C1B3C6D & M32
        self.find_stride(index, c)
        lower = c + 32 if 65 <= c <= 90 else c
        if 97 <= lower <= 122 or c >= 128:
            self.words[0] = (self.words[0] + lower + 1) * 0x2C1B3C6D & M32
        elif self.words[0]:
            self.words = [0, self.words[0], self.words[1]]
        if c == 10:
            self.above_start, self.line_start = self.line_start, index + 1
        is_control = (c < 32 and c not in (9, 10, 13)) or c in (127, 255)
        self.control += (1024 if is_control else 0) - (self.control >> 6)
        self.classes = (self.classes << 4 | byte_class(c)) & M32

    def loss(self) -> int:
        n, m = self.network_loss + 64, self.mixture_loss + 64
        return min(n.bit_length() - 7, 13) * 16 + min(m * 12 // n, 15)

    def newest(self, length: int) -> int:
        both = (self.c16 << 64 | self.c8) & ((1 << 8 * length) - 1)
        return hash64((both & M64) + hash64((both >> 64) + 1))


# --- the predictor --------------------------------------------------------------------------


class ByteMixer:
    """The same calls as the C++ class, one lane or many."""

    def __init__(self, profile: int, ends: Sequence[int], start: Sequence[int] = ()) -> None:
        self.plan = plan = PLANS[profile]
        self.network = network = profile >= 4
        size = ends[-1]
        contexts, matches = len(plan.text), len(plan.lengths)
        self.voices = contexts + matches + 2
        unit = 16 if network else 8
        self.width = -(-(self.voices + (3 if network else 0)) // unit) * unit
        self.buffer = bytearray(size)
        starts = [0, *ends[:-1]]
        self.lanes = [
            Lane(start, end, start, [Match() for _ in plan.lengths])
            for start, end in zip(starts, ends, strict=True)
        ]
        self.table = HistoryTable(fit(size * contexts // 2, 10, plan.log2_slots))
        self.history_maps = [
            [[FROZEN_HALF] + [p << 10 for p in PRIOR[1:]] for _ in range(contexts)]
            for _ in range(2)
        ]
        self.orders = [[1 << 31] * 256, [1 << 31] * 65536]
        self.match_maps = [
            ((1 << 22) - (1 << 21) // (i // 4 % 32 + 2)) << 10 for i in range(matches * 128)
        ]
        self.match_bits = fit(size, 8, 22)
        self.heads: list[dict[int, int]] = [{} for _ in plan.lengths]
        first = [0] * (self.width if network else 2 * self.width)
        if network:
            first[self.voices : self.voices + 2] = [29491, 29491]
        else:
            first[:contexts] = [19660] * contexts
            first[contexts : contexts + matches] = [16384] * matches
        self.mixer = Mixer(len(plan.sets), first, plan.shifts)
        if start:
            self.begin_from(start, len(first) + len(plan.sets) + 1)
        self.refine_bits = [fit(size * 4, 8, 16), fit(size * 4, 8, plan.log2_refine)]
        self.refine = [ProbabilityMap(), ProbabilityMap()]
        self.follow: list[dict[int, int]] = [{}, {}]

    def begin_from(self, start: Sequence[int], at: int) -> None:
        """The mixer's weights, then the adaptive probabilities (ARITHMETIC.md, "A start")."""
        self.mixer.start(start[:at])
        for maps in self.history_maps:
            for k in range(len(maps)):
                maps[k] = [FROZEN_HALF, *start[at + 1 : at + 256]]
                at += 256
        orders = self.orders[:1] if self.network else self.orders
        for part in (self.match_maps, *orders):
            part[:] = start[at : at + len(part)]
            at += len(part)

    # Calls.

    def begin_byte(self, lane: int, inside: bool) -> None:
        self.number, self.lane = lane, self.lanes[lane]
        self.lane.inside = inside
        self.c0 = self.node = 1
        self.bit = 0
        self.make_contexts()
        self.ready = False

    def predict_end(self, p: int, p_bias: int) -> int:
        self.c0 = 0
        self.find_slots(256, 0)
        return self.predict(p, p_bias)

    def update_end(self, bit: int) -> None:
        self.learn(bit)
        self.c0 = 1
        self.ready = False

    def predict_bit(self, p: int = 1 << 23, p_bias: int = 1 << 23) -> int:
        if not self.ready:
            if self.bit < 4:
                self.find_slots(0, 0)
            else:
                self.find_slots(self.c0 >> (self.bit - 3), self.c0 >> (self.bit - 4) & 1)
        return self.predict(p, p_bias)

    def update_bit(self, bit: int) -> None:
        self.learn(bit)
        self.skip_bit(bit)

    def skip_bit(self, bit: int) -> None:
        self.c0 = self.c0 * 2 + bit
        self.node = self.node * 2 + bit
        self.bit += 1
        if self.bit == 4:
            self.ready = False
            self.node = 1
        elif self.bit == 8:
            self.append(self.c0 & 255)

    def token_done(self, lane: int, token: int) -> None:
        at = self.lanes[lane]
        at.token1, at.token, at.token_bytes = at.token, token + 1, 0

    # Steps.

    def back(self, distance: int) -> int:
        at = self.lane
        return self.buffer[at.limit - distance] if 0 < distance <= at.limit - at.start else 0

    def context(self, name: str) -> int:
        at = self.lane
        c1, c2 = at.c8 & 255, at.c8 & 0xFFFF
        index = at.limit - at.start
        word, word1, word2 = at.words
        first = 0 if word else c1
        stride, above = at.stride, self.back(at.stride)
        if name.startswith("order"):
            return at.c8 & ((1 << 8 * int(name[5])) - 1)
        if name.startswith("sparse"):
            return at.c8 & sum(255 << 8 * (int(d) - 1) for d in name[6:])
        if name == "word":
            return word << 8 | first
        if name == "word_pair":
            return (word << 32 | word1) * 3 + first
        if name == "word_skip":
            return (word << 32 | word2) * 5 + first
        if name == "above":
            column, line = index - at.line_start, at.line_start - at.above_start
            return (self.back(line) if line > column else 0) << 16 | c1 << 8 | min(column, 255)
        if name == "record1":
            return stride << 32 | above << 8 | c1
        if name == "record2":
            return stride << 32 | above << 8 | self.back(2 * stride)
        if name == "record_column":
            return stride << 32 | (index % stride if stride else 0) << 8 | above
        if name == "indirect1":
            return c1 << 16 | self.follow[0].get(c1, 0)
        if name == "indirect2":
            return c2 << 16 | self.follow[1].get(c2, 0)
        if name == "expected":
            m = at.matches[0] if at.matches[0].expected >= 0 else at.matches[-1]
            v = (m.expected + 1) << 8 | m.bucket() if m.expected >= 0 else 0
            return v << 8 | c1
        if name == "classes":
            return at.classes
        return (at.token << 32 | at.token1) * 7 + at.token_bytes

    def make_contexts(self) -> None:
        at = self.lane
        self.is_binary = int(at.control > 2048)
        self.hashes = []
        for name in self.plan.binary if self.is_binary else self.plan.text:
            salt = (CONTEXTS.index(name) * 2 + 2 + at.inside) * 0x9DDFEA08EB382D69
            self.hashes.append(hash64(self.context(name) + salt & M64))
        self.cells = []
        for k, m in enumerate(at.matches):
            misses = min(m.misses.bit_count(), 3)
            cell = (k * 32 + m.bucket()) * 4 + misses
            self.cells.append((m.expected, cell, m.bucket() // 4 * 4 + misses))

    def find_slots(self, part: int, fourth: int) -> None:
        self.slots = []
        self.seen = 0
        for i, value in enumerate(self.hashes):
            h = (value + part * 0x9E3779B1) * 0x85EBCA6B & M32
            self.slots.append(self.table.find(h ^ h >> 15, fourth))
            self.seen += i < self.plan.orders and self.slots[i][1] != 0
        self.ready = True

    def selected(self, name: str, match: int) -> int:
        at = self.lane
        if name == "match":
            return (self.is_binary * 64 + match) * 8 + self.seen
        if name == "partial":
            return (at.inside if self.network else self.is_binary) * 256 + self.c0
        if name == "order1":
            return self.is_binary * 256 + (at.c8 & 255)
        if name == "classes":
            return (at.classes & 255) * 8 + self.bit
        return at.loss() if name == "loss" else 0

    def predict(self, p: int, p_bias: int) -> int:
        c0, c8 = self.c0, self.lane.c8
        contexts = len(self.slots)
        values = [FROZEN_HALF] * self.width
        self.maps = self.history_maps[self.is_binary]
        for i, slot in enumerate(self.slots):
            values[i] = self.maps[i][slot[self.node]]
        match = 0
        self.flips: list[int | None] = []
        for k, (e, cell, select) in enumerate(self.cells):
            if c0 and e >= 0 and (e + 256) >> (8 - self.bit) == c0:
                bit = e >> (7 - self.bit) & 1
                self.flips.append(0 if bit else M32 - 1023)
                values[contexts + k] = self.match_maps[cell] ^ (0 if bit else M32 - 1023)
                match = match or select * 2 + bit
            else:
                self.flips.append(None)
        self.order_at = [c0, (c8 & 255) << 8 | c0]
        values[self.voices - 2] = self.orders[0][self.order_at[0]]
        values[self.voices - 1] = self.orders[1][self.order_at[1]]
        self.values = values
        self.mixer.select([self.selected(s, match) for s in self.plan.sets], c0)
        x = [STRETCH[v >> 20] for v in values]
        if self.network:
            self.net = p_bias
            nets = [max(-3071, min(3071, stretch24(q) >> 4)) for q in (p, p_bias)]
            x[self.voices : self.voices + 3] = [*nets, 256]
        else:
            x += [((v >> 20) - 2048) >> 2 for v in values]
        logit = self.mixer.predict(x)
        refined = []
        for k in range(self.plan.refinements):
            context = c8 & (0xFF if k == 0 else 0xFFFFFF)
            at = hash64(context << 8 | c0) >> (32 - self.refine_bits[k])
            refined.append(self.refine[k].refine(at, logit))
        total = 2 * squash24(logit) + refined[0] + refined[-1] + 2
        self.out = max(16, min((1 << 24) - 16, total >> 2))
        return self.out

    def learn(self, bit: int) -> None:
        at = self.lane
        if self.network:
            at.network_now += cost(self.net, bit)
            at.mixture_now += cost(self.out, bit)
        self.mixer.update(bit)
        for k in range(self.plan.refinements):
            self.refine[k].update(bit)
        contexts = len(self.slots)
        states = [slot[self.node] for slot in self.slots]
        for i, state in enumerate(states):
            self.maps[i][state] = learned(self.values[i], bit, 255, 7)
        for k, flip in enumerate(self.flips):
            if flip is not None:
                value = learned(self.values[contexts + k], bit, 1022, 7)
                self.match_maps[self.cells[k][1]] = value ^ flip
        for k in range(2):
            value = self.values[self.voices - 2 + k]
            self.orders[k][self.order_at[k]] = learned(value, bit, 1022, 7)
        for slot in self.slots:
            slot[self.node] = NEXT[bit][slot[self.node]]

    def append(self, c: int) -> None:
        at = self.lane
        index = at.limit - at.start
        self.buffer[at.limit] = c
        at.limit += 1
        for follow, key in zip(self.follow, (at.c8 & 255, at.c8 & 0xFFFF), strict=True):
            follow[key] = (follow.get(key, 0) << 8 | c) & 0xFFFF
        at.append(index, c)
        for k, length in enumerate(self.plan.lengths):
            self.advance(at.matches[k], self.heads[k], length)

    def advance(self, m: Match, heads: dict[int, int], least: int) -> None:
        at, buffer, here = self.lane, self.buffer, self.lane.limit
        if m.following:
            hit = buffer[m.at] == buffer[here - 1]
            m.misses = (m.misses << 1 | (not hit)) & 255
            m.length = min(m.length + 1, 65535) if hit else 0
            m.at += 1
            if m.at == self.lanes[m.owner].end and m.owner + 1 < len(self.lanes):
                m.owner += 1
            m.following = m.misses != 255
        if here - at.start >= least:
            key = at.newest(least) >> (32 - self.match_bits)
            head = heads.get(key, 0)
            if head and (not m.following or m.length < least):
                owner = max(i for i, other in enumerate(self.lanes) if other.start <= head - 1)
                most = min(head - self.lanes[owner].start, here - at.start, 400)
                length = 0
                while length < most and buffer[head - 1 - length] == buffer[here - 1 - length]:
                    length += 1
                if length >= least:
                    if head == self.lanes[owner].end and owner + 1 < len(self.lanes):
                        owner += 1
                    m.at, m.owner, m.length, m.misses, m.following = head, owner, length, 0, True
            heads[key] = here
        m.following = m.following and m.at < self.lanes[m.owner].limit
        m.expected = buffer[m.at] if m.following else -1


def replay(
    profile: int,
    ends: Sequence[int],
    script: Iterable[tuple[int, int, int, int]],
    start: Sequence[int] = (),
) -> list[int]:
    """The probabilities of a script of steps; `_native.mixer_replay` documents them."""
    m = ByteMixer(profile, ends, start)
    out = []
    for kind, a, b, c in script:
        if kind == 0:
            m.begin_byte(a, bool(b))
        elif kind == 1:
            out.append(m.predict_bit(b, c))
            m.update_bit(a)
        elif kind == 2:
            out.append(m.predict_end(b, c))
            m.update_end(a)
        elif kind == 3:
            m.skip_bit(a)
        else:
            m.token_done(a, b)
    return out
