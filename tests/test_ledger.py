"""The size ledger: the bytes that a fixed small set of contents becomes at each level.

Any change in it is a change in what lmc writes, and must be meant: `REWRITE=1 pytest
tests/test_ledger.py` writes down what is so now; look at the difference before you commit it.
Levels from 7 on use `lmc-small` here, for the largest model that is installed is not the same
everywhere.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import lmc
from lmc.bench import content, synthetic
from lmc.codecs.base import LEVELS

TESTS = Path(__file__).parent
LEDGER = TESTS / "ledger.json"
CODECS = TESTS / "codecs"


def contents() -> dict[str, bytes]:
    """Nothing in here may ever change but by adding."""
    book = (TESTS.parent / "corpora" / "time-machine.txt").read_bytes()
    return {
        "nothing": b"",
        "one byte": b"a",
        "a line": b"to be, or not to be: that is the question\n",
        "book, 1500 bytes": book[10_000:11_500],
        "zeros, 4 KiB": bytes(4096),
        "noise, 1 KiB": synthetic.noise(256, 9).tobytes(),
        "records": synthetic.table(200),
        "palette.png": (CODECS / "image" / "palette.png").read_bytes(),
        "alpha.png": (CODECS / "image" / "alpha.png").read_bytes(),
        "420.jpg": (CODECS / "jpeg" / "420.jpg").read_bytes(),
        "tone": content.wav(synthetic.tone(600, 2), 16, 16000),
        "clip": synthetic.clip(2, 16, 16),
    }


def measured() -> dict[str, dict[str, int]]:
    """By content and level."""
    out: dict[str, dict[str, int]] = {}
    for name, data in contents().items():
        out[name] = {"bytes": len(data)}
        for level in LEVELS:
            model = "lmc-small" if level >= 7 else None
            small = lmc.compress(data, level, model=model)
            assert lmc.decompress(small) == data
            out[name][f"-{level}"] = len(small)
    return out


def test_sizes_are_those_of_the_ledger() -> None:
    found = measured()
    if os.environ.get("REWRITE"):
        lines = [f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in found.items()]
        LEDGER.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    assert found == json.loads(LEDGER.read_text(encoding="utf-8"))
