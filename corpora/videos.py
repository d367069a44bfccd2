"""Lossless video encoders beside lmc: `figures.py video`.

Y4M files, and frames without a header (behind a word like `176x144:yuv420p:25`), go to x264,
x265 and FFV1 by PyAV, whose packets are counted without a container. What lmc writes is
decoded and compared. Speeds are frames of 352x288 a second.
"""

from __future__ import annotations

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


def by_tool(name: str, taken: clips.Video) -> int:
    """Bytes of all packets."""
    import av

    codec, options = TOOLS[name]
    geometry = taken.geometry
    names = {((1, 1), (1, 1)): "yuv420p", ((1, 0), (1, 0)): "yuv422p", ((0, 0), (0, 0)): "yuv444p"}
    layout = names[geometry.coarse] + (f"{geometry.depth}le" if geometry.depth > 8 else "")
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


def measure(path: Path, stated: str, level: int, threads: int, tools: list[str]) -> Facts:
    data = path.read_bytes()
    says = clips.state(stated) if stated else None
    taken = clips.take_apart(data, says, video.MOST_SAMPLES)
    if taken is None:
        raise SystemExit(f"{path} is no video")
    facts: Facts = {"file": path.name, "frames": len(taken.samples), "raw": len(data)}
    facts["CIF frames"] = len(taken.samples) * taken.geometry.frame / (CIF * 1.5)
    facts.update({name: by_tool(name, taken) for name in tools})
    facts.update(by_lmc(data, "" if data.startswith(y4m.MAGIC) else stated, level, threads))
    return shares(facts, tools)


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
    parser.add_argument("--alone", action="store_true", help="lmc alone")
    found = parser.parse_args(arguments)
    tools = [] if found.alone else list(TOOLS)
    rows: list[Facts] = []
    stated = ""
    for word in found.files:
        if not Path(word).exists():
            stated = word
            continue
        rows.append(measure(Path(word), stated, found.level, found.threads, tools))
        tell(rows[-1])
    keys = ("frames", "raw", "CIF frames", *tools, "bytes", "encode_s", "decode_s")
    total: Facts = {"total": len(rows), **{key: sum(row[key] for row in rows) for key in keys}}
    total["same"] = all(row["same"] for row in rows)
    tell(shares(total, tools))


def tell(facts: Facts) -> None:
    rounded = {k: round(v, 2) if isinstance(v, float) else v for k, v in facts.items()}
    print(json.dumps(rounded), flush=True)
