"""The video model in plain Python: what video_*.hpp must equal.

The text is that of ARITHMETIC.md, "Videos", and the lists and numbers that were chosen by measuring
stand here as there in one place. Slow on purpose: some hundred samples a second.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lmc.kernels.reference_mixer import (
    LN2,
    STRETCH,
    Mixer,
    ProbabilityMap,
    clamp_logit,
    learned,
    log24,
    squash24,
)
from lmc.kernels.reference_photo import (
    FAR,
    FIVE,
    LAG,
    NEAR,
    NINE,
    SEVEN,
    WIDE,
    Layer,
    Logistic,
    Mixture,
    Plane,
    Squares,
    bounded,
    infer,
    log64,
    octaves8,
    power,
    quantile,
    quotient,
)

# --- what was chosen ------------------------------------------------------------------------


@dataclass(frozen=True)
class Set:
    """A set of features, and how its least squares forget."""

    own: int  # neighbours of this plane,
    window: tuple[int, ...]  # around the sample's like in each earlier frame,
    coded: int  # of each plane coded before this one,
    errors: int  # and errors of the last frame around the like
    along: int  # fade along a row
    down: int  # and from row to row
    every: int  # steps between two solutions


EFFORTS = (
    (
        Set(10, (9,), 5, 5, 5, 3, 4),
        Set(6, (5,), 3, 1, 4, 2, 4),
        Set(3, (5,), 3, 0, 3, 2, 4),
        Set(2, (9,), 3, 1, 4, 3, 4),
        Set(6, (0,), 3, 0, 4, 2, 4),
    ),
    (
        Set(16, (25, 9, 9), 6, 9, 5, 3, 4),
        Set(10, (13, 5, 5), 6, 5, 4, 3, 2),
        Set(6, (9, 1, 1), 5, 1, 3, 2, 1),
        Set(2, (13, 9, 5), 5, 1, 4, 3, 2),
        Set(12, (1, 0, 0), 5, 0, 4, 2, 2),
    ),
)
WINDOW = (
    *((0, 0), (1, 0), (0, 1), (-1, 0), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1)),
    *((2, 0), (0, 2), (-2, 0), (0, -2), (2, 1), (1, 2), (-1, 2), (-2, 1), (2, -1)),
    *((1, -2), (-2, -1), (-1, -2), (3, 0), (0, 3), (-3, 0), (0, -3)),
    *((2, 2), (-2, 2), (2, -2), (-2, -2), (3, 1), (1, 3), (-1, 3), (-3, 1)),
    *((3, -1), (1, -3), (-3, -1), (-1, -3)),
)
CODED = ((0, 0), (1, 0), (0, 1), (-1, 0), (0, -1), (1, 1), (-1, 1))
BLOCK, BEYOND, PRICE = 16, 16, 100
LEVELS = 16
MAPS = (LEVELS, 49, 81, 64, LEVELS * 8, 512, 125, 256, 256)  # contexts of each, for one node
LAST = (LEVELS, 81)
PARTS = 8  # distributions beside the network's


@dataclass(frozen=True)
class View:
    """What a network sees, so many in all."""

    inputs: int
    likes: tuple[int, ...]  # of WINDOW in earlier frames
    errors: int  # of WINDOW in the last one
    coded: int  # of CODED


NOTHING = View(0, (0, 0, 0), 0, 0)
SMALL, LARGE = View(104, (21, 9, 0), 9, 3), View(176, (37, 21, 13), 21, 7)
FIRST_WEIGHTS = [20000] + [3000] * 18 + [0] * 13

Vector = tuple[int, int]  # columns and rows of luma
Shape = tuple[int, int, int, int]  # width, height, and log2 of luma columns and rows of a sample
Decide = Callable[[int, int], None]  # a bit, and its probability to be one


def cut(p: int) -> int:
    return bounded(p, 16, (1 << 24) - 16)


# --- motion ---------------------------------------------------------------------------------


class Field:
    """The vectors of a frame into one earlier frame."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.columns, self.rows = -(-width // BLOCK), -(-height // BLOCK)
        self.vectors: dict[Vector, Vector] = {}

    def guess(self, column: int, row: int) -> Vector:
        near = [(column - 1, row), (column, row - 1), (column + 1, row - 1)]
        x, y = zip(*(self.vectors.get(at, (0, 0)) for at in near), strict=True)
        return sorted(x)[1], sorted(y)[1]

    def moved(self, column: int, row: int) -> bool:
        return (column, row) in self.vectors and self.vectors[column, row] != self.guess(
            column, row
        )

    def of(self, x: int, y: int) -> Vector:
        return self.vectors[x // BLOCK, y // BLOCK]

    def allows(self, column: int, row: int, x: int, y: int) -> bool:
        x0, y0 = column * BLOCK, row * BLOCK
        x1, y1 = min(x0 + BLOCK, self.width), min(y0 + BLOCK, self.height)
        return (
            -BEYOND - x0 <= x <= self.width + BEYOND - x1
            and -BEYOND - y0 <= y <= self.height + BEYOND - y1
        )


class FieldCoder:
    """Codes what vectors differ by from their guesses."""

    def __init__(self) -> None:
        self.cells: dict[tuple[int, int, int], int] = {}

    def code(self, decide: Decide, field: Field, reference: int) -> None:
        for row in range(field.rows):
            for column in range(field.columns):
                guess, v = field.guess(column, row), field.vectors[column, row]
                near = field.moved(column - 1, row) + field.moved(column, row - 1)
                self.number(decide, v[0] - guess[0], reference, near)
                self.number(decide, v[1] - guess[1], reference, 3 + near)

    def number(self, decide: Decide, value: int, reference: int, context: int) -> None:
        def flag(place: int, bit: int) -> None:
            at = reference, context, place
            cell = self.cells.get(at, 1 << 31)
            decide(bit, cut((cell >> 10) * 4))
            self.cells[at] = learned(cell, bit, 255, 0)

        length = abs(value).bit_length()
        for n in range(min(length + 1, 19)):
            flag(n, int(n < length))
        for i in reversed(range(length - 1)):
            bit = abs(value) >> i & 1
            if i == length - 2:
                flag(20 + length, bit)
            else:
                decide(bit, 1 << 23)
        if value:
            flag(40, int(value < 0))


def search(
    now: NDArray[np.int64], then: NDArray[np.int64], depth: int, hint: Field | None, back: int
) -> Field:
    """The vectors that lmc's encoder finds; another one may find others."""
    height, width = now.shape
    field = Field(width, height)
    wide = np.pad(then, BEYOND, mode="edge")
    price = PRICE << (depth - 8) if depth >= 8 else PRICE >> (8 - depth)
    for row in range(field.rows):
        for column in range(field.columns):
            x0, y0 = column * BLOCK, row * BLOCK
            block = now[y0 : y0 + BLOCK, x0 : x0 + BLOCK]
            h, w = block.shape
            guess = field.guess(column, row)
            best, least = (0, 0), 1 << 63

            def attempt(x: int, y: int) -> None:
                nonlocal best, least
                if not field.allows(column, row, x, y):  # noqa: B023
                    return
                bits = sum(1 + 2 * abs(v).bit_length() for v in (x - guess[0], y - guess[1]))  # noqa: B023
                top, left = y0 + y + BEYOND, x0 + x + BEYOND  # noqa: B023
                like = wide[top : top + h, left : left + w]  # noqa: B023
                cost = price * bits + int(np.abs(block - like).sum())  # noqa: B023
                if cost < least:
                    best, least = (x, y), cost

            attempt(0, 0)
            attempt(*guess)
            if hint is not None:
                x, y = hint.vectors[column, row]
                attempt(back * x, back * y)
            for near in ((column - 1, row), (column, row - 1)):
                if near in field.vectors:
                    attempt(*field.vectors[near])
            x, y = best
            for dy in range(-7, 8):
                for dx in range(-7, 8):
                    attempt(x + dx, y + dy)
            for step in (8, 4, 2, 1):
                before = None
                while before != best:
                    before = x, y = best
                    for dx, dy in ((step, 0), (-step, 0), (0, step), (0, -step)):
                        attempt(x + dx, y + dy)
            field.vectors[column, row] = best
    return field


# --- planes ---------------------------------------------------------------------------------


class Whole:
    """A plane that answers beyond its border with its nearest number."""

    def __init__(self, numbers: NDArray[np.int64]) -> None:
        self.numbers = numbers
        self.height, self.width = numbers.shape

    def at(self, x: int, y: int) -> int:
        return int(self.numbers[bounded(y, 0, self.height - 1), bounded(x, 0, self.width - 1)])


@dataclass
class Earlier:
    """What a frame's strips look at: planes of earlier frames, the newest first, vectors into them,
    errors of the last one."""

    planes: list[list[Whole]]
    fields: list[Field]
    errors: list[Whole]


@dataclass
class Site:
    """What is known of a sample before it is coded; units of 1/64 from by_set to past."""

    x: int
    y: int
    base: int
    features: NDArray[np.int64]
    like: list[int]
    by_set: list[int]
    error_of: list[int]
    centre: int
    scale: int
    past: int
    inputs: list[int]
    shares: list[int]
    contexts: list[int]
    level: int
    past_level: int
    west_north: int
    earlier: int
    flag: int


class Foretold(Mixture):
    """The network's logistics, as one of the distributions."""

    def below(self, b: int) -> int:
        return super().below(b) // self.total


class Channel:
    """A plane's strip: what is known of it, and what was learned."""

    def __init__(
        self,
        planes: Sequence[Shape],
        depth: int,
        effort: int,
        number: int,
        rows: range,
        networks: Sequence[Sequence[Layer]] | None,
    ) -> None:
        self.shape, self.depth, self.number, self.rows = planes[number], depth, number, rows
        self.sets = EFFORTS[effort]
        self.most = (1 << depth) - 1
        self.seen = [0] if number > 0 else []
        if number == 2 and planes[1][:2] == self.shape[:2]:
            self.seen.append(1)
        self.network = networks[len(self.seen)] if networks is not None else None
        self.parts = PARTS + (networks is not None)
        large = self.network is not None and self.network[0][0].shape[1] == LARGE.inputs
        self.views = ((NOTHING, SMALL), (SMALL, LARGE)) if large else ((NOTHING, SMALL),)
        widest = self.sets[0]
        self.of_set: list[list[int]] = []
        for kind in self.sets:
            counts = [(kind.own, widest.own), *zip(kind.window, widest.window, strict=True)]
            counts += [(kind.coded, widest.coded)] * len(self.seen)
            counts.append((kind.errors, widest.errors))
            chosen: list[int] = []
            n = 0
            for count, all_ in counts:
                chosen += range(n, n + count)
                n += all_
            self.of_set.append(chosen)
        self.mixer = Mixer(6, FIRST_WEIGHTS, (22, 10))
        self.maps = [ProbabilityMap() for _ in MAPS]
        self.last = [ProbabilityMap(1000) for _ in LAST]
        self.flags = [1 << 31] * 8
        self.mass = [0] * self.parts

    def begin(self, earlier: Earlier, coded: list[tuple[Whole, Whole]]) -> None:
        self.earlier, self.coded = earlier, coded
        height, width = len(self.rows), self.shape[0]
        self.value = Plane(height, width, 1 << (self.depth - 1))
        self.error = Plane(height, width, 0)
        self.size = Plane(height, width, 128)
        self.size_of = [Plane(height, width, 128) for _ in self.sets]
        self.luck = [Plane(height, width, 0) for _ in range(self.parts)]
        self.squares = [
            Squares(kind, chosen, height)
            for kind, chosen in zip(self.sets, self.of_set, strict=True)
        ]

    def look(self, x: int, y: int) -> Site:
        widest, earlier = self.sets[0], self.earlier
        width, height, right, down = self.shape
        row = y + self.rows.start
        base = sum(self.value.all(x, y, NEAR[:2])) >> 1
        features = [v - base for v in self.value.all(x, y, NEAR[: widest.own])]
        places = []  # of the sample's like
        for field in earlier.fields:
            by_x, by_y = field.of(x << right, row << down)
            places.append((x + (by_x >> right), row + (by_y >> down)))
        planes = [frame[self.number] for frame in earlier.planes]
        for r, count in enumerate(widest.window):
            if r < len(places):
                at_x, at_y = places[r]
                features += [planes[r].at(at_x + dx, at_y + dy) - base for dx, dy in WINDOW[:count]]
            else:
                features += [0] * count
        for value, error in self.coded:
            around = (value.at(x - 1, y) + value.at(x, y - 1)) >> 1
            both = []
            for dx, dy in CODED[:3]:
                both += [error.at(x + dx, y + dy) >> 4, value.at(x + dx, y + dy) - around]
            features += both[: widest.coded]
        past, told = 128, [0] * LARGE.errors
        if places:
            errors = earlier.errors[self.number]
            at_x, at_y = bounded(places[0][0], 0, width - 1), bounded(places[0][1], 0, height - 1)
            window = [errors.at(at_x + dx, at_y + dy) for dx, dy in WINDOW]
            features += [e >> 4 for e in window[: widest.errors]]
            told = window[: LARGE.errors]
            weights = (4, 2, 2, 2, 2, 1, 1, 1, 1)
            past = sum(w * abs(e) for w, e in zip(weights, window[:9], strict=True)) >> 4
        else:
            features += [0] * widest.errors
        all_features = np.array(features, np.int64)

        by_set = [
            bounded(64 * base + s.predict(y, all_features), 0, 64 * self.most) for s in self.squares
        ]
        error_of = [plane.around(x, y) >> 3 for plane in self.size_of]
        weights_ = [(1 << 36) // (e + 16) ** 2 + 1 for e in error_of]
        centre = sum(w * p for w, p in zip(weights_, by_set, strict=True)) // sum(weights_)
        scale = (self.size.around(x, y) >> 3) + 32
        inverse = (1 << 26) // scale

        def scaled(d: int) -> int:
            return bounded(bounded(d, -8 * scale, 8 * scale) * inverse + (1 << 22) >> 23, -64, 63)

        level = bounded(octaves8(scale) - 40 >> 2, 0, LEVELS - 1)
        past_level = bounded(octaves8(past + 16) - 32 >> 2, 0, LEVELS - 1)
        west, north, _, east = (scaled(e) for e in self.error.all(x, y, NEAR[:4]))
        before = east
        if self.coded:
            before = sum(
                bounded(quotient(8 * error.at(x, y), scale), -64, 63) for _, error in self.coded
            )
        apart = [scaled(p - centre) for p in by_set]
        west_north = bisect_right(SEVEN, west) * 7 + bisect_right(SEVEN, north)
        both_ = bisect_right(NINE, before) * 9 + bisect_right(NINE, apart[3])
        near = self.value.all(x, y, NEAR[:6])
        pattern = sum((64 * v > centre) << (5 - i) for i, v in enumerate(near))
        five = [bisect_right(FIVE, apart[k]) for k in (1, 4, 2)]
        like = [plane.at(*place) for plane, place in zip(planes, places, strict=True)]
        moved, flag = 0, -1
        if like:
            moved = scaled(64 * like[0] - centre)
            at_x, at_y = places[0]

            def same(dx: int, dy: int) -> bool:
                return self.value.at(x + dx, y + dy) == planes[0].at(at_x + dx, at_y + dy)

            if all(same(*place) for place in NEAR[:4]):
                flag = same(-2, 0) + 2 * same(0, -2)
                flag += 4 * (len(like) > 1 and like[1] == like[0])
        contexts = [
            level,
            west_north,
            both_,
            pattern,
            level * 8 + (centre >> 3 & 7),
            0,  # each decision has its own
            five[0] * 25 + five[1] * 5 + five[2],
            past_level * LEVELS + level,
            level * 16 + bounded((moved >> 1) + 8, 0, 15),
        ]
        logs = [plane.around(x, y) >> 2 for plane in self.luck]

        inputs = [scaled(64 * v - centre) for v in self.value.all(x, y, NEAR)]
        inputs += [scaled(e) for e in self.error.all(x, y, (*NEAR[:6], *FAR))]

        def likes(begin: View, end: View) -> list[int]:
            seen: list[int] = []
            for r, (first, past_last) in enumerate(zip(begin.likes, end.likes, strict=True)):
                for dx, dy in WINDOW[first:past_last]:
                    there = r < len(places) and planes[r].at(places[r][0] + dx, places[r][1] + dy)
                    seen.append(scaled(64 * there - centre) if r < len(places) else 0)
            return seen

        def others(begin: View, end: View) -> list[int]:
            seen: list[int] = []
            for value, error in self.coded:
                mean = (value.at(x - 1, y) + value.at(x, y - 1)) >> 1
                for dx, dy in CODED[begin.coded : end.coded]:
                    seen.append(scaled(error.at(x + dx, y + dy)))
                    seen.append(scaled(64 * (value.at(x + dx, y + dy) - mean)))
            return seen

        octaves = octaves8(scale)
        sizes = [*(e + 16 for e in error_of), past + 16, (sum(self.size.all(x, y, WIDE)) >> 3) + 32]
        for begin, end in self.views:
            inputs += likes(begin, end)
            inputs += [scaled(e) for e in told[begin.errors : end.errors]]
            if begin is NOTHING:
                inputs += [*apart, octaves - 64]
                inputs += [octaves8(size) - octaves for size in sizes]
                inputs += [63 - (max(logs[:PARTS]) - log >> 9) for log in logs[:PARTS]]
                inputs += [(centre >> self.depth) - 32, (centre & 63) - 32]
            inputs += others(begin, end)
            inputs += [0] * (end.inputs - len(inputs))
        shown = [bounded(v, -64, 63) + 64 for v in inputs]

        falls = [max(logs) - log for log in logs]
        shares = [1 if f > 11 * 4096 else power(4096, -(f * 64 // LN2), 1, 4096) for f in falls]
        return Site(
            *(x, y, base, all_features, like, by_set, error_of, centre, scale, past, shown, shares),
            *(contexts, level, past_level, west_north, both_, flag),
        )

    def code(self, decide: Decide, site: Site, value: int) -> None:
        if site.flag >= 0:
            bit, cell = int(value == site.like[0]), self.flags[site.flag]
            decide(bit, cut((cell >> 10) * 4))
            self.flags[site.flag] = learned(cell, bit, 1000, 0)
            if bit:
                self.mass = [0] * self.parts
                return
        self.walk(decide, site, value)

    def walk(self, decide: Decide, site: Site, value: int) -> None:
        """The value as a walk down a tree of intervals [low, high)."""
        parts: list[Logistic | Foretold] = [
            Logistic(p, (3 * e >> 2) + 10) for p, e in zip(site.by_set, site.error_of, strict=True)
        ]
        joined = (site.scale - 32 + site.past) >> 1
        parts += [Logistic(site.centre, (3 * joined >> (3 - k)) + 8) for k in range(3)]
        if self.network is not None:
            parts.append(Foretold(site.centre, site.scale, infer(self.network, site.inputs)))
        total = sum(site.shares)
        centres = sum(s * (p.centre - site.centre) for s, p in zip(site.shares, parts, strict=True))
        centre = site.centre + quotient(centres, total)
        scale = sum(s * p.scale for s, p in zip(site.shares, parts, strict=True)) // total
        low, high, depth, path = 0, self.most + 1, 0, 0
        all_low, all_high = 0, total << 24
        part_low, part_high = [0] * self.parts, [1 << 24] * self.parts
        while high - low > 1:
            deep = min(depth - 5, 5)
            step = bounded(scale << max(0, depth - 5) >> 6, 1, 1 << 16)
            if depth < 5:
                at = centre + (scale * quantile(depth, path) >> 12) + 64 >> 6
                node = (1 << depth) - 1 + path
            elif low == 0:
                at, node = high - step, 31 + 2 * deep
            elif high > self.most:
                at, node = low + step, 32 + 2 * deep
            else:
                at, node = low + high + 1 >> 1, 42 + min((high - low).bit_length() - 1, 5)
            at = bounded(at, low + 1, high - 1)

            part_at = [p.below(at) for p in parts]
            all_at = sum(s * p for s, p in zip(site.shares, part_at, strict=True))
            above, under = max(0, all_high - all_at), max(0, all_at - all_low)
            logit = clamp_logit(log64(above + total) - log64(under + total))
            voices = [bounded(logit >> 4, -3071, 3071)]
            for p, lowest, highest in zip(part_at, part_low, part_high, strict=True):
                both = log24(max(0, highest - p) + 1) - log24(max(0, p - lowest) + 1)
                voices.append(bounded(both >> 4, -2047, 2047))
            voices += [0] * (PARTS + 1 - len(parts))
            site.contexts[5] = (
                at & 255 if high - low == 2 else (256 if high - low <= 4 else 384) + (at & 127)
            )
            for refine, size, context in zip(self.maps, MAPS, site.contexts, strict=True):
                voices.append(STRETCH[refine.refine(node * size + context, logit) >> 12])
            voices += [256] + [0] * (len(FIRST_WEIGHTS) - 1 - len(voices))
            stage = 0 if depth < 2 else 1 if depth < 5 else 2
            early = 0 if depth < 1 else 1 if depth < 3 else 2 if depth < 5 else 3
            selected = [node, site.level * 3 + stage, site.west_north, site.earlier]
            self.mixer.select([*selected, site.past_level * 4 + early, 0], node)
            mixed = self.mixer.predict(voices)
            refined = [
                refine.refine(node * size + context, mixed)
                for refine, size, context in zip(
                    self.last, LAST, (site.level, site.earlier), strict=True
                )
            ]
            bit = int(value >= at)
            decide(bit, cut((2 * squash24(mixed) + sum(refined)) >> 2))
            self.mixer.update(bit)
            for refine in self.maps + self.last:
                refine.update(bit)
            if bit:
                low, all_low, part_low = at, all_at, part_at
            else:
                high, all_high, part_high = at, all_at, part_at
            depth, path = depth + 1, path * 2 + bit
        self.mass = [
            log24(max(0, h - b) + 4) - 16 * LN2 for b, h in zip(part_low, part_high, strict=True)
        ]

    def learn(self, site: Site, value: int) -> None:
        """After a sample is known."""
        y, error = site.y, 64 * value - site.centre
        self.value.put(y, value)
        self.error.put(y, error)
        self.size.put(y, abs(error))
        for plane, p in zip(self.size_of, site.by_set, strict=True):
            plane.put(y, abs(64 * value - p))
        for plane, mass in zip(self.luck, self.mass, strict=True):
            plane.put(y, mass)
        scale = (3 * site.scale + abs(error) + 32) >> 2
        v = np.append(site.features, value - site.base).clip(-2 * scale, 2 * scale)
        units = (v * ((1 << 26) // scale) >> 16).clip(-2047, 2047)
        for squares in self.squares:
            squares.update(y, units)


class Clip:
    """Codes frames, each a list of planes (height, width), in strips.

    networks: the layers for planes that see no other, one, and two. vectors, strips: the bits and
    their probabilities to be one that each payload is made of."""

    def __init__(
        self,
        frames: Sequence[Sequence[NDArray[np.uint16]]],
        planes: Sequence[Shape],
        depth: int,
        effort: int,
        strips: int,
        networks: Sequence[Sequence[Layer]] | None = None,
    ) -> None:
        self.vectors: list[tuple[int, int]] = []
        self.strips: list[list[tuple[int, int]]] = [[] for _ in range(strips)]
        coarse = max(shape[3] for shape in planes)
        rows = -(-planes[0][1] // (1 << coarse))
        cuts = [min(planes[0][1], rows * i // strips << coarse) for i in range(strips + 1)]
        channels = [
            [
                Channel(
                    planes,
                    depth,
                    effort,
                    c,
                    range(top >> s[3], -(-bottom // (1 << s[3]))),
                    networks,
                )
                for c, s in enumerate(planes)
            ]
            for top, bottom in pairwise(cuts)
        ]
        references = len(EFFORTS[effort][0].window)
        history: list[list[Whole]] = []
        errors = [np.zeros((s[1], s[0]), np.int64) for s in planes]
        fields = FieldCoder()
        for frame in frames:
            found: list[Field] = []
            for r, earlier in enumerate(history):
                hint = found[0] if found else None
                now = frame[0].astype(np.int64)
                found.append(search(now, earlier[0].numbers, depth, hint, r + 1))
            for r, field in enumerate(found):
                fields.code(lambda bit, p: self.vectors.append((bit, p)), field, r)
            last = Earlier(history, found, [Whole(e) for e in errors])
            now_errors = [np.zeros_like(e) for e in errors]
            for strip, coded in zip(channels, self.strips, strict=True):
                self.code(strip, frame, last, now_errors, coded)
            errors = now_errors
            history = [[Whole(p.astype(np.int64)) for p in frame], *history][:references]

    def code(
        self,
        strip: list[Channel],
        frame: Sequence[NDArray[np.uint16]],
        earlier: Earlier,
        errors: list[NDArray[np.int64]],
        coded: list[tuple[int, int]],
    ) -> None:
        for channel in strip:
            c, width, height = channel.number, channel.shape[0], len(channel.rows)
            channel.begin(earlier, [see(channel, strip[o]) for o in channel.seen])
            for t in range(width + LAG * (height - 1)):
                first = 0 if t < width else (t - width) // LAG + 1
                rows = range(first, min(t // LAG, height - 1) + 1)
                for squares in channel.squares:
                    squares.advance(t, rows)
                for y in rows:
                    x, row = t - LAG * y, y + channel.rows.start
                    site, value = channel.look(x, y), int(frame[c][row, x])
                    channel.code(lambda bit, p: coded.append((bit, p)), site, value)
                    channel.learn(site, value)
                    errors[c][row, x] = 64 * value - site.centre


def see(channel: Channel, other: Channel) -> tuple[Whole, Whole]:
    """How a channel sees one that is coded before it: its values and errors."""
    right, down = channel.shape[2] - other.shape[2], channel.shape[3] - other.shape[3]
    height, width = len(channel.rows), channel.shape[0]
    y = np.minimum(np.arange(height << down), len(other.rows) - 1)
    x = np.minimum(np.arange(width << right), other.shape[0] - 1)

    def means(plane: Plane) -> Whole:
        numbers = np.array(plane.rows, np.int64)[y][:, x]
        blocks = numbers.reshape(height, 1 << down, width, 1 << right).sum(axis=(1, 3))
        return Whole(blocks >> (right + down))

    return means(other.value), means(other.error)
