"""Pictures that were decoded from a JPEG file: its coefficients say the same in fewer bytes.

What libjpeg makes of a file is a function of its coefficients and steps: an integer inverse DCT,
chroma spread over the picture, and a conversion to RGB by tables. Each is undone here in turn; the
result is tried by decoding it, and pixels that it does not give are kept beside it. The picture may
be a crop. FORMAT.md, section 5.8, has the layout and what decoding does.

Sources: libjpeg (jidctint.c, jdsample.c, jdcolor.c); Z. Fan, R. L. de Queiroz, "Identification of
bitmap compression history: JPEG detection and quantizer estimation", IEEE Transactions on Image
Processing 12, 2003.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from lmc.codecs import jpeg, strays
from lmc.codecs.base import Report
from lmc.codecs.recipe import Reader, Writer
from lmc.errors import Corrupt
from lmc.kernels import _native

MAP_EFFORT = 1
# How chroma's (rows, columns) were spread: 0 not at all, 1 each twice, 2 "fancy".
SPREADS = ((0, 0), (2, 2), (0, 2), (1, 1), (0, 1))
LEAST_SIDE = 24
MOST_STRAYS = 0.25  # of the pixels; with more, other methods are better
NO_LOW, NO_HIGH = -32768, 32767

Plane = NDArray[np.int16]
Samples = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Description:
    """file: a JPEG file; fine: whether its inverse DCT was one of floats; turned: whether the
    picture's rows are the file's columns, and whether the file's rows run backwards (before
    that); spread: an index of SPREADS; corner: the picture's first pixel within the file's (row,
    column); stray: (height, width), 1 where the file does not give the pixel; moved: (n,
    channels), what to add there, modulo 256, row by row."""

    file: bytes
    fine: bool
    turned: tuple[bool, bool]
    spread: int
    corner: tuple[int, int]
    stray: Samples
    moved: Samples


# ---- payloads -----------------------------------------------------------------------------------


def encode(
    samples: Samples, threads: int = 0, report: Report | None = None
) -> tuple[bytes, int] | None:
    """The payload of samples (height, width, 1 or 3) and the bytes of memory that decoding takes;
    None if they were no JPEG file, or are not smaller as one.

    report is called with samples done.
    """
    found = split(samples, threads)
    if found is None or not np.array_equal(merge(found, samples.shape), samples):
        return None
    frame = jpeg.encode(found.file, threads, _scaled(report, len(found.file), samples.size))
    if frame is None:
        return None
    parts = [frame.payload]
    if len(found.moved):
        parts += strays.encode(found.stray, found.moved, MAP_EFFORT)
    numbers = [len(found.file), len(found.moved), *(len(part) for part in parts[:-1])]
    transposed, mirrored = found.turned
    kind = 8 * found.spread + 4 * found.fine + 2 * transposed + mirrored
    head = bytes([kind, *found.corner]) + frame.params
    out = Writer()
    out.raw(head)
    for number in numbers:
        out.number(number)
    out.raw(b"".join(parts))
    payload = out.done()
    memory = frame.memory + len(found.file) + 40 * samples.size
    if len(found.moved):
        shape = (samples.shape[0], samples.shape[1])
        memory += strays.memory(shape, len(found.moved), samples.shape[2], MAP_EFFORT)
    return payload, memory


def decode(
    payload: bytes,
    height: int,
    width: int,
    channels: int,
    threads: int = 0,
    report: Report | None = None,
) -> Samples:
    """The samples (height, width, channels) that `encode` coded. Raises Corrupt."""
    size = height * width * channels
    if len(payload) < 4 or payload[0] >= 8 * len(SPREADS):
        raise Corrupt("a picture that was a JPEG file is cut")
    spread, fine = payload[0] >> 3, payload[0] & 4 != 0
    turned = (payload[0] & 2 != 0, payload[0] & 1 != 0)
    corner, params = (payload[1], payload[2]), payload[3:4]
    reader = Reader(payload[4:])
    file_size, count = reader.number(), reader.number()
    sizes = [reader.number() for _ in range(2 if count else 0)]
    rest = reader.rest()
    if sum(sizes) > len(rest):
        raise Corrupt("the parts of a picture that was a JPEG file do not fit into it")
    if max(corner) > 16 or count > height * width or file_size > 4 * size + (1 << 16):
        raise Corrupt("a picture that was a JPEG file is larger than it can be")
    parts, at = [], 0
    for part in [*sizes, len(rest) - sum(sizes)]:
        parts.append(rest[at : at + part])
        at += part
    stray, moved = np.zeros((height, width), np.uint8), np.zeros((0, channels), np.uint8)
    scaled = _scaled(report, file_size, size)
    file = jpeg.decode_frame(jpeg.METHOD, params, parts[0], file_size, None, threads, scaled)
    if count:
        shape = (height, width)
        stray, moved = strays.decode(parts[1], parts[2], shape, channels, MAP_EFFORT, threads)
    if len(moved) != count:
        raise Corrupt("the stray pixels of a picture are not as many as it says")
    found = Description(file, fine, turned, spread, corner, stray, moved)
    return merge(found, (height, width, channels))


def _scaled(report: Report | None, of: int, to: int) -> Report | None:
    return None if report is None else lambda done: report(done * to // max(of, 1))


# ---- from the file to the picture ---------------------------------------------------------------


def merge(found: Description, shape: tuple[int, ...]) -> Samples:
    """The samples of that shape. Raises Corrupt if the parts do not belong together."""
    if found.turned[0]:
        shape = (shape[1], shape[0], shape[2])
    out = _render(found.file, found.fine, found.spread, found.corner, shape)
    out = _turn_back(out, found.turned)
    strays.correct(out, found.stray, found.moved)
    return out


def _turn(samples: Samples, turned: tuple[bool, bool]) -> Samples:
    """A picture as the file has it."""
    if turned[0]:
        samples = samples.swapaxes(0, 1)
    if turned[1]:
        samples = samples[:, ::-1]
    return np.ascontiguousarray(samples)


def _turn_back(samples: Samples, turned: tuple[bool, bool]) -> Samples:
    if turned[1]:
        samples = samples[:, ::-1]
    if turned[0]:
        samples = samples.swapaxes(0, 1)
    return np.ascontiguousarray(samples)


def _render(
    file: bytes, fine: bool, spread: int, corner: tuple[int, int], shape: tuple[int, ...]
) -> Samples:
    """What libjpeg would make of the file, from that pixel on."""
    height, width, channels = shape
    try:
        planes = _native.jpeg_samples(file, fine)
    except _native.Damaged as error:
        raise Corrupt(str(error)) from error
    rows, columns = _size_of(file)
    kinds = SPREADS[spread]
    factors = [(2 if kinds[1] else 1, 2 if kinds[0] else 1), (1, 1), (1, 1)]
    if len(planes) != channels or (channels == 3 and [p[:2] for p in planes] != factors):
        raise Corrupt("a picture that was a JPEG file has other components")
    if corner[0] + height > rows or corner[1] + width > columns:
        raise Corrupt("a picture that was a JPEG file is larger than the file")
    for i, (_, _, plane) in enumerate(planes):
        halves = [1 + (i > 0 and kind > 0) for kind in kinds]
        if plane.shape[0] * halves[0] < rows or plane.shape[1] * halves[1] < columns:
            raise Corrupt("a picture that was a JPEG file has too few samples")
    part = (slice(corner[0], corner[0] + height), slice(corner[1], corner[1] + width))
    luma = planes[0][2][part]
    if channels == 1:
        return luma[:, :, None].copy()
    blue, red = (spread_plane(p[2], kinds, (rows, columns))[part] for p in planes[1:])
    return to_rgb(luma, blue, red)


def spread_plane(thin: Samples, kinds: tuple[int, int], shape: tuple[int, int]) -> Samples:
    """A plane of `shape` from one that has half as many rows and columns, or as many (kind 0).

    Beyond the picture's end its outermost numbers go on.
    """
    rows, columns = (n if kind == 0 else (n + 1) // 2 for n, kind in zip(shape, kinds, strict=True))
    values = thin[:rows, :columns].astype(np.int16)
    if kinds[0] == 1:
        values = np.repeat(values, 2, 0)
    if kinds[1] == 1:
        values = np.repeat(values, 2, 1)
    if kinds[1] == 2:
        if kinds[0] == 2:
            around = np.pad(values, ((1, 1), (0, 0)), mode="edge")
            sums = np.empty((2 * rows, columns), np.int16)
            sums[0::2] = 3 * values + around[:-2]
            sums[1::2] = 3 * values + around[2:]
            values, before, after, shift = sums, 8, 7, 4
        else:
            before, after, shift = 1, 2, 2
        around = np.pad(values, ((0, 0), (1, 1)), mode="edge")
        full = np.empty((len(values), 2 * columns), np.int16)
        full[:, 0::2] = (3 * values + around[:, :-2] + before) >> shift
        full[:, 1::2] = (3 * values + around[:, 2:] + after) >> shift
        values = full
    return values[: shape[0], : shape[1]].astype(np.uint8)


_X = np.arange(256, dtype=np.int32) - 128
RED = ((91881 * _X + 32768) >> 16).astype(np.int32)
BLUE = ((116130 * _X + 32768) >> 16).astype(np.int32)
GREEN_BLUE, GREEN_RED = -22554 * _X + 32768, -46802 * _X


def to_rgb(luma: Samples, blue: Samples, red: Samples) -> Samples:
    """The colours (height, width, 3) of three planes."""
    out = np.empty((*luma.shape, 3), np.uint8)
    for i, part in enumerate(_parts(blue, red)):
        out[..., i] = np.clip(luma + part, 0, 255)
    return out


def _parts(blue: Samples, red: Samples) -> tuple[NDArray[np.int32], ...]:
    """What chroma adds to luma in red, green and blue."""
    return RED[red], (GREEN_BLUE[blue] + GREEN_RED[red]) >> 16, BLUE[blue]


def _size_of(file: bytes) -> tuple[int, int]:
    """Rows and columns of a JPEG file whose headers are known to be whole."""
    at = 2
    while at + 9 <= len(file):
        if file[at + 1] in (0xC0, 0xC1, 0xC2):
            return file[at + 5] << 8 | file[at + 6], file[at + 7] << 8 | file[at + 8]
        at += 2 + (file[at + 2] << 8 | file[at + 3])
    raise Corrupt("a JPEG file without a frame")


# ---- from the picture to the file ---------------------------------------------------------------


def split(samples: Samples, threads: int = 0) -> Description | None:
    """The file and what it does not give, or None for a picture that was none."""
    height, width, channels = samples.shape
    if min(height, width) < LEAST_SIDE or max(height, width) > 65000 or channels not in (1, 3):
        return None
    if channels == 3 and not _may_be(samples):
        return None
    if channels == 1:
        planes = np.ascontiguousarray(samples.transpose(2, 0, 1)).astype(np.int16)
    else:
        planes = _native.jpeg_to_ycc(np.ascontiguousarray(samples).reshape(-1, 3))
        planes = planes.reshape(3, height, width)
    luma = planes[0]
    grid = find_grid(luma, luma >= 0)
    kind = None if grid is None else _which_dct(luma, grid)
    if grid is None or kind is None:
        return None
    fine, transposed = kind
    if channels == 1:
        turn = (transposed, False)
        found = _split_grey(_turn(samples, turn), grid[::-1] if transposed else grid, fine, threads)
        return found and _turned(found, turn)
    best: Description | None = None
    # The DCT of floats is symmetric: only chroma tells.
    turns = list(product((False, True) if fine else (transposed,), (False, True)))
    for spread, turn in _likely_spreads(planes, grid, turns):
        found = _split_colour(
            _turn(samples, turn),
            *_turn_planes(planes, grid, turn),
            fine,
            spread,
            threads,
        )
        if found is not None and (best is None or len(found.moved) < len(best.moved)):
            best = _turned(found, turn)
        if best is not None and len(best.moved) < height * width // 50:
            break
    return best


def _turn_planes(
    planes: Plane, grid: tuple[int, int], turned: tuple[bool, bool]
) -> tuple[Plane, tuple[int, int]]:
    """Planes (3, height, width) as the file has them, and where their first whole block begins."""
    if turned[0]:
        planes, grid = planes.swapaxes(1, 2), (grid[1], grid[0])
    if turned[1]:
        planes, grid = planes[:, :, ::-1], (grid[0], (planes.shape[2] - grid[1]) % 8)
    return np.ascontiguousarray(planes), grid


def _turned(found: Description, turned: tuple[bool, bool]) -> Description:
    """A description of a picture that was turned for it, as one of the picture."""
    moved = np.zeros((*found.stray.shape, found.moved.shape[1]), np.uint8)
    moved[found.stray != 0] = found.moved
    stray = _turn_back(found.stray, turned)
    moved = _turn_back(moved, turned)[stray != 0]
    return Description(found.file, found.fine, turned, found.spread, found.corner, stray, moved)


def _may_be(samples: Samples) -> bool:
    """Whether nearly all colours of some rows are what a conversion from YCbCr gives."""
    some = samples[:: max(1, len(samples) // 32)].reshape(-1, 3)
    inside = np.count_nonzero(((some > 0) & (some < 255)).all(-1))
    ways = np.count_nonzero(_native.jpeg_to_ycc(np.ascontiguousarray(some))[0] >= 0)
    return bool(inside >= len(some) // 10 and ways > 0.95 * inside)


_U = np.arange(8)
_DCT = (
    np.cos((2 * _U[None, :] + 1) * _U[:, None] * np.pi / 16)
    * np.where(_U == 0, 0.125, 0.25)[:, None] ** 0.5
)
TRANSFORM = np.kron(_DCT, _DCT).T  # of 64 samples by row to coefficients by place


def _some_blocks(
    plane: Plane, known: NDArray[np.bool_], corner: tuple[int, int], most: int
) -> Plane:
    """Up to about `most` blocks of the grid that begins at `corner` which are known and no plain
    colour, (n, 64)."""
    y0, x0 = corner
    rows, columns = (plane.shape[0] - y0) // 8, (plane.shape[1] - x0) // 8
    stride = max(1, rows * columns // most)
    which = np.arange(0, rows * columns, stride)
    y, x = y0 + which // max(columns, 1) * 8, x0 + which % max(columns, 1) * 8
    at = (y[:, None] + np.arange(64) // 8, x[:, None] + np.arange(64) % 8)
    blocks = plane[at]
    whole = known[at].all(1) & (blocks.max(1) - blocks.min(1) > 1)
    return np.ascontiguousarray(blocks[whole])


def find_grid(plane: Plane, known: NDArray[np.bool_]) -> tuple[int, int] | None:
    """Where the first whole block begins: (row, column), each below 8.

    On the right grid fewer coefficients lie between 0 and the next step than on any other.
    """
    corners = list(product(range(8), range(8)))
    shares = []
    for corner in corners:
        blocks = _some_blocks(plane, known, corner, 1200)[:400]
        if len(blocks) < 4:
            return None
        shares.append(_share_between(blocks))
    order = np.argsort(shares)
    if shares[order[0]] > 0.75 * shares[order[len(order) // 2]]:
        return None
    return corners[int(order[0])]


def _share_between(blocks: Plane) -> float:
    """The share of coefficients where rounded samples have few multiples of steps above 1."""
    coefs = np.abs((blocks - 128).astype(np.float32) @ TRANSFORM[:, 1:].astype(np.float32))
    return float(((coefs > 0.9) & (coefs < 1.45)).mean())


BASE = (
    "16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 "
    "14 17 22 29 51 87 80 62 "
    "18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 "
    "72 92 95 98 112 100 103 99",
    "17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99 47 66" + " 99" * 38,
)


def standard_steps(quality: int, chroma: bool) -> NDArray[np.int64]:
    """The steps of T.81, annex K, as libjpeg scales them."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    base = np.array(BASE[chroma].split(), np.int64)
    return np.clip((base * scale + 50) // 100, 1, 255)


def find_steps(coefs: NDArray[np.float64]) -> NDArray[np.uint16] | None:
    """The step of each of the 64 places from coefficients (n, 64) that are nearly multiples."""
    steps = np.zeros(64, np.int64)
    counts = np.zeros(64, np.int64)
    for place in range(64):
        values = coefs[:, place]
        values = values[np.abs(values) > 1.4][:3000]
        counts[place] = len(values)
        if len(values) == 0:
            continue
        # Rounding has moved them by 0.29 on average. Some may be wrong: chance alone would
        # bring 1.3 / step of them so near.
        top = int(min(255, np.abs(values).max() + 1.5))
        for step in range(top, 0, -1):
            least = 0.5 + 0.5 * min(1.0, 1.3 / step) if len(values) >= 12 else 0.95
            few = values[:64]
            if (np.abs(few - step * np.rint(few / step)) < 0.65).mean() < least - 0.1:
                continue
            if (np.abs(values - step * np.rint(values / step)) < 0.65).mean() >= least:
                steps[place] = step
                break
        else:
            steps[place] = 1
    steps[(steps <= 2) & (counts < 0.02 * len(coefs))] = 0  # so few are rather wrong ones
    sure = (counts >= 12) & (steps > 0)
    if sure.sum() < 2:
        sure = (counts >= 3) & (steps > 0)
    if not sure.any():
        sure = steps > 0
    if sure.any():
        for quality, chroma in product(range(1, 100), (False, True)):
            usual = standard_steps(quality, chroma)
            equal = usual[sure] == steps[sure]
            # Of few values all may be multiples of more than the step.
            if equal.mean() >= 0.65 and (steps[sure] % usual[sure] == 0).mean() >= 0.95:
                return usual.astype(np.uint16)
    if (steps[sure] == 1).all() and sure.sum() > 40:
        return None  # whole numbers have all steps of 1
    order = sorted(range(64), key=lambda i: (i // 8 + i % 8, i))
    last = 1
    for place in order:  # a step that is not known: as large as those before
        if not sure[place] and (steps[place] == 0 or counts[place] < 3):
            steps[place] = max(steps[place], last)
        last = max(last, int(steps[place])) if sure[place] else last
    return np.clip(steps, 1, 255).astype(np.uint16)


@dataclass(frozen=True, slots=True)
class Fitted:
    """blocks: (rows, columns, 64); steps: by place; missed: (rows, columns), samples not given."""

    blocks: Plane
    steps: NDArray[np.uint16]
    missed: Samples
    fine: bool


def fit_plane(
    low: Plane,
    high: Plane,
    corner: tuple[int, int],
    shape: tuple[int, int],
    fine: bool,
    threads: int,
) -> Fitted | None:
    """Coefficients of a plane of which samples lie within bounds.

    low, high: of the samples seen; corner: the place of the first within the plane (it may lie
    outside of it, above or left); shape: of the plane in blocks.
    """
    bounds = []
    for part, none in ((low, NO_LOW), (high, NO_HIGH)):
        full = np.full((shape[0] * 8, shape[1] * 8), none, np.int16)
        y, x = corner
        seen = part[max(0, -y) :, max(0, -x) :]
        y, x = max(0, y), max(0, x)
        seen = seen[: full.shape[0] - y, : full.shape[1] - x]
        full[y : y + seen.shape[0], x : x + seen.shape[1]] = seen
        blocks = full.reshape(shape[0], 8, shape[1], 8).swapaxes(1, 2)
        bounds.append(np.ascontiguousarray(blocks).reshape(-1, 64))
    lows, highs = bounds
    whole = (lows == highs).all(1)
    if whole.sum() < 4:
        return None
    known = lows[whole]
    known = known[:: max(1, len(known) // 20000)]
    coefs = (known - 128.0) @ TRANSFORM
    steps = find_steps(coefs)
    if steps is None:
        return None
    rounded = np.rint(coefs / steps) * steps
    spread = np.sqrt((rounded * rounded).mean(0)) + 0.02 * steps + 0.1
    spread[0] = 2000
    probe = known[:: max(1, len(known) // 200)]
    _, missed = _native.jpeg_fit(probe, probe, steps, spread, fine, threads)
    if np.count_nonzero(missed == 0) < 0.5 * len(probe):
        return None
    flat, missed = _native.jpeg_fit(lows, highs, steps, spread, fine, threads)
    fitted: Plane = flat.reshape(shape[0], shape[1], 64)
    # Where nothing is seen, whatever costs least.
    seen = ((lows != NO_LOW) | (highs != NO_HIGH)).any(1).reshape(shape)
    seen_rows, seen_columns = seen.any(1), seen.any(0)
    for y in map(int, np.flatnonzero(~seen_rows)):
        fitted[y] = 0
        fitted[y, :, 0] = fitted[y - 1, :, 0] if y else 0
    for x in map(int, np.flatnonzero(~seen_columns)):
        fitted[:, x] = 0
        fitted[:, x, 0] = fitted[:, x - 1, 0] if x else 0
    return Fitted(fitted, steps, missed.reshape(shape), fine)


def _which_dct(plane: Plane, grid: tuple[int, int]) -> tuple[bool, bool] | None:
    """Whether the inverse DCT was one of floats, and, if not, whether rows and columns were
    exchanged since, by how it has rounded some blocks; None if they are of no kind."""
    blocks = _some_blocks(plane, (plane > 0) & (plane < 255), grid, 2000)
    if len(blocks) < 4:
        return None
    coefs = (blocks - 128.0) @ TRANSFORM
    steps = find_steps(coefs)
    if steps is None:
        return None
    spread = np.sqrt((coefs * coefs).mean(0)) + 0.1
    probe = blocks[:: max(1, len(blocks) // 60)]
    best: tuple[bool, bool] | None = None
    most = len(probe) // 2
    for fine, transposed in ((False, False), (False, True), (True, False)):
        places = np.arange(64).reshape(8, 8)
        order = places.T.ravel() if transposed else places.ravel()
        turned = np.ascontiguousarray(probe[:, order])
        _, missed = _native.jpeg_fit(turned, turned, steps[order], spread[order], fine, 1)
        good = int(np.count_nonzero(missed == 0))
        if good > most:
            best, most = (fine, transposed), good
    return best


def _on_lattice(values: Plane, sure: NDArray[np.bool_], corner: tuple[int, int]) -> Plane | None:
    """The plane with its coefficients rounded to their steps; corner as in fit_plane."""
    before = (corner[0] % 8, corner[1] % 8)
    after = [-(n + b) % 8 for n, b in zip(values.shape, before, strict=True)]
    pads = [(b, a) for b, a in zip(before, after, strict=True)]
    full, known = np.pad(values, pads, mode="edge"), np.pad(sure, pads)
    rows, columns = full.shape[0] // 8, full.shape[1] // 8
    blocks = full.reshape(rows, 8, columns, 8).swapaxes(1, 2).reshape(-1, 64)
    whole = known.reshape(rows, 8, columns, 8).swapaxes(1, 2).reshape(-1, 64).all(1)
    if whole.sum() < 4:
        return None
    coefs = (blocks - 128.0) @ TRANSFORM
    steps = find_steps(coefs[whole][:20000])
    if steps is None:
        return None
    near = np.rint(np.rint(coefs / steps) * steps @ TRANSFORM.T + 128)
    near = near.reshape(rows, columns, 8, 8).swapaxes(1, 2).reshape(full.shape)
    near = near[before[0] : before[0] + values.shape[0], before[1] : before[1] + values.shape[1]]
    return np.ascontiguousarray(np.clip(near, 0, 255).astype(np.int16))


def _bounds(values: Plane, known: NDArray[np.bool_]) -> tuple[Plane, Plane]:
    """Samples as bounds of what they were before they were cut to 0..255."""
    low = np.where(known & (values > 0), values, NO_LOW).astype(np.int16)
    high = np.where(known & (values < 255), values, NO_HIGH).astype(np.int16)
    return low, high


def _split_grey(
    samples: Samples, grid: tuple[int, int], fine: bool, threads: int
) -> Description | None:
    plane = samples[..., 0].astype(np.int16)
    corner = ((-grid[0]) % 8, (-grid[1]) % 8)
    height, width = plane.shape
    size = (height + corner[0], width + corner[1])
    shape = (-(-size[0] // 8), -(-size[1] // 8))
    fitted = fit_plane(*_bounds(plane, np.ones(plane.shape, bool)), corner, shape, fine, threads)
    if fitted is None:
        return None
    return _describe(samples, [fitted], 0, corner, size)


def _likely_spreads(
    ycc: Plane, grid: tuple[int, int], turns: list[tuple[bool, bool]]
) -> list[tuple[int, tuple[bool, bool]]]:
    """Indices of SPREADS and turns, the best first: by how well each explains some chroma."""
    height, width = ycc.shape[1:]
    wrong: list[tuple[float, int, tuple[bool, bool]]] = []
    top, left = max(0, height // 2 - 64) // 8 * 8, max(0, width // 2 - 64) // 8 * 8
    piece = ycc[:, top : top + 128, left : left + 128]
    for (index, kinds), turn in product(enumerate(SPREADS), turns):
        if kinds == (0, 0) or (turn[1] and kinds[1] != 2):
            continue
        planes, first = _turn_planes(piece, grid, turn)
        share = 0.0
        for plane in planes[1:]:
            share += _thin(plane, kinds, (first[0] % 2, first[1] % 2), (False,) * 4)[2].mean()
        wrong.append((share, index, turn))
    wrong.sort()
    likely = [(index, turn) for share, index, turn in wrong[:1] if share < 0.1]
    return [*likely, (0, turns[0])] if not likely or wrong[0][0] > 0.03 else likely


def _thin(
    plane: Plane,
    kinds: tuple[int, int],
    phase: tuple[int, int],
    ends: tuple[bool, ...],
    start: Plane | None = None,
) -> tuple[Plane, Samples, Samples]:
    bias = [8, 7, 8, 7] if kinds[0] == 2 else [4, 8, 4, 8] if kinds[1] == 2 else [8] * 4
    return _native.jpeg_thin(
        plane, kinds[0], kinds[1], phase[0] if kinds[0] else 0, phase[1], bias, list(ends), start
    )


def _ends(plane: Plane, kinds: tuple[int, int], phase: tuple[int, int]) -> tuple[bool, ...]:
    """At which ends (top, bottom, left, right) chroma is spread as at the end of a file."""
    depth = 16
    pieces = (plane[:depth], plane[-depth // 2 * 2 :], plane[:, :depth], plane[:, -depth:])
    out = []
    for i, piece in enumerate(pieces):
        if kinds[i // 2] != 2 or (i % 2 == 0 and phase[i // 2]):
            out.append(kinds[i // 2] != 2 and not phase[i // 2])
            continue
        at = list(phase)
        if i == 1:
            at[0] = (phase[0] + plane.shape[0] - piece.shape[0]) % 2
        if i == 3:
            at[1] = (phase[1] + plane.shape[1] - piece.shape[1]) % 2
        shares = []
        for end in (False, True):
            ends = [False] * 4
            ends[i] = end
            wrong = _thin(np.ascontiguousarray(piece), kinds, (at[0], at[1]), tuple(ends))[2]
            shares.append((wrong[:2], wrong[-2:], wrong[:, :2], wrong[:, -2:])[i].mean())
        out.append(bool(shares[1] < 2 * shares[0] + 0.002))
    return tuple(out)


def _split_colour(
    samples: Samples,
    ycc: Plane,
    grid: tuple[int, int],
    fine: bool,
    spread: int,
    threads: int,
) -> Description | None:
    kinds = SPREADS[spread]
    height, width, _ = samples.shape
    phase = (grid[0] % 2 if kinds[0] else 0, grid[1] % 2 if kinds[1] else 0)
    thin: list[tuple[Plane, NDArray[np.bool_]]] = []
    ends: tuple[bool, ...] = (True,) * 4
    if spread == 0:
        for plane in ycc[1:]:
            known = plane >= 0
            thin.append((np.pad(plane, 1), np.pad(known, 1)))
    else:
        both = [_ends(plane, kinds, phase) for plane in ycc[1:]]
        ends = tuple(a and b for a, b in zip(*both, strict=True))
        for plane in ycc[1:]:
            values, sure, _ = _thin(plane, kinds, phase, ends)
            thin.append((values, sure != 0))
    # Which of the corners it is that the luma leaves open.
    corner = []
    size = []
    inner = [(values[1:-1, 1:-1], known[1:-1, 1:-1]) for values, known in thin]
    options = []
    for axis in range(2):
        first = (-grid[axis]) % 8
        options.append([first, first + 8] if kinds[axis] else [first])
    if len(options[0]) * len(options[1]) > 1:
        scores: dict[tuple[int, int], float] = {}
        for y, x in product(*options):
            at = (_first_block(y, kinds[0]), _first_block(x, kinds[1]))
            scores[y, x] = 0.0
            for values, known in inner:
                blocks = _some_blocks(values, known, at, 4000)[:2000]
                scores[y, x] += _share_between(blocks) if len(blocks) else 1.0
        best = min(scores, key=lambda key: scores[key])
        corner = list(best)
    else:
        corner = [options[0][0], options[1][0]]
    for axis, length in enumerate((height, width)):
        # A crop at an MCU's end needs what lies before it.
        if corner[axis] == 0 and kinds[axis] == 2 and not ends[2 * axis]:
            corner[axis] = 16
        beyond = kinds[axis] == 2 and not ends[2 * axis + 1]
        size.append(corner[axis] + length + (1 if beyond else 0))
    # Whole MCUs.
    luma_shape, thin_shape, thin_corner = [], [], []
    for axis in range(2):
        unit = 16 if kinds[axis] else 8
        number = -(-size[axis] // unit)
        thin_shape.append(number)
        luma_shape.append(number * unit // 8)
        thin_corner.append((corner[axis] // 2 if kinds[axis] else corner[axis]) - 1)
    chroma = []
    at = (thin_corner[0], thin_corner[1])
    for i, (values, known) in enumerate(thin):
        if spread:
            for _ in range(2):
                start = _on_lattice(values, known, at)
                if start is None:
                    break
                other, sure, _ = _thin(ycc[1 + i], kinds, phase, ends, start)
                if np.count_nonzero(sure) <= np.count_nonzero(known):
                    break
                values, known = other, sure != 0
        bounds = _bounds(values, known)
        fitted = fit_plane(*bounds, at, (thin_shape[0], thin_shape[1]), fine, threads)
        if fitted is None:
            return None
        chroma.append(fitted)
    place = (corner[0], corner[1])
    whole = (size[0], size[1])
    part = (slice(corner[0], corner[0] + height), slice(corner[1], corner[1] + width))
    blue, red = (spread_plane(_samples(c), kinds, whole)[part] for c in chroma)
    low, high = np.zeros((height, width), np.int16), np.full((height, width), 255, np.int16)
    for i, added in enumerate(_parts(blue, red)):
        channel = samples[..., i].astype(np.int32)
        left = (channel - added).astype(np.int16)
        low = np.maximum(low, np.where(channel == 0, 0, left)).astype(np.int16)
        high = np.minimum(high, np.where(channel == 255, 255, left)).astype(np.int16)
    apart = low > high
    known = ycc[0] >= 0
    low, high = np.where(known, ycc[0], low), np.where(known, ycc[0], high)
    apart &= ~known
    low[apart | (low <= 0)] = NO_LOW
    high[apart | (high >= 255)] = NO_HIGH
    luma = fit_plane(low, high, place, (luma_shape[0], luma_shape[1]), fine, threads)
    if luma is None:
        return None
    return _describe(samples, [luma, *chroma], spread, place, whole)


def _first_block(corner: int, kind: int) -> int:
    """Where in the thin plane seen the first whole block begins."""
    return (-(corner // 2 if kind else corner)) % 8


def _samples(fitted: Fitted) -> Samples:
    """The plane of some blocks, by way of a file that has no other."""
    rows, columns = fitted.blocks.shape[:2]
    headers = _headers((rows * 8, columns * 8), [(1, 1)], [fitted.steps])
    file = _native.jpeg_write(headers, [fitted.blocks])
    return (
        _native.jpeg_samples(file, fitted.fine)[0][2]
        if file
        else np.zeros((rows * 8, columns * 8), np.uint8)
    )


def _describe(
    samples: Samples,
    planes: list[Fitted],
    spread: int,
    corner: tuple[int, int],
    size: tuple[int, int],
) -> Description | None:
    """The file of these planes, and what it does not give."""
    kinds = SPREADS[spread]
    factors = [(2 if kinds[1] else 1, 2 if kinds[0] else 1), (1, 1), (1, 1)][: len(planes)]
    headers = _headers(size, factors, [plane.steps for plane in planes])
    file = _native.jpeg_write(headers, [plane.blocks for plane in planes])
    if file is None or len(file) > 4 * samples.size or max(size) > 65535:
        return None
    given = _render(file, planes[0].fine, spread, corner, samples.shape)
    stray = (given != samples).any(-1)
    if np.count_nonzero(stray) > MOST_STRAYS * stray.size:
        return None
    moved = samples[stray] - given[stray]
    return Description(
        file, planes[0].fine, (False, False), spread, corner, stray.astype(np.uint8), moved
    )


ZIGZAG = sorted(
    range(64),
    key=lambda i: (i // 8 + i % 8, (i // 8) if (i // 8 + i % 8) % 2 else (i % 8)),
)


def _headers(
    size: tuple[int, int], factors: list[tuple[int, int]], steps: list[NDArray[np.uint16]]
) -> bytes:
    """All of a JPEG file up to its scan."""

    def segment(marker: int, body: bytes) -> bytes:
        return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body

    tables: list[bytes] = []
    for table in steps:
        one = bytes(int(table[place]) for place in ZIGZAG)
        if one not in tables:
            tables.append(one)
    which = [tables.index(bytes(int(table[place]) for place in ZIGZAG)) for table in steps]
    number = len(factors)
    frame = bytes([8]) + size[0].to_bytes(2, "big") + size[1].to_bytes(2, "big") + bytes([number])
    scan = bytes([number])
    for i, (h, v) in enumerate(factors):
        frame += bytes([i + 1, h << 4 | v, which[i]])
        scan += bytes([i + 1, 0x11 if i else 0])
    return b"".join(
        [
            b"\xff\xd8",
            *(segment(0xDB, bytes([i]) + table) for i, table in enumerate(tables)),
            segment(0xC0, frame),
            jpeg.WELL_KNOWN[0 if number > 1 else 1],
            segment(0xDA, scan + b"\x00\x3f\x00"),
        ]
    )
