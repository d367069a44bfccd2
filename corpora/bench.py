"""Sizes and times of lmc beside gzip, bzip2 and xz, for files of your own.

    python corpora/bench.py FILE…

For each file: bytes, bits per byte, and the megabytes of content per second there and back. Every
result is decompressed and compared. Times are of one run, in this process, after start-up.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import sys
import time
from collections.abc import Callable
from pathlib import Path

import lmc

Coder = Callable[[bytes], bytes]


def level(number: int) -> Coder:
    return lambda data: lmc.compress(data, level=number)


RIVALS: dict[str, tuple[Coder, Coder]] = {
    "gzip -9": (lambda data: gzip.compress(data, 9, mtime=0), gzip.decompress),
    "bzip2 -9": (lambda data: bz2.compress(data, 9), bz2.decompress),
    "xz -9e": (lambda data: lzma.compress(data, preset=9 | lzma.PRESET_EXTREME), lzma.decompress),
}
LEVELS: dict[str, tuple[Coder, Coder]] = {
    f"lmc -{number}": (level(number), lmc.decompress) for number in (1, 2, 4, 6, 9)
}


def main(paths: list[str]) -> None:
    for path in paths:
        data = Path(path).read_bytes()
        print(f"{path}: {len(data)} bytes")
        for name, (there, back) in (RIVALS | LEVELS).items():
            began = time.perf_counter()
            small = there(data)
            middle = time.perf_counter()
            if back(small) != data:
                raise SystemExit(f"{name} does not restore {path}")
            ended = time.perf_counter()
            megabytes = len(data) / 1e6
            print(
                f"  {name:9} {len(small):10d} bytes  {8 * len(small) / max(1, len(data)):6.3f} "
                f"bits per byte  {megabytes / (middle - began):9.3f} MB/s there  "
                f"{megabytes / (ended - middle):9.3f} MB/s back"
            )


if __name__ == "__main__":
    main(sys.argv[1:])
