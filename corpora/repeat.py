"""Whether a benchmark can be repeated: two runs of `lmc bench` on the same files, side by side.

    lmc bench --fresh --results A.jsonl FILE…; lmc bench --fresh --results B.jsonl FILE…
    python corpora/repeat.py A.jsonl B.jsonl

Prints one JSON object: results that both have, those whose sizes differ, and for each tool how its
speed among the others has changed: the seconds of all its files in B by those in A, divided by the
median of that over all tools, which takes out what the whole machine did.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from lmc.bench import store

WAYS = ("encode_s", "decode_s")


def known(path: str) -> dict[tuple[str, ...], dict[str, Any]]:
    """Results by file, tool and protocol."""
    rows = store.latest(store.read(Path(path)))
    return {(r["sha256"], r["tool"], r["protocol"]): r for r in rows if "bytes" in r}


def compare(one: str, two: str) -> dict[str, Any]:
    """What the docstring above says."""
    a, b = known(one), known(two)
    both = sorted(a.keys() & b.keys())
    seconds: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for key in both:
        for way in WAYS:
            for place, rows in enumerate((a, b)):
                seconds[f"{key[1]} {way[:6]}s"][place] += rows[key][way]
    changes = {tool: second / first for tool, (first, second) in seconds.items()}
    usual = statistics.median(changes.values())
    relative = {tool: round(change / usual, 3) for tool, change in changes.items()}
    return {
        "results": len(both),
        "of one run alone": len(a.keys() ^ b.keys()),
        "sizes that differ": sum(a[key]["bytes"] != b[key]["bytes"] for key in both),
        "the machine's change": round(usual, 3),
        "within 10 %": f"{sum(abs(r - 1) <= 0.1 for r in relative.values())} of {len(relative)}",
        "by tool": dict(sorted(relative.items(), key=lambda item: item[1])),
    }


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    print(json.dumps(compare(*sys.argv[1:]), indent=1))
