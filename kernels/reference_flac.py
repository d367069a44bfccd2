"""The definition of FLAC recipes in slow Python: from samples and a recipe to frames.

FORMAT.md, "Frames of FLAC", says the same in words; kernels/src/flac*.hpp is equal to it. Only the
direction that a decoder takes is here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmc.kernels.reference_mixer import learned

Singles = NDArray[np.float32]
Doubles = NDArray[np.float64]
single = np.float32
FIXED: tuple[list[int], ...] = ([], [1], [2, -1], [3, -3, 1], [4, -6, 4, -1])
RAW = 32  # and more: a partition whose residuals have value - 32 bits
M64 = (1 << 64) - 1


class Decisions:
    """Reads coded bits: flags, trees and numerals, whose cells go by names."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0
        self._low, self._range = 0, M64
        self._point = self._word() << 32 | self._word()
        self._cells: dict[Hashable, int] = defaultdict(lambda: 1 << 31)

    def _word(self) -> int:
        word = self._data[self._at : self._at + 4].ljust(4, b"\0")
        self._at += 4
        return int.from_bytes(word, "big")

    def bit(self, p: int) -> int:
        """A decision of that probability of a one."""
        scale = self._range >> 24
        below = scale * ((1 << 24) - p)
        one = (self._point - self._low) & M64 >= below
        if one:
            self._low = (self._low + below) & M64
        self._range = scale * p if one else below
        if self._range < 1 << 32:
            self._low, self._range = self._low << 32 & M64, self._range << 32
            self._point = (self._point << 32 & M64) | self._word()
        return int(one)

    def flag(self, *name: Hashable) -> int:
        cell = self._cells[name]
        one = self.bit(min(max(cell >> 10 << 2, 16), (1 << 24) - 16))
        self._cells[name] = learned(cell, one, 255, 0)
        return one

    def tree(self, width: int, *name: Hashable) -> int:
        node = 1
        for _ in range(width):
            node = 2 * node + self.flag(*name, node)
        return node - (1 << width)

    def numeral(self, *name: Hashable) -> int:
        length = 0
        while length < 36 and self.flag(*name, "longer", length):
            length += 1
        value = min(length, 1)
        for i in range(length - 1):
            one = self.flag(*name, length, value, i) if i < 2 else self.bit(1 << 23)
            value = 2 * value + one
        return value

    def signed(self, *name: Hashable) -> int:
        value = self.numeral(*name)
        return value // 2 if value % 2 == 0 else -(value + 1) // 2


# ---- Rice parameters -----------------------------------------------------------------------------


def parameter(part: list[int], rule: int, limit: int) -> tuple[int, int]:
    """The parameter that a writer takes for some residuals, and what it thinks they cost."""
    n, half = len(part), len(part) // 2
    sizes = sum(map(abs, part))
    folded = 2 * sizes - sum(x < 0 for x in part)
    if n == 0:
        k = 0
    elif rule == 0:
        k = next(k for k in range(64) if n << k >= sizes)
    elif rule == 1:
        k = 0 if sizes < 2 else ((sizes - 1) * ((1 << 18) // n) >> 18).bit_length()
    else:
        k = 0 if folded <= half else max(0, ((folded - half) // n).bit_length() - 1)
    k = min(k, limit)
    rest = ((folded - half) & M64) >> k if rule == 2 else (2 * sizes >> k) - half
    return k, 4 + n * (k + 1) + rest


def cut(residual: list[int], block: int, order: int, partitions: int) -> list[list[int]]:
    size = block >> partitions
    ends = [max(0, size * p - order) for p in range((1 << partitions) + 1)]
    return [residual[a:b] for a, b in pairwise(ends)]


def partition_order(
    residual: list[int], block: int, order: int, rule: int, most: int, limit: int
) -> int:
    """The one that a writer takes, trying up to `most`."""
    top = 0
    for o in range(1, min(most, 15) + 1):
        fits = order << o <= block if rule == 2 else block >> o > order
        if block % (1 << o) == 0 and fits:
            top = o
    costs = []
    for o in range(top, -1, -1):
        parts = cut(residual, block, order, o)
        costs.append((sum(parameter(part, rule, limit)[1] for part in parts) & M64, -o))
    return -min(costs)[1]


# ---- coefficients --------------------------------------------------------------------------------


def cosine(y: float) -> float:
    if y > np.pi:
        y = 2 * np.pi - y
    turned = y > np.pi / 2
    if turned:
        y = np.pi - y
    term = sine = y / 2
    z = term * term
    for k in range(1, 11):
        term = -term * z / (2 * k * (2 * k + 1))
        sine = sine + term
    found = 1 - 2 * (sine * sine)
    return -found if turned else found


def hann(a: int, b: int, fine: bool) -> np.float32:
    y = np.pi * a / b
    if fine:
        return single(0.5 - 0.5 * cosine(y))
    return single(0.5) - single(0.5) * single(cosine(float(single(y))))


def tukey(n: int, p: np.float32, fine: bool) -> Singles:
    w = np.ones(n, single)
    edge = int(p / single(2) * single(n)) - 1
    for i in range(edge + 1 if edge > 0 else 0):
        w[i] = hann(i, edge, fine)
        w[n - edge - 1 + i] = hann(i + edge, edge, fine)
    return w


def part_of(n: int, d: int, m: int, overlap: np.float32, outside: bool, fine: bool) -> Singles:
    w = np.zeros(n, single)
    v = single(1) / (single(1) - overlap) - single(1)
    start = int(single(m) / (single(d) + v) * single(n))
    end = int((single(m + 1) + v) / (single(d) + v) * single(n))
    hills = [(0, start), (end, n)] if outside else [(start, end)]
    for a, b in hills:
        edge = int(single(0.2) / single(2) * single(b - a))
        for i in range(a, min(b, n)):
            if i < a + edge:
                w[i] = hann(i - a + 1, edge, fine)
            else:
                w[i] = hann(b - i, edge, fine) if i >= b - edge else 1
    return w


def add(start: float, products: NDArray[Any]) -> float:
    """The sum one after the other, in the products' own format."""
    first = np.concatenate([np.array([start], products.dtype), products])
    return float(np.add.accumulate(first)[-1])


def autocorrelation(u: Doubles, most: int, start: float = 0) -> list[float]:
    return [add(start, u[j:] * u[: len(u) - j]) for j in range(most + 1)]


def sums(x: list[int], rule: int, parts: int, most: int, window: int) -> list[float] | None:
    """R(0) to R(most) of a window; None if there is none."""
    n = len(x)
    if n <= most:
        return None
    signal = np.array(x, np.int64)
    if rule == 2:
        q, u = 2.0 / (n - 1.0), np.zeros(n)
        for i in range(n // 2):
            r = q - i - 1.0 if n % 2 else q - n // 2 + (n // 2 - 1 - i)
            for at in (i, n - 1 - i):
                u[at] = float(x[at]) * (1.0 - r * r)
        return autocorrelation(u, most, 1.0)
    if rule == 1:
        w = tukey(n, single(0.5) / single(parts), False)
        whole = (signal.astype(single) * w).astype(np.float64)
        if window == 0:
            return autocorrelation(whole, most)
        pieces = [(2, 0), (2, 2)] + [(d, c) for d in range(3, parts + 1) for c in range(2 * d)]
        d, c = pieces[window - 1]
        if n // d <= 32:
            return None
        half, start = n // d // 2, c // 2 * n // d
        piece = np.zeros(n // d, single)
        weights = np.concatenate([w[:half], w[n - half :]])
        piece[: 2 * half] = signal[start : start + 2 * half].astype(single) * weights
        part = autocorrelation(piece.astype(np.float64), most)
        if c % 2 == 0:
            return part
        all_of_it = autocorrelation(whole, most)
        return [a - b for a, b in zip(all_of_it[:-1], part[:-1], strict=True)] + part[-1:]
    fine, in_order = bool((rule - 3) & 1), bool((rule - 3) & 2)
    if window == 0:
        w = tukey(n, single(0.5), fine)
    elif window <= 2:
        w = part_of(n, 2, window - 1, single(0.1), False, fine)
    else:
        w = part_of(n, 3, window - 3, single(0.2), True, fine)
    v = signal.astype(single) * w
    limit = n if most >= 16 or in_order else max(0, n - 4 * (most // 4) - 3)
    out = []
    for j in range(most + 1):
        products = v[: n - j] * v[j:]
        out.append(add(0, np.concatenate([products[:limit], products[limit:][::-1]])))
    return out


def levinson(r: list[float], order: int) -> list[float] | None:
    c: list[float] = []
    error = r[0]
    for i in range(order):
        if not error > 0:
            return None
        k = -r[i + 1]
        for j in range(i):
            k -= c[j] * r[i - j]
        k /= error
        c = [c[j] + k * c[i - 1 - j] for j in range(i)] + [k]
        error *= 1.0 - k * k
    return [-v for v in c]


def nearest(x: float, even: bool) -> int:
    whole, rest = int(abs(x)), abs(x) - int(abs(x))
    if rest > 0.5 or (rest == 0.5 and (not even or whole % 2)):
        whole += 1
    return -whole if x < 0 else whole


def rounded(c: list[float], rule: int, precision: int) -> tuple[list[int], int] | None:
    """Coefficients and shift."""
    high = (1 << (precision - 1)) - 1
    if rule != 2:
        c = [float(single(v)) for v in c]
    most = max(map(abs, c))
    if rule == 2:
        if not (most * 2.0**15 >= 1.0 and most < 2.0**30):
            return None
        shift = 15
        while shift > 0 and most * 2.0**shift > high:
            shift -= 1
        if shift == 0 and most > high:
            c = [v * (high / most) for v in c]
        scale, low = 2.0**shift, -high
    else:
        if not 0 < most < 2.0**16:
            return None
        exponent = int(np.frexp(most)[1]) - 1
        scale = 2.0 ** min(15, precision - 2 - exponent)
        shift, low = max(0, min(15, precision - 2 - exponent)), -high - 1
    error, out = 0.0, []
    for v in c:
        error += v * scale
        if not abs(error) < 2.0**30:
            return None
        q = nearest(float(single(error)) if rule == 2 else error, rule == 2)
        out.append(min(max(q, low), high))
        error -= out[-1]
    return out, shift


# ---- frames --------------------------------------------------------------------------------------


class Bits:
    """Bits of a frame, as text."""

    def __init__(self) -> None:
        self.text: list[str] = []

    def put(self, value: int, width: int) -> None:
        if width:
            self.text.append(format(value & ((1 << width) - 1), f"0{width}b"))

    def done(self) -> bytes:
        text = "".join(self.text)
        text += "0" * (-len(text) % 8)
        return int("1" + text, 2).to_bytes(len(text) // 8 + 1, "big")[1:]


def crc(data: bytes, width: int, polynomial: int) -> int:
    value = 0
    for byte in data:
        value ^= byte << (width - 8)
        for _ in range(8):
            value = value << 1 ^ (polynomial if value >> (width - 1) else 0)
            value &= (1 << width) - 1
    return value


def block_of(code: int) -> int:
    return 192 if code == 1 else 576 << (code - 2) if code <= 5 else 256 << (code - 8)


def usual_size_code(block: int) -> int:
    usual = [code for code in (*range(1, 6), *range(8, 16)) if block_of(code) == block]
    return usual[0] if usual else 6 if block <= 256 else 7


def utf8(value: int) -> bytes:
    """As in UTF-8, up to 36 bits."""
    if value < 128:
        return bytes([value])
    size = next(s for s in range(2, 8) if value.bit_length() <= (11 if s == 2 else 5 * s + 1))
    first = (0xFF00 >> size & 0xFF) | value >> 6 * (size - 1)
    return bytes([first, *(128 | value >> 6 * i & 63 for i in range(size - 2, -1, -1))])


class Frames:
    """Frames of samples (channels, time), read from a recipe."""

    def __init__(self, recipe: bytes, samples: NDArray[np.int32], bits: int) -> None:
        self.rice, self.partitions, self.linear, self.parts, self.order = recipe[:5]
        self.in_ = Decisions(recipe[5:])
        self.samples, self.bits = samples.tolist(), bits
        self.channels, self.count = samples.shape
        depth = {8: 1, 12: 2, 16: 4, 20: 5, 24: 6, 32: 7}.get(bits, 0)
        # variable, size code, block, rate code, rate, depth code
        self.head = (0, 12, 4096, 9, 0, depth)
        self.way, self.number = 0, -1
        self.kinds, self.orders = [3] * 8, [0] * 8

    def all(self) -> bytes:
        out, at = [], 0
        while at < self.count:
            frame = self.header(self.count - at)
            block = self.head[2]
            rows = [row[at : at + block] for row in self.samples]
            body = Bits()
            for c, signal in enumerate(self.signals(rows)):
                side = (self.way, c) in {(1, 1), (2, 0), (3, 1)}
                role = 2 if side else int(self.way == 3)
                self.subframe(body, c, role, signal, self.bits + side)
            frame += body.done()
            out.append(frame + crc(frame, 16, 0x8005).to_bytes(2, "big"))
            at += block
        return b"".join(out)

    def header(self, left: int) -> bytes:
        code, before = self.in_, self.head
        if code.flag("same"):
            pass
        elif code.flag("rest"):
            self.head = (before[0], usual_size_code(left), left, *before[3:])
        else:
            variable, block = code.flag("variable"), code.numeral("block") + 1
            usual = code.flag("usual")
            size = usual_size_code(block) if usual else code.tree(4, "size")
            rate_code = code.tree(4, "rate code")
            rate = code.numeral("rate") if rate_code >= 12 else 0
            self.head = (variable, size, block, rate_code, rate, code.tree(3, "depth"))
        variable, size, block, rate_code, rate, depth = self.head
        if self.channels == 2:
            self.way = code.tree(2, "assignment", self.way)
        expected = self.number + (before[2] if variable else 1) if self.number >= 0 else 0
        self.number = expected if code.flag("next") else code.numeral("number")
        out = Bits()
        out.put(0x7FFC, 15)
        out.put(variable, 1)
        out.put(size, 4)
        out.put(rate_code, 4)
        out.put(7 + self.way if self.way else self.channels - 1, 4)
        out.put(depth << 1, 4)
        data = out.done() + utf8(self.number)
        if size in (6, 7):
            data += (block - 1).to_bytes(size - 5, "big")
        if rate_code >= 12:
            data += rate.to_bytes(1 if rate_code == 12 else 2, "big")
        return data + bytes([crc(data, 8, 7)])

    def signals(self, rows: list[list[int]]) -> list[list[int]]:
        if self.way == 0:
            return rows
        side = [a - b for a, b in zip(*rows, strict=True)]
        middle = [(a + b) >> 1 for a, b in zip(*rows, strict=True)]
        return [[rows[0], side], [side, rows[1]], [middle, side]][self.way - 1]

    def subframe(self, out: Bits, c: int, role: int, signal: list[int], bits: int) -> None:
        code = self.in_
        kind = code.tree(2, "kind", len(set(signal)) == 1, role, self.kinds[c])
        self.kinds[c] = kind
        found = int(np.bitwise_or.reduce(np.array(signal, np.int64)))
        zeros = (found & -found).bit_length() - 1 if found else 0
        wasted = zeros if code.flag("wasted") else code.numeral("wasted")
        signal, bits = [x >> wasted for x in signal], bits - wasted
        taps: list[int] = []
        order, precision, shift = 0, 0, 0
        if kind == 2:
            order = code.tree(3, "fixed", role, self.orders[c])
            self.orders[c], taps = order, FIXED[order]
        elif kind == 3:
            order = code.tree(5, "order", role) + 1
            precision = code.tree(4, "precision", role) + 1
            taps, shift = self.coefficients(signal, order, precision, role)
        out.put([0, 1, 8 + order, 31 + order][kind], 7)
        out.put(wasted > 0, 1)
        if wasted:
            out.put(1, wasted)
        for x in [signal[:1], signal, signal[:order], signal[:order]][kind]:
            out.put(x, bits)
        if kind == 3:
            out.put(precision - 1, 4)
            out.put(shift, 5)
            for tap in taps:
                out.put(tap, precision)
        if kind >= 2:
            residual = []
            for i in range(order, len(signal)):
                guess = sum(tap * signal[i - 1 - j] for j, tap in enumerate(taps))
                residual.append(signal[i] - (guess >> shift))
            self.residual(out, residual, len(signal), order, role)

    def coefficients(
        self, signal: list[int], order: int, precision: int, role: int
    ) -> tuple[list[int], int]:
        code = self.in_
        way = code.tree(5, "way", role) if self.linear else 0
        if way == 0:
            shift = code.tree(4, "shift", role)
            return [code.signed("coefficient", j) for j in range(order)], shift
        r = sums(signal, self.linear, self.parts, self.order, way - 1)
        exact = None if r is None else levinson(r, order)
        guess = None if exact is None else rounded(exact, self.linear, precision)
        if guess is None:
            raise ValueError("a window has no coefficients")
        if code.flag("exact"):
            return guess
        return [tap + code.signed("change", j) for j, tap in enumerate(guess[0])], guess[1]

    def residual(self, out: Bits, residual: list[int], block: int, order: int, role: int) -> None:
        code, limit = self.in_, 30 if self.bits > 16 else 14
        partitions = partition_order(residual, block, order, self.rice, self.partitions, limit)
        if not code.flag("partitions same", role):
            partitions = code.tree(4, "partitions", role)
        parts = cut(residual, block, order, partitions)
        parameters, wrong = [], False
        for part in parts:
            k, _ = parameter(part, self.rice, limit)
            same = code.flag("parameter same", wrong, partitions == 0)
            if not same and code.flag("raw"):
                k = RAW + code.tree(5, "raw bits")
            elif not same:
                k += code.signed("parameter")
            wrong = not same
            parameters.append(k)
        method = code.flag("method", any(14 < k < RAW for k in parameters))
        out.put(method, 2)
        out.put(partitions, 4)
        put: Callable[[int, int], None] = out.put
        for k, part in zip(parameters, parts, strict=True):
            put(-1 if k >= RAW else k, 4 + method)
            if k >= RAW:
                put(k - RAW, 5)
            for x in part:
                folded = 2 * x if x >= 0 else -2 * x - 1
                if k < RAW:
                    put(1, (folded >> k) + 1)
                put(x if k >= RAW else folded, k - RAW if k >= RAW else k)
