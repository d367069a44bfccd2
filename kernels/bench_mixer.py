"""Size and speed of the byte models: python -m lmc.kernels.bench_mixer [--json] [--profile N] FILE…

Every figure is of a stream that was decoded and compared first. Times are of this process's CPU.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from time import process_time

from lmc.kernels import _native


def measure(data: bytes, profile: int) -> dict[str, float]:
    """Bytes of the coded stream, and seconds each way; RuntimeError unless it comes back."""
    started = process_time()
    payload = _native.encode_bytes(profile, data)
    encoded = process_time()
    back = _native.decode_bytes(profile, payload, len(data)) if data else b""
    decoded = process_time()
    if back != data:
        raise RuntimeError("the decoded bytes differ")
    return {
        "bytes": len(payload),
        "encode_seconds": encoded - started,
        "decode_seconds": decoded - encoded,
    }


def main() -> None:
    """Print one line a file and profile, or one JSON object a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--profile", type=int, choices=(1, 2, 3), action="append")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments = parser.parse_args()
    for path in arguments.files:
        data = path.read_bytes()
        for profile in arguments.profile or (1, 2):
            row = {"file": path.name, "size": len(data), "profile": profile}
            row |= measure(data, profile)
            if arguments.json:
                print(json.dumps(row))
                continue
            speeds = " ".join(
                f"{len(data) / max(float(row[k]), 1e-9) / 1e6:6.2f}"
                for k in ("encode_seconds", "decode_seconds")
            )
            rate = 8 * float(row["bytes"]) / max(len(data), 1)
            print(f"{path.name:20} {profile} {len(data):9} {row['bytes']:9} {rate:7.4f} {speeds}")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
