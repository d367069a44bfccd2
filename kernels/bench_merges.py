"""Speed of byte pair encoding: python -m lmc.kernels.bench_merges [--json] MODEL FILE…

Tokens are first compared with those of the Hugging Face library. Times are of one thread.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from time import process_time

import numpy as np

from lmc.errors import Usage
from lmc.kernels._native import Merges
from lmc.models import registry
from lmc.models.tokenizer import Tokenizer, _Library

RUNS = 5


def fastest(tokenizer: Tokenizer, data: bytes) -> float:
    """Seconds that `data` takes at best."""
    times = []
    for _ in range(RUNS):
        started = process_time()
        tokenizer.encode(data)
        times.append(process_time() - started)
    return min(times)


def measure(model: str, data: bytes) -> dict[str, float]:
    """Tokens, and megabytes a second of both; RuntimeError unless their tokens are the same."""
    opened = registry.open_model(model)
    text, ids = opened.tensors["tokenizer.json"].tobytes(), opened.tensors["tokenizer.ids"]
    library = Tokenizer(opened.table, text, ids)
    if not isinstance(opened.tokenizer._by, Merges):
        raise Usage(f"{model} has a tokenizer of another kind")
    library._by = _Library(text, ids)
    found = opened.tokenizer.encode(data)
    if not np.array_equal(found, library.encode(data)):
        raise RuntimeError("the tokens differ")
    size = len(data) / 1e6
    return {
        "tokens": len(found),
        "native": size / max(fastest(opened.tokenizer, data), 1e-9),
        "library": size / max(fastest(library, data), 1e-9),
    }


def main() -> None:
    """Print one line a file, or one JSON object a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    for path in arguments.files:
        data = path.read_bytes()
        row = {"file": path.name, "size": len(data), **measure(arguments.model, data)}
        if arguments.json:
            print(json.dumps(row))
        else:
            print(
                f"{path.name:20} {row['size']:9} {row['tokens']:9} tokens, MB/s: native "
                f"{row['native']:.1f}, library {row['library']:.1f}"
            )


if __name__ == "__main__":
    main()
