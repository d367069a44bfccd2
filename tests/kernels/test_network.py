"""The network: every kernel variant equals the reference, however the tokens are divided."""

from __future__ import annotations

import hashlib
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from lmc.kernels import _native as native
from lmc.kernels import reference as ref

Tensors = dict[str, np.ndarray[Any, Any]]
VARIANTS = native.kernel_names()


class Generator:
    """A 64-bit linear congruential generator; tests/kernels/arm/golden.cpp has the same."""

    def __init__(self, seed: int) -> None:
        self.state = seed

    def draw(self, n: int) -> Iterator[int]:
        for _ in range(n):
            self.state = (self.state * 6364136223846793005 + 1442695040888963407) & (1 << 64) - 1
            yield self.state >> 33

    def ints(self, low: int, high: int, *shape: int, kind: type = np.int32) -> Any:
        """Integers in [low, high], in C order."""
        span = high - low + 1
        n = int(np.prod(shape))
        return (
            np.array([low + d % span for d in self.draw(n)], np.int64).astype(kind).reshape(shape)
        )


CONFIG = {
    "dim": 48, "layers": 2, "heads": 4, "kv_heads": 2, "head_dim": 32, "hidden": 72,
    "vocab": 101, "extra": 2, "eps": 42950,
}  # fmt: skip


def model(
    config: dict[str, int], *, bias: bool = True, tied: bool = False, split: int = 7, seed: int = 1,
    reach: tuple[int, ...] = (), head_norms: str = "", own_rotary: tuple[int, ...] = (),
) -> Tensors:  # fmt: skip
    """A random model whose activations stay in a sensible range."""
    g = Generator(seed)
    c = config
    t: Tensors = {}

    def matrix(name: str, rows: int, columns: int, biased: bool, weight: bool = True) -> None:
        if weight:
            t[f"{name}.weight"] = g.ints(-127, 127, rows, columns, kind=np.int8)
        t[f"{name}.scale"] = g.ints(1 << 22, (1 << 24) - 1, rows)
        t[f"{name}.exponent"] = g.ints(33, 33, 1)
        if biased:
            t[f"{name}.bias"] = g.ints(-30000, 30000, rows)

    def norm(name: str) -> None:
        extra = g.ints(0, c["dim"] - 1, split)
        t[f"{name}.source"] = np.concatenate([np.arange(c["dim"], dtype=np.int32), extra])
        t[f"{name}.gain"] = g.ints(-(1 << 30), (1 << 31) - 1, c["dim"] + split)
        t[f"{name}.exponent"] = g.ints(30, 30, 1)

    matrix("embed", c["vocab"] + c["extra"], c["dim"], False)
    t["embed.exponent"] -= 4
    width = c["heads"] * c["head_dim"]
    for i in range(c["layers"]):
        norm(f"layers.{i}.attn_norm")
        matrix(f"layers.{i}.qkv", width + 2 * c["kv_heads"] * c["head_dim"], c["dim"], bias)
        matrix(f"layers.{i}.out", c["dim"], width, False)
        norm(f"layers.{i}.ffn_norm")
        matrix(f"layers.{i}.gate_up", 2 * c["hidden"], c["dim"], False)
        matrix(f"layers.{i}.down", c["dim"], c["hidden"], False)
    norm("final_norm")
    matrix("head", c["vocab"], c["dim"], bias, weight=not tied)
    step = (1 << 64) // 40
    if reach:
        t["reach"] = np.array(reach, np.int32)
    t["rotary.frequency"] = np.array(
        [step >> (i * 8 // c["head_dim"]) for i in range(c["head_dim"] // 2)], np.uint64
    )
    for i in range(c["layers"]):
        for part in head_norms:
            largest = (1 << 30) - 1
            t[f"layers.{i}.{part}_norm.gain"] = g.ints(-largest, largest, c["head_dim"])
            t[f"layers.{i}.{part}_norm.exponent"] = g.ints(28, 30, 1)
    for i, divisor in enumerate(own_rotary):  # 0: none of its own
        if divisor:
            t[f"layers.{i}.rotary.frequency"] = t["rotary.frequency"] // np.uint64(divisor)
    return t


def expected(
    tensors: Tensors, config: dict[str, int], lanes: list[int], tokens: list[int],
    window: int, anchor: int,
) -> np.ndarray[Any, np.dtype[np.int32]]:  # fmt: skip
    network = ref.ReferenceNetwork(tensors, config)
    cache = ref.ReferenceCache(network, max(lanes) + 1, window, anchor)
    return network.forward(cache, lanes, tokens)


def sequence(n: int, config: dict[str, int], seed: int = 5) -> list[int]:
    return [int(x) for x in Generator(seed).ints(0, config["vocab"] + config["extra"] - 1, n)]


SHAPES: dict[str, tuple[dict[str, int], dict[str, Any]]] = {
    "plain": ({}, {"bias": False, "split": 0}),
    "bias and split": ({}, {}),
    "tied": ({}, {"tied": True}),
    "multi-head": ({"heads": 3, "kv_heads": 3, "vocab": 64}, {}),
    "one key head": ({"heads": 5, "kv_heads": 1, "dim": 33, "hidden": 31, "vocab": 7}, {}),
    "reach": ({"layers": 4}, {"reach": (5, 0, 17, 40)}),
    "head norms": ({"layers": 3}, {"head_norms": "qk", "reach": (0, 9, 0)}),
    "a norm of keys": ({}, {"head_norms": "k", "bias": False}),
    "frequencies of its own": ({"layers": 4}, {"own_rotary": (0, 5, 1 << 63, 5)}),
    "all of them": (
        {"head_dim": 64, "layers": 3, "eps": 1 << 38},
        {"head_norms": "qk", "own_rotary": (1 << 63, 0, 3), "reach": (0, 11, 0)},
    ),
    "wide head": ({"heads": 2, "kv_heads": 1, "head_dim": 96, "layers": 1}, {}),
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("window", "anchor"), [(100, 0), (9, 0), (16, 5), (12, 19)])
def test_equals_reference(variant: str, shape: str, window: int, anchor: int) -> None:
    changes, features = SHAPES[shape]
    config = CONFIG | changes
    tensors = model(config, **features)
    tokens = sequence(45, config)
    want = expected(tensors, config, [0] * 45, tokens, window, anchor)
    network = native.Network(tensors, config, threads=1, variant=variant)
    cache = native.Cache(network, 1, window, anchor, 64)
    got = network.forward(cache, np.zeros(45, np.int32), np.array(tokens, np.int32))
    np.testing.assert_array_equal(got, want)
    assert len(set(map(int, want[:, 0]))) > 20  # the logits say something


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("threads", [1, 2])
def test_any_division_of_the_work(variant: str, threads: int) -> None:
    """Lanes behind an anchor: in lockstep, alone, in ragged chunks, in one pass."""
    config, lanes, steps, anchor, window = CONFIG, 64, 30, 11, 14
    tensors = model(config)
    head = sequence(anchor, config, 9)
    each = [sequence(steps, config, 100 + i) for i in range(lanes)]
    network = native.Network(tensors, config, threads=threads, variant=variant)

    def start() -> native.Cache:
        cache = native.Cache(network, lanes, window, anchor, 40)
        network.forward(cache, np.zeros(anchor, np.int32), np.array(head, np.int32), False)
        return cache

    def feed(cache: native.Cache, rows: list[tuple[int, int]]) -> Any:
        lane, token = np.array(rows, np.int32).reshape(-1, 2).T
        return network.forward(cache, lane.copy(), token.copy())

    want = expected(tensors, config, [0] * anchor + [3] * steps, head + each[3], window, anchor)
    cache = start()
    lockstep = np.stack(
        [feed(cache, [(i, each[i][s]) for i in range(lanes)]) for s in range(steps)]
    )
    np.testing.assert_array_equal(lockstep[:, 3], want[anchor:])

    whole = feed(start(), [(i, t) for i in range(lanes) for t in each[i]])
    np.testing.assert_array_equal(whole.reshape(lanes, steps, -1), lockstep.swapaxes(0, 1))

    cache = start()
    alone = np.concatenate([feed(cache, [(5, t)]) for t in each[5]])
    np.testing.assert_array_equal(alone, lockstep[:, 5])

    cache, done, g = start(), [0] * lanes, Generator(3)
    while min(done) < steps:
        rows, pieces = [], []
        for i in range(lanes):
            n = min(int(g.ints(0, 13, 1)[0]), steps - done[i])
            rows += [(i, t) for t in each[i][done[i] : done[i] + n]]
            pieces += [(done[i] + k, i) for k in range(n)]
            done[i] += n
        got = feed(cache, rows)
        for row, (step, i) in zip(got, pieces, strict=True):
            np.testing.assert_array_equal(row, lockstep[step, i])


def grow_tree(g: Generator, rows: int, config: dict[str, int]) -> tuple[list[int], list[int]]:
    """Parents and tokens of a random tree: chains, forks of forks, and several first tokens."""
    parents = [-1]
    for i in range(1, rows):
        kind = int(g.ints(0, 3, 1)[0])
        parents.append(i - 1 if kind < 2 else int(g.ints(-1, i - 1, 1)[0]))
    return parents, [int(t) for t in g.ints(0, config["vocab"] - 1, rows)]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    ("window", "anchor", "chunk", "features"),
    [
        (100, 0, 24, {}),
        (9, 0, 24, {}),
        (20, 5, 40, {"reach": (5, 0)}),
        (12, 19, 24, {"reach": (0, 30)}),
        (20, 5, 24, {"head_norms": "qk", "own_rotary": (1 << 63, 0)}),
    ],
)
def test_tree(variant: str, window: int, anchor: int, chunk: int, features: dict[str, Any]) -> None:
    """Each row of a tree has the logits of its way alone; ways that are kept are the lane's."""
    config, lanes = CONFIG, 3
    network = native.Network(model(config, **features), config, threads=2, variant=variant)
    cache = native.Cache(network, lanes, window, anchor, chunk)
    g = Generator(11)
    head = sequence(max(anchor, 3), config)
    said: list[list[int]] = [list(head), [], []]
    network.forward(cache, np.zeros(len(head), np.int32), np.array(head, np.int32), False)

    def alone(lane: int, tokens: list[int]) -> Any:
        fresh = native.Cache(network, lanes, window, anchor, 64)
        first = head[:anchor] if lane else []
        network.forward(fresh, np.zeros(len(first), np.int32), np.array(first, np.int32), False)
        at = np.full(len(tokens), lane, np.int32)
        return network.forward(fresh, at, np.array(tokens, np.int32))[-1]

    for turn in range(12):
        lane: list[int] = []
        parent: list[int] = []
        token: list[int] = []
        ways: list[list[int]] = []
        for number in range(lanes):
            parents, tokens = grow_tree(g, 1 + int(g.ints(0, chunk - 1, 1)[0]) % 30, config)
            base = len(lane)
            for p, t in zip(parents, tokens, strict=True):
                ways.append([*(ways[base + p] if p >= 0 else []), t])
            lane += [number] * len(tokens)
            parent += [p + base if p >= 0 else -1 for p in parents]
            token += tokens
        rows = (np.array(x, np.int32) for x in (lane, token, parent))
        got = network.forward_tree(cache, *rows)
        lengths = [cache.length(number) for number in range(lanes)]
        for i in range(turn % 5, len(lane), 5):
            np.testing.assert_array_equal(got[i], alone(lane[i], said[lane[i]] + ways[i]))
        assert lengths == [cache.length(number) for number in range(lanes)]
        for number in range(lanes):
            of_lane = [i for i in range(len(lane)) if lane[i] == number]
            kept = of_lane[int(g.ints(0, len(of_lane) - 1, 1)[0])]
            cache.keep(kept)
            said[number] += ways[kept]
            assert cache.length(number) == lengths[number] + len(ways[kept])
            with pytest.raises(ValueError, match="kept"):
                cache.keep(kept)
    for number in range(lanes):
        last = sequence(1, config, 50 + number)
        got = network.forward(cache, np.array([number], np.int32), np.array(last, np.int32))
        np.testing.assert_array_equal(got[-1], alone(number, said[number] + last))


def test_bad_trees() -> None:
    network = native.Network(model(CONFIG), CONFIG, threads=1)
    cache = native.Cache(network, 2, 10, 2, 4)

    def tree(lane: list[int], parent: list[int]) -> None:
        rows = (np.array(x, np.int32) for x in (lane, [1] * len(lane), parent))
        network.forward_tree(cache, *rows)

    with pytest.raises(ValueError, match="anchor"):
        tree([0], [-1])
    network.forward(cache, np.zeros(2, np.int32), np.ones(2, np.int32), False)
    for lane, parent, why in (
        ([0], [0], "follow"), ([0, 0], [-1, 5], "follow"), ([0, 1], [-1, 0], "follow"),
        ([0, 0], [-2, 0], "follow"), ([0] * 5, [-1, 0, 1, 2, 3], "chunk"),
        ([0, 1, 0], [-1] * 3, "consecutive"), ([0], [-1, 0], "long"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=why):
            tree(lane, parent)
    with pytest.raises(ValueError, match="row"):
        cache.keep(0)
    tree([0, 0], [-1, 0])
    with pytest.raises(ValueError, match="row"):
        cache.keep(2)
    network.forward(cache, np.zeros(1, np.int32), np.ones(1, np.int32), False)
    with pytest.raises(ValueError, match="row"):
        cache.keep(0)
    assert cache.length(0) == 3


def check_against_reference(
    tensors: Tensors, config: dict[str, int], count: int, sizes: tuple[int, ...]
) -> None:
    """Every variant gives the reference's logits of `count` tokens, in passes of each size."""
    tokens = sequence(count, config)
    want = expected(tensors, config, [0] * count, tokens, 8, 2)
    for variant, rows in itertools.product(VARIANTS, sizes):
        network = native.Network(tensors, config, threads=1, variant=variant)
        cache = native.Cache(network, 1, 8, 2, 64)
        got = [
            network.forward(
                cache, np.zeros(rows, np.int32), np.array(tokens[i : i + rows], np.int32)
            )
            for i in range(0, count, rows)
        ]
        np.testing.assert_array_equal(np.concatenate(got), want)


def test_largest_sums() -> None:
    """Rows of +-127 and of alternating signs: the worst for 16-bit intermediate sums."""
    config = CONFIG | {"dim": 64}
    tensors = model(config, bias=False)
    for name, t in tensors.items():
        if name.endswith(".weight"):
            t[::3] = 127
            t[1::3] = -127
            t[2::3, ::2] = 127
    check_against_reference(tensors, config, 20, (1, 20))


@pytest.mark.parametrize("most", [120, 80, 64, 40, 20])
def test_weights_of_any_size(most: int) -> None:
    """How many products are added in 16 bits depends on the weights, the sums do not."""
    tensors = model(CONFIG, seed=most)
    for name, t in tensors.items():
        if name.endswith(".weight"):
            t //= max(1, 127 // most)
            t[0, : 2 * most] = 127  # full groups among them, of either sign
            t[1, ::7] = -127
    check_against_reference(tensors, CONFIG, 20, (1, 5, 20))


def test_wild_scales() -> None:
    """Exponents and gains far from sense saturate alike everywhere."""
    g = Generator(77)
    for turn in range(16):
        norms = "qk" if turn >= 12 else ""
        tensors = model(CONFIG, seed=int(g.ints(0, 1000, 1)[0]), head_norms=norms)
        for name, t in tensors.items():
            if name.endswith(".exponent"):
                t += g.ints(-20, 20, 1)
        check_against_reference(tensors, CONFIG, 12, (12,))


GOLDEN = "165265042fabfd948789995aac335a49d793d6aeff6b8c312457d06bc1289301"


def golden_logits(variant: str) -> bytes:
    network = native.Network(model(CONFIG), CONFIG, threads=1, variant=variant)
    cache = native.Cache(network, 1, 16, 5, 64)
    tokens = np.array(sequence(45, CONFIG), np.int32)
    out: bytes = network.forward(cache, np.zeros(45, np.int32), tokens).astype("<i4").tobytes()
    return out


@pytest.mark.parametrize("variant", VARIANTS)
def test_golden_logits(variant: str) -> None:
    """The arithmetic's revision 1 never changes: the hash is a part of the format."""
    assert hashlib.sha256(golden_logits(variant)).hexdigest() == GOLDEN


def test_variant_is_forced_by_the_environment() -> None:
    code = "from lmc.kernels import _native as n; print(n.kernel_names())"
    env = os.environ | {"LMC_KERNELS": "scalar"}
    subprocess.run([sys.executable, "-c", code], env=env, check=True)
    tensors = model(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMC_KERNELS", "scalar")
        assert native.Network(tensors, CONFIG).variant == "scalar"
        patch.setenv("LMC_KERNELS", "abacus")
        with pytest.raises(ValueError, match="abacus"):
            native.Network(tensors, CONFIG)
        patch.delenv("LMC_KERNELS")
        assert native.Network(tensors, CONFIG).variant == VARIANTS[-1]


def broken(name: str, change: Any) -> Tensors:
    tensors = model(CONFIG)
    tensors[name] = change(tensors[name])
    return tensors


def put(value: int) -> Any:
    def change(t: Any) -> Any:
        t.flat[t.size // 2] = value
        return t

    return change


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("embed.weight", put(-128)),
        ("layers.1.qkv.weight", put(-128)),
        ("layers.1.qkv.weight", lambda t: t[:-1]),
        ("layers.1.qkv.weight", lambda t: t.astype(np.int32)),
        ("layers.1.qkv.weight", lambda t: t.reshape(-1)),
        ("layers.0.out.scale", put(-1)),
        ("layers.0.out.scale", put(1 << 24)),
        ("layers.0.out.exponent", put(200)),
        ("layers.0.qkv.bias", put(1 << 30)),
        ("layers.0.attn_norm.source", put(48)),
        ("layers.0.attn_norm.source", put(-1)),
        ("layers.0.attn_norm.source", lambda t: t[:0]),
        ("layers.0.attn_norm.gain", lambda t: t[:-1]),
        ("layers.0.attn_norm.gain", put(-(1 << 31))),
        ("rotary.frequency", lambda t: t[:-1]),
        ("rotary.frequency", lambda t: t.astype(np.int64)),
    ],
)
def test_malformed_tensors_are_refused(name: str, change: Any) -> None:
    with pytest.raises(ValueError, match=name.rsplit(".", 1)[0]):
        native.Network(broken(name, change), CONFIG)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("layers.1.q_norm.gain", put(1 << 30)),
        ("layers.1.k_norm.gain", lambda t: t[:-1]),
        ("layers.0.k_norm.exponent", put(97)),
        ("layers.1.rotary.frequency", lambda t: t[:-1]),
        ("layers.1.rotary.frequency", lambda t: t.astype(np.int64)),
    ],
)
def test_malformed_heads_are_refused(name: str, change: Any) -> None:
    tensors = model(CONFIG, head_norms="qk", own_rotary=(0, 3))
    tensors[name] = change(tensors[name].copy())
    with pytest.raises(ValueError, match=name.rsplit(".", 1)[0]):
        native.Network(tensors, CONFIG)


def test_the_same_frequencies_again_change_nothing() -> None:
    """Zeros mean: no rotation; a copy of the common table means: the common table."""
    tokens = sequence(30, CONFIG)
    common, own, still = (
        expected(model(CONFIG, own_rotary=divisors), CONFIG, [0] * 30, tokens, 40, 0)
        for divisors in ((), (1, 1), (1 << 63, 1 << 63))
    )
    np.testing.assert_array_equal(common, own)
    assert (common[1:] != still[1:]).mean() > 0.9
    np.testing.assert_array_equal(common[0], still[0])  # nothing to turn at position 0 but itself


def test_missing_tensors_are_refused() -> None:
    tensors = model(CONFIG)
    for name in tensors:
        if name.endswith(".bias") or name == "head.weight":
            continue
        less = {k: v for k, v in tensors.items() if k != name}
        with pytest.raises(ValueError, match=name):
            native.Network(less, CONFIG)


def test_the_widest_sum() -> None:
    """65,504 inputs of the largest magnitude stay below the bound of 2^30; more are refused."""
    config = CONFIG | {"dim": 8, "vocab": 5}

    def wide(n: int) -> Tensors:
        tensors = model(config, bias=False)
        tensors["final_norm.source"] = np.zeros(n, np.int32)
        tensors["final_norm.gain"] = np.full(n, (1 << 31) - 1, np.int32)
        tensors["head.weight"][:] = [[127], [-127], [1], [126], [0]]
        return tensors

    want = expected(wide(65504), config, [0], [3], 4, 0)
    for variant in VARIANTS:
        network = native.Network(wide(65504), config, threads=1, variant=variant)
        got = network.forward(
            native.Cache(network, 1, 4), np.zeros(1, np.int32), np.full(1, 3, np.int32)
        )
        np.testing.assert_array_equal(got, want)
    with pytest.raises(ValueError, match="final_norm"):
        native.Network(wide(65505), config)
    big = np.full((1, 70000), 127, np.int64)
    with pytest.raises(ValueError, match="overflow"):
        ref.matrix(big, np.ones(1, np.int64), 30)


@pytest.mark.parametrize(
    "change",
    [{"dim": 0}, {"head_dim": 40}, {"heads": 3}, {"layers": -1}, {"eps": -1}, {"hidden": 1 << 20}],
)
def test_impossible_architectures_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"range|multiple"):
        native.Network(model(CONFIG), CONFIG | change)


def test_misuse_is_refused() -> None:
    network = native.Network(model(CONFIG), CONFIG, threads=1)
    cache = native.Cache(network, 2, 8, 3, 8)
    lane = np.zeros(1, np.int32)
    for bad_lane, bad_token in ((2, 0), (-1, 0), (0, 103), (0, -1), (1, 0)):
        with pytest.raises(ValueError, match=r"range|anchor"):
            network.forward(cache, lane + bad_lane, lane + bad_token)
    assert (cache.length(0), cache.length(1)) == (0, 3)
    with pytest.raises(ValueError, match="consecutive"):
        network.forward(
            native.Cache(network, 2, 8, 0, 8), np.array([0, 1, 0], np.int32), np.zeros(3, np.int32)
        )
    with pytest.raises(ValueError, match="length"):
        network.forward(cache, lane, np.zeros(2, np.int32))
    with pytest.raises(ValueError, match="logits"):
        network.forward(cache, lane, lane, np.zeros((1, 5), np.int32))
    for window, anchor in ((0, 0), (1, -1), (4096, 1)):
        with pytest.raises(ValueError, match="range"):
            native.Cache(network, 1, window, anchor, 8)
