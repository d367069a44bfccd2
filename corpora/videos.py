"""Lossless video encoders beside lmc: `figures.py video`.

Y4M files, and frames without a header (behind a word like `176x144:yuv420p:25`), go to x264,
x265 and FFV1 by PyAV, whose packets are counted without a container. What lmc writes is
decoded and compared. Speeds are frames of 352x288 a second. `--still N` shows the first frame of
each file N times in place of the file: as it is, and with the noise of a camera's sensor.
"""

from __future__ import annotations

import dataclasses
import fractions
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

import lmc
from lmc.codecs import clips, video
from lmc.codecs.base import DEFAULT_LEVEL
from lmc.codecs.clips import y4m

Facts = dict[str, Any]

# Encoder and options of each.
TOOLS = {
    "x264 veryslow": ("libx264", {"preset": "veryslow", "qp": "0"}),
    "x265 slower": ("libx265", {"preset": "slower", "x265-params": "lossless=1:log-level=none"}),
    "ffv1": ("ffv1", {"level": "3", "coder": "1", "context": "1", "g": "600"}),
}
CIF = 352 * 288
NAMES = {((1, 1), (1, 1)): "yuv420p", ((1, 0), (1, 0)): "yuv422p", ((0, 0), (0, 0)): "yuv444p"}
# A sensor's noise: its variance is that of reading and a share of the light.
READING, LIGHT = 0.7, 0.015


def by_tool(name: str, taken: clips.Video) -> int:
    """Bytes of all packets."""
    import av

    codec, options = TOOLS[name]
    geometry = taken.geometry
    layout = NAMES[geometry.coarse] + (f"{geometry.depth}le" if geometry.depth > 8 else "")
    context = av.CodecContext.create(codec, "w")
    context.width, context.height, context.pix_fmt = geometry.width, geometry.height, layout
    context.time_base = fractions.Fraction(1, 25)
    context.options = options
    size = 0
    for i, samples in enumerate(taken.samples):
        frame = av.VideoFrame(geometry.width, geometry.height, layout)
        frame.pts = i
        at = 0
        for plane, (width, height, *_) in zip(frame.planes, geometry.planes, strict=True):
            kind = np.uint16 if geometry.depth > 8 else np.uint8
            rows = np.frombuffer(memoryview(plane), kind).reshape(height, -1)
            rows[:, :width] = samples[at : at + width * height].reshape(height, width)
            at += width * height
        size += sum(packet.size for packet in context.encode(frame))
    return size + sum(packet.size for packet in context.encode(None))


def by_lmc(data: bytes, stated: str, level: int, threads: int) -> Facts:
    began = time.perf_counter()
    small = lmc.compress(data, level, threads=threads, video=stated)
    middle = time.perf_counter()
    same = lmc.decompress(small, threads=threads) == data
    end = time.perf_counter()
    return {"bytes": len(small), "encode_s": middle - began, "decode_s": end - middle, "same": same}


def taken_apart(path: Path, data: bytes, stated: str) -> clips.Video:
    taken = clips.take_apart(data, clips.state(stated) if stated else None, video.MOST_SAMPLES)
    if taken is None:
        raise SystemExit(f"{path} is no video")
    return taken


def still(taken: clips.Video, frames: int, noisy: bool) -> clips.Video:
    """The first frame again and again."""
    light = np.repeat(taken.samples[:1].astype(np.float64), frames, 0)
    if noisy:
        light += np.random.default_rng(1).normal(0, np.sqrt(READING + LIGHT * light))
    samples = np.rint(light).clip(0, (1 << taken.geometry.depth) - 1).astype(taken.samples.dtype)
    return dataclasses.replace(taken, samples=samples)


def measure(
    name: str,
    data: bytes,
    taken: clips.Video,
    stated: str,
    level: int,
    threads: int,
    tools: list[str],
) -> Facts:
    facts: Facts = {"file": name, "frames": len(taken.samples), "raw": len(data)}
    facts["CIF frames"] = len(taken.samples) * taken.geometry.frame / (CIF * 1.5)
    facts.update({name: by_tool(name, taken) for name in tools})
    facts.update(by_lmc(data, "" if data.startswith(y4m.MAGIC) else stated, level, threads))
    return shares(facts, tools)


def measured(
    path: Path, stated: str, frames: int, level: int, threads: int, tools: list[str]
) -> list[Facts]:
    """Of a file, or of its first frame, plain and noisy."""
    data = path.read_bytes()
    taken = taken_apart(path, data, stated)
    if frames == 0:
        return [measure(path.name, data, taken, stated, level, threads, tools)]
    geometry = taken.geometry
    if geometry.depth != 8 or geometry.coarse not in NAMES:
        raise SystemExit(f"{path}: --still takes 8 bits of yuv420p, yuv422p or yuv444p")
    layout = f"{geometry.width}x{geometry.height}:{NAMES[geometry.coarse]}"
    rows = []
    for kind in ("still", "still, noisy"):
        scene = still(taken, frames, kind != "still")
        raw = scene.samples.astype(np.uint8).tobytes()
        rows.append(measure(f"{path.name}, {kind}", raw, scene, layout, level, threads, tools))
    return rows


def shares(facts: Facts, tools: list[str]) -> Facts:
    for name in tools:
        facts[f"of {name}, %"] = round(100 * facts["bytes"] / facts[name], 2)
    for way in ("encode", "decode"):
        facts[f"{way}, CIF/s"] = round(facts["CIF frames"] / facts[f"{way}_s"], 3)
    return facts


def main(arguments: list[str]) -> None:
    """figures.py video …"""
    import argparse

    parser = argparse.ArgumentParser(prog="figures.py video", description=__doc__)
    parser.add_argument("files", nargs="+", metavar="[WxH:FMT] FILE", help="a geometry, or a file")
    parser.add_argument("--level", type=int, default=DEFAULT_LEVEL)
    parser.add_argument("--threads", type=int, default=0, help="of lmc; 0: one for each core")
    parser.add_argument("--still", type=int, default=0, metavar="N", help="scenes of N frames")
    parser.add_argument("--alone", action="store_true", help="lmc alone")
    found = parser.parse_args(arguments)
    tools = [] if found.alone else list(TOOLS)
    rows: list[Facts] = []
    stated = ""
    for word in found.files:
        if not Path(word).exists():
            stated = word
            continue
        way = found.level, found.threads, tools
        for row in measured(Path(word), stated, found.still, *way):
            rows.append(row)
            tell(row)
    keys = ("frames", "raw", "CIF frames", *tools, "bytes", "encode_s", "decode_s")
    total: Facts = {"total": len(rows), **{key: sum(row[key] for row in rows) for key in keys}}
    total["same"] = all(row["same"] for row in rows)
    tell(shares(total, tools))


def tell(facts: Facts) -> None:
    rounded = {k: round(v, 2) if isinstance(v, float) else v for k, v in facts.items()}
    print(json.dumps(rounded), flush=True)
