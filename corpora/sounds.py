"""Lossless audio compressors beside lmc: `figures.py audio`.

WAV files go to each as they are; FLAC files are decoded first, and all compressors, lmc too, get
the WAV. What lmc writes is decoded and compared. Speeds are multiples of real time.

`--protocol lmcompress` is another test, for the figures that compressors with language models are
published with (LMCompress, and "Language Modeling Is Compression", Delétang et al., 2024): samples
of 8 bits, the upper ones of 16, in chunks of 2,048 that know nothing of each other. A ratio is the
bytes of these samples to what each makes of them, headers included; the models that others need are
not counted by anyone.

`--restore` is a third: each sound as files that the program flac writes, with each of several
options. Is the file taken apart, so that its samples are coded as samples, and is it the same byte
for byte when it is put together again from samples and recipe? With the bytes of the recipes.
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

import numpy as np

import lmc
from lmc.codecs import sounds as formats
from lmc.codecs import text
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


def as_wave(path: Path, folder: Path) -> Path:
    """The WAV file of a sound, put into a folder."""
    wav = folder / "sound.wav"
    if path.suffix.lower() == ".flac":
        subprocess.run(["flac", "-s", "-d", "-f", "-o", wav, path], check=True)
    else:
        shutil.copyfile(path, wav)
    return wav


def measure(path: Path, level: int, threads: int, tools: dict[str, list[str]]) -> Facts:
    with tempfile.TemporaryDirectory() as scratch:
        source = as_wave(path, Path(scratch))
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


CHUNK = 2048


def by_chunks(path: Path, level: int, threads: int) -> Facts:
    """Samples of 8 bits in chunks: bytes of lmc and of FLAC, and of both for the whole file."""
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "sound.wav"
        command = ["flac", "-s", "-d", "-f", "-o", source, path]
        if path.suffix.lower() == ".flac":
            subprocess.run(command, check=True)
        else:
            shutil.copyfile(path, source)
        with wave.open(str(source)) as sound:
            if sound.getsampwidth() != 2 or sound.getnchannels() != 1:
                raise SystemExit(f"{path.name}: the protocol takes 16 bits and one channel")
            rate = sound.getframerate()
            wide = np.frombuffer(sound.readframes(sound.getnframes()), "<i2")
        samples = ((wide >> 8) + 128).astype(np.uint8).tobytes()
        facts: Facts = {"file": path.name, "samples": len(samples)}

        def both(part: bytes, name: str) -> None:
            with wave.open(str(source), "wb") as out:
                out.setparams((1, 1, rate, 0, "NONE", ""))
                out.writeframes(part)
            options = ["--no-padding", "--no-seektable"]
            tool = [*TOOLS["flac -8ep"], *options]
            content = source.read_bytes()
            small = lmc.compress(content, level, threads=threads)
            facts["same"] = facts.get("same", True) and lmc.decompress(small) == content
            sizes = {"lmc": len(small), "flac": by_tool(tool, source)}
            for key, size in ((f"{who}, {name}", size) for who, size in sizes.items()):
                facts[key] = facts.get(key, 0) + size

        for at in range(0, len(samples), CHUNK):
            both(samples[at : at + CHUNK], "chunks")
        both(samples, "whole")
    return facts


FLAC_OPTIONS = ("-0", "-2", "-5", "-8", "-8ep", "-5 -b 1152", "-5 --no-padding --no-seektable")


def restored(path: Path) -> Facts:
    """How many of a sound's FLAC files are taken apart and given back, and the recipes' bytes."""
    with tempfile.TemporaryDirectory() as scratch:
        source = as_wave(path, Path(scratch))
        facts: Facts = {"file": path.name, "files": 0, "restored": 0}
        for options in FLAC_OPTIONS:
            target = source.with_suffix(".flac")
            command = ["flac", "-s", "-f", *options.split(), "-o", str(target), str(source)]
            subprocess.run(command, check=True)
            data = target.read_bytes()
            sound = formats.take_apart(data, 1 << 28)
            facts["files"] += 1
            facts[f"flac {options}"] = len(data)
            if sound is not None and sound.kind == "integer":
                again = formats.rebuild(sound.format, sound.recipe, sound.samples)
                facts["restored"] += again == data
                facts[f"recipe, {options}"] = len(text.encode_aside(sound.recipe))
            else:
                facts[f"recipe, {options}"] = 0
    return facts


def all_restored(rows: list[Facts]) -> Facts:
    """Of all files together."""
    facts: Facts = {"total": "all", "sounds": len(rows)}
    numbers = (key for key in rows[0] if key != "file")
    facts.update({key: sum(row[key] for row in rows) for key in numbers})
    facts["restored, %"] = round(100 * facts["restored"] / facts["files"], 1)
    return facts


def ratios(what: str, rows: list[Facts]) -> Facts:
    """Of all files together: how many times smaller than the samples of 8 bits."""
    samples = sum(row["samples"] for row in rows)
    sizes = [key for key in rows[0] if ", " in key]
    facts: Facts = {"total": what, "files": len(rows), "samples": samples}
    facts.update({key: round(samples / sum(row[key] for row in rows), 3) for key in sizes})
    facts["same"] = all(row["same"] for row in rows)
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
    parser.add_argument("--protocol", choices=["lmcompress"], help="see above")
    parser.add_argument("--restore", action="store_true", help="see above")
    found = parser.parse_args(arguments)
    tools = {name: command for name, command in TOOLS.items() if shutil.which(command[0])}
    for name in TOOLS.keys() - tools.keys():
        print(f"not installed: {name}", file=sys.stderr)
    everything: list[Facts] = []
    for folder in found.folders:
        files = (p for p in folder.rglob("*") if p.suffix.lower() in (".wav", ".flac"))
        here = []
        for path in sorted(files):
            if found.restore:
                here.append(restored(path))
            elif found.protocol:
                here.append(by_chunks(path, found.level, found.threads))
            else:
                here.append(measure(path, found.level, found.threads, tools))
            tell(here[-1])
        if here and not found.restore:
            tell(ratios(folder.name, here) if found.protocol else total(folder.name, here, tools))
        everything += here
    if found.restore and everything:
        tell(all_restored(everything))
    elif len(found.folders) > 1 and everything and not found.protocol:
        tell(total("all", everything, tools))
