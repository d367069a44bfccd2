"""Speed of the network: tokens per second and core, decoding and teacher-forced.

    python -m lmc.kernels.bench_network [--variant NAME] [--threads N] [--model FILE] [--json]

Without --model the weights are random, in the shape of a 135M-parameter model. Before anything is
timed, the variant's logits are compared with those of the scalar kernels. The figures are processor
time (what other programs take from the machine does not count), medians of several steps.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

import numpy as np

from lmc.kernels import _native as native

Tensors = dict[str, np.ndarray[Any, Any]]

SHAPE = {
    "dim": 576, "layers": 30, "heads": 9, "kv_heads": 3, "head_dim": 64, "hidden": 1536,
    "vocab": 49152, "extra": 1, "eps": 42950,
}  # fmt: skip


def random_model(shape: dict[str, int], seed: int = 0) -> Tensors:
    """Normally distributed weights, three standard deviations to 110."""
    rng = np.random.default_rng(seed)
    t: Tensors = {}

    def matrix(name: str, rows: int, columns: int, exponent: int) -> None:
        w = rng.standard_normal((rows, columns), np.float32) * np.float32(36)
        t[f"{name}.weight"] = np.clip(np.rint(w), -127, 127).astype(np.int8)
        t[f"{name}.scale"] = np.full(rows, 1 << 23, np.int32)
        t[f"{name}.exponent"] = np.array([exponent], np.int32)

    def norm(name: str) -> None:
        t[f"{name}.source"] = np.arange(shape["dim"], dtype=np.int32)
        t[f"{name}.gain"] = np.full(shape["dim"], 1 << 30, np.int32)
        t[f"{name}.exponent"] = np.array([30], np.int32)

    width = shape["heads"] * shape["head_dim"]
    matrix("embed", shape["vocab"] + shape["extra"], shape["dim"], 28)
    for i in range(shape["layers"]):
        norm(f"layers.{i}.attn_norm")
        matrix(
            f"layers.{i}.qkv", width + 2 * shape["kv_heads"] * shape["head_dim"], shape["dim"], 33
        )
        matrix(f"layers.{i}.out", shape["dim"], width, 34)
        norm(f"layers.{i}.ffn_norm")
        matrix(f"layers.{i}.gate_up", 2 * shape["hidden"], shape["dim"], 33)
        matrix(f"layers.{i}.down", shape["dim"], shape["hidden"], 34)
    norm("final_norm")
    t["head.scale"] = t["embed.scale"][: shape["vocab"]].copy()
    t["head.exponent"] = np.array([32], np.int32)
    half = shape["head_dim"] // 2
    t["rotary.frequency"] = np.array(
        [(1 << 61) >> (i * 16 // half) for i in range(half)], np.uint64
    )
    return t


def model_file(path: str) -> tuple[Tensors, dict[str, int]]:
    """A safetensors model with the card in its metadata."""
    from safetensors import safe_open

    with safe_open(path, "numpy") as f:
        card = json.loads(f.metadata()["lmc"])
        return {name: f.get_tensor(name) for name in f.keys()}, card["architecture"]  # noqa: SIM118


def check(tensors: Tensors, shape: dict[str, int], network: native.Network) -> None:
    """The variant's logits, in one pass and step by step, are the scalar kernels'."""
    tokens = np.random.default_rng(1).integers(0, shape["vocab"], 12).astype(np.int32)
    lane = np.zeros(12, np.int32)
    scalar = native.Network(tensors, shape, threads=network.threads, variant="scalar")
    want = scalar.forward(native.Cache(scalar, 1, 8, 2), lane, tokens)
    got = network.forward(native.Cache(network, 1, 8, 2), lane, tokens)
    cache = native.Cache(network, 1, 8, 2)
    steps = [network.forward(cache, lane[:1], tokens[i : i + 1]) for i in range(12)]
    if not (np.array_equal(got, want) and np.array_equal(np.concatenate(steps), want)):
        sys.exit("the kernels disagree: nothing was timed")


def timed(
    network: native.Network, lanes: int, rows: int, window: int, vocab: int
) -> dict[str, float]:
    """Decodes `lanes` lanes in lockstep, or feeds `rows` tokens of one lane, at a full window."""
    cache = native.Cache(network, lanes, window, 0, 128)
    rng = np.random.default_rng(2)

    def tokens(n: int) -> np.ndarray[Any, np.dtype[np.int32]]:
        return rng.integers(0, vocab, n).astype(np.int32)

    for lane in range(lanes):
        for _ in range(0, window, 128):
            network.forward(cache, np.full(128, lane, np.int32), tokens(128), False)
    lane_of = np.arange(lanes, dtype=np.int32) if rows == 1 else np.zeros(rows, np.int32)
    logits = np.zeros((len(lane_of), vocab), np.int32)
    cpu, wall = [], []
    for _ in range(max(7, 60 // len(lane_of))):
        token = tokens(len(lane_of))
        c, w = time.process_time(), time.perf_counter()
        network.forward(cache, lane_of, token, logits)
        cpu.append(time.process_time() - c)
        wall.append(time.perf_counter() - w)
    return {
        "tokens_per_core_second": round(len(lane_of) / float(np.median(cpu)), 1),
        "best_tokens_per_core_second": round(len(lane_of) / min(cpu), 1),
        "tokens_per_second": round(len(lane_of) / float(np.median(wall)), 1),
        "cache_megabytes": round(cache.bytes / 1e6, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variant", default="", help="kernels to time (default: the fastest)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--window", type=int, default=512)
    parser.add_argument("--batches", type=int, nargs="*", default=[1, 8, 32, 64])
    parser.add_argument("--model", help="model file instead of random weights")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    tensors, shape = model_file(args.model) if args.model else (random_model(SHAPE), SHAPE)
    network = native.Network(tensors, shape, threads=args.threads, variant=args.variant)
    check(tensors, shape, network)
    result: dict[str, Any] = {
        "variant": network.variant,
        "threads": args.threads,
        "window": args.window,
        "weight_megabytes": round(network.bytes / 1e6, 1),
        "teacher_forced": timed(network, 1, 128, args.window, shape["vocab"]),
    }
    for lanes in args.batches:
        result[f"decode_{lanes}"] = timed(network, lanes, 1, args.window, shape["vocab"])
    if args.json:
        print(json.dumps(result))
        return
    print(f"{network.variant}, {args.threads} thread(s), window {args.window}")
    for name, got in result.items():
        if isinstance(got, dict):
            print(f"  {name:16}" + "".join(f"  {k} {v}" for k, v in got.items()))


if __name__ == "__main__":
    main()
