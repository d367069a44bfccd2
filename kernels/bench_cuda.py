"""A GPU's logits against the processor's, and its speed.

    python -m lmc.kernels.bench_cuda MODEL FILE… [--tokens N] [--device cuda:0] [--json]

The text of the files goes through both, in passes of 1 to 4,096 rows: single steps of many lanes,
whole runs of few, and trees. Before any time is told, all logits must be equal. Speeds are tokens
per second with the logits in the processor's memory.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lmc.kernels import _native as native
from lmc.kernels import gpu

Ints = npt.NDArray[np.int32]

# lanes, steps of a pass, window, anchor
SHAPES = (
    (1, 1, 512, 16), (4096, 1, 64, 0), (1, 256, 768, 16), (64, 4, 768, 4), (64, 1, 768, 4),
    (256, 4, 256, 128), (16, 64, 1024, 4), (2, 200, 2048, 128),
)  # fmt: skip


def compared(
    processor: native.Engine, other: native.Engine, ids: Ints, tokens: int
) -> dict[str, int]:
    """Rows whose logits both have computed, and how many logits differ."""
    rows = wrong = trees = 0
    at = 0

    def more(count: int) -> Ints:
        nonlocal at
        at += count
        return ids.take(np.arange(at - count, at), mode="wrap")

    while rows < tokens:
        for lanes, steps, window, anchor in SHAPES:
            caches = [
                native.Cache(e, lanes, window, anchor, max(steps, 24)) for e in (processor, other)
            ]
            if lanes > 1 and anchor:
                first, given = np.zeros(anchor, np.int32), more(anchor)
                for engine, cache in zip((processor, other), caches, strict=True):
                    engine.forward(cache, first, given, False)
            lane = np.repeat(np.arange(lanes, dtype=np.int32), steps)
            for _ in range(max(3, 2048 // len(lane))):
                given = more(len(lane))
                one, two = (
                    engine.forward(cache, lane, given)
                    for engine, cache in zip((processor, other), caches, strict=True)
                )
                wrong += int(np.count_nonzero(one != two))
                rows += len(lane)
            if lanes <= 64:  # a chain that forks at each token, for some lanes
                lane = np.repeat(np.arange(min(lanes, 5), dtype=np.int32), 24)
                parent = np.concatenate(
                    [np.maximum(-1, np.arange(24) // 2 * 2 - 2) for _ in range(min(lanes, 5))]
                )
                first = np.repeat(np.arange(min(lanes, 5)) * 24, 24)
                parent = np.where(parent < 0, -1, parent + first).astype(np.int32)
                given = more(len(lane))
                one, two = (
                    engine.forward_tree(cache, lane, given, parent)
                    for engine, cache in zip((processor, other), caches, strict=True)
                )
                wrong += int(np.count_nonzero(one != two))
                rows, trees = rows + len(lane), trees + len(lane)
    return {"rows": rows, "of trees": trees, "logits that differ": wrong}


def speeds(engine: native.Engine, ids: Ints) -> dict[str, float]:
    """Tokens per second by the rows of a pass, each of a lane that has seen 512 tokens."""
    out = {}
    for lanes in (1, 16, 64, 256, 1024):
        cache = native.Cache(engine, lanes, 512, 0, 1)
        lane, given = np.arange(lanes, dtype=np.int32), ids.take(np.arange(lanes), mode="wrap")
        logits = np.empty((lanes, engine.vocab), np.int32)
        for _ in range(512):
            engine.forward(cache, lane, given, False)
        taken = []
        for _ in range(9):
            began = time.perf_counter()
            engine.forward(cache, lane, given, logits)
            taken.append(time.perf_counter() - began)
        out[str(lanes)] = round(lanes / sorted(taken)[4], 1)
    return out


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lmc.kernels.bench_cuda", description=__doc__)
    parser.add_argument("model")
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--tokens", type=int, default=100_000)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    found = parser.parse_args(arguments)
    from lmc.models import registry

    gpu.use("cpu")
    model = registry.open_model(found.model)
    processor = model.network(found.threads)
    gpu.use(found.device)
    number = gpu.chosen()[0]
    other = gpu.engine(model.tensors, asdict(model.card.architecture), 1, number)
    ids = np.concatenate([model.tokenizer.encode(path.read_bytes()) for path in found.files])
    facts: dict[str, Any] = {
        "model": model.card.name,
        "identity": model.card.identity,
        "gpu": gpu.names()[number],
        "processor": f"{processor.variant}, {os.cpu_count()} cores",
    }
    facts |= compared(processor, other, np.asarray(ids, np.int32), found.tokens)
    if facts["logits that differ"] == 0:
        facts["tokens a second by rows"] = speeds(other, np.asarray(ids, np.int32))
    print(json.dumps(facts, indent=None if found.json else 1))
    return int(facts["logits that differ"] != 0)


if __name__ == "__main__":
    sys.exit(main())
