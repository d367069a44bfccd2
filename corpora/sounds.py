"""Lossless audio compressors beside lmc: `figures.py audio`.

WAV files go to each as they are; FLAC files are decoded first, and all compressors, lmc too, get
the WAV. What lmc writes is decoded and compared. Speeds are multiples of real time.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path
from typing import Any

import lmc
from lmc.codecs.base import DEFAULT_LEVEL

Facts = dict[str, Any]

# Each writes what it makes of IN to OUT.
TOOLS = {
    "flac -8ep": ["flac", "-s", "-8ep", "-f", "-o", "OUT", "IN"],
    "wavpack -hhx6": ["wavpack", "-q", "-y", "-hhx6", "IN", "-o", "OUT"],
}


def by_tool(command: list[str], source: Path) -> int:
    target = source.with_suffix(".wv")
    target.unlink(missing_ok=True)
    words = {"IN": str(source), "OUT": str(target)}
    subprocess.run([words.get(w, w) for w in command], check=True, capture_output=True)
    return target.stat().st_size


def by_lmc(data: bytes, level: int, threads: int) -> Facts:
    began = time.perf_counter()
    small = lmc.compress(data, level, threads=threads)
    middle = time.perf_counter()
    same = lmc.decompress(small, threads=threads) == data
    end = time.perf_counter()
    return {"bytes": len(small), "encode_s": middle - began, "decode_s": end - middle, "same": same}


def measure(path: Path, level: int, threads: int, tools: dict[str, list[str]]) -> Facts:
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "sound.wav"
        if path.suffix.lower() == ".flac":
            subprocess.run(["flac", "-s", "-d", "-f", "-o", source, path], check=True)
        else:
            shutil.copyfile(path, source)
        with wave.open(str(source)) as sound:
            seconds = sound.getnframes() / sound.getframerate()
            facts: Facts = {
                "file": path.name,
                "rate": sound.getframerate(),
                "channels": sound.getnchannels(),
                "seconds": seconds,
            }
        facts["wav"] = source.stat().st_size
        for name, command in tools.items():
            facts[name] = by_tool(command, source)
        facts.update(by_lmc(source.read_bytes(), level, threads))
    return facts


def total(what: str, rows: list[Facts], tools: dict[str, list[str]]) -> Facts:
    def add(key: str) -> Any:
        return sum(row[key] for row in rows)

    facts: Facts = {"total": what, "files": len(rows)}
    facts.update({key: add(key) for key in ("seconds", "wav", *tools, "bytes")})
    facts.update({key: add(key) for key in ("encode_s", "decode_s")})
    for name in tools:
        facts[f"under {name}, %"] = round(100 * (1 - facts["bytes"] / facts[name]), 2)
    facts["encode, times real time"] = round(facts["seconds"] / facts["encode_s"], 2)
    facts["decode, times real time"] = round(facts["seconds"] / facts["decode_s"], 2)
    facts["same"] = all(row["same"] for row in rows)
    return facts


def tell(facts: Facts) -> None:
    rounded = {k: round(v, 2) if isinstance(v, float) else v for k, v in facts.items()}
    print(json.dumps(rounded), flush=True)


def main(arguments: list[str]) -> None:
    """figures.py audio …"""
    import argparse

    parser = argparse.ArgumentParser(prog="figures.py audio", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--level", type=int, default=DEFAULT_LEVEL)
    parser.add_argument("--threads", type=int, default=0, help="of lmc; 0: one for each core")
    found = parser.parse_args(arguments)
    tools = {name: command for name, command in TOOLS.items() if shutil.which(command[0])}
    for name in TOOLS.keys() - tools.keys():
        print(f"not installed: {name}", file=sys.stderr)
    everything: list[Facts] = []
    for folder in found.folders:
        files = (p for p in folder.rglob("*") if p.suffix.lower() in (".wav", ".flac"))
        here = []
        for path in sorted(files):
            here.append(measure(path, found.level, found.threads, tools))
            tell(here[-1])
        if here:
            tell(total(folder.name, here, tools))
        everything += here
    if len(found.folders) > 1 and everything:
        tell(total("all", everything, tools))
