"""What no draft can beat: python -m lmc.models.train.bound MODEL FILE… [--guesses 15 63]

The target drafts for itself: at every stop of a decoder the tree holds the guesses that the target
finds likeliest, by the product of its own probabilities along their paths, which is the tree with
the most tokens per pass to be expected. Real text is then followed through it as in
lmc.models.train.prism_eval. It costs many passes for each one that it stands for.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lmc.kernels import _native, gpu
from lmc.models import registry

Ints = npt.NDArray[np.int32]

WINDOW, ANCHOR = 1024, 16
CHILDREN = 24  # of a node that are looked at


def best_children(logits: Ints) -> tuple[Ints, npt.NDArray[np.float64]]:
    """Tokens and log2 of their probabilities, [rows, CHILDREN], of logits [rows, vocab]."""
    bits = logits / 65536
    top = bits.max(1, keepdims=True)
    whole = top[:, 0] + np.log2(np.exp2(bits - top).sum(1))
    found = np.argpartition(-logits, CHILDREN, 1)[:, :CHILDREN]
    return found.astype(np.int32), np.take_along_axis(bits, found, 1) - whole[:, None]


def grow(
    engine: _native.Engine, cache: _native.Cache, known: int, guesses: int
) -> tuple[list[int], list[int]]:
    """Tokens and parents of the likeliest tree behind the token `known`, which is its root."""
    tokens, parents, worth = [known], [-1], [0.0]
    while True:
        rows = np.zeros(len(tokens), np.int32)
        logits = engine.forward_tree(
            cache, rows, np.array(tokens, np.int32), np.array(parents, np.int32)
        )
        children, scores = best_children(logits)
        # Every path that these rows know of; the same ones as before, and perhaps longer ones.
        paths = [
            (worth[i] + float(scores[i, c]), i, int(children[i, c]))
            for i in range(len(tokens))
            for c in range(CHILDREN)
        ]
        paths.sort(reverse=True)
        old = {(parents[i], tokens[i]): i for i in range(1, len(tokens))}
        place = {0: 0}  # from the old rows to the new ones; parents come before their children
        chosen = ([known], [-1], [0.0])
        for score, parent, token in paths[:guesses]:
            row = old.get((parent, token))
            if row is not None:
                place[row] = len(chosen[0])
            chosen[0].append(token)
            chosen[1].append(place[parent])
            chosen[2].append(score)
        if chosen[0] == tokens and chosen[1] == parents:
            return tokens, parents
        tokens, parents, worth = chosen


def measure(engine: _native.Engine, begin: int, ids: Ints, guesses: int) -> float:
    """Tokens per pass over a text."""
    cache = _native.Cache(engine, 1, WINDOW, ANCHOR, guesses + 1)
    first = np.concatenate([[begin], ids[: ANCHOR - 1]]).astype(np.int32)
    engine.forward(cache, np.zeros(len(first), np.int32), first, False)
    at, passes, start = ANCHOR - 1, 0, ANCHOR - 1
    while at + 1 < len(ids):
        tokens, parents = grow(engine, cache, int(ids[at]), guesses)
        passes += 1
        row = 0
        while at + 1 < len(ids):
            at += 1
            below = [
                i for i in range(len(tokens)) if parents[i] == row and tokens[i] == int(ids[at])
            ]
            if not below:
                break
            row = below[0]
        cache.keep(row)
    return (at - start) / passes


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m lmc.models.train.bound", description=__doc__)
    parser.add_argument("model")
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--guesses", type=int, nargs="*", default=[15, 63])
    parser.add_argument("--bytes", type=int, default=2000, help="of each file, from its middle")
    parser.add_argument("--device", default="auto")
    found = parser.parse_args()
    gpu.use(found.device)
    model = registry.open_model(found.model)
    engine = model.network(0)
    for path in found.files:
        data = path.read_bytes()
        text = data[len(data) // 2 :][: found.bytes]
        ids = np.array(model.tokenizer.encode(text), np.int32)
        facts = {n: round(measure(engine, engine.vocab, ids, n), 3) for n in found.guesses}
        print(
            json.dumps({"file": path.name, "tokens": len(ids), "tokens per pass": facts}),
            flush=True,
        )


if __name__ == "__main__":
    main()
