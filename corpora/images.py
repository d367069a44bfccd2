"""Lossless image compressors on the pixels of files, beside lmc on the files: `figures.py images`.

Each compressor gets the same pixels, as a PNG without metadata, and its result is decoded and
compared. Those that are not installed are named. Results are cached by the pixels' hash, in a JSON
file, so that only lmc is measured again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import lmc
from lmc.codecs import pictures
from lmc.codecs.base import DEFAULT_LEVEL

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
"""(height, width, 1 to 4): grey, grey and alpha, RGB, RGBA; palettes are resolved."""

Facts = dict[str, Any]
Coder = Callable[[Pixels, Path], Path | bytes]


def read(path: Path) -> Pixels:
    """By Pillow, but for 16 bits, of which it would lose half: these by lmc's own reader."""
    data = path.read_bytes()
    geometry = pictures.geometry(data[:4096])
    if geometry is not None and geometry.depth > 8:
        picture = pictures.take_apart(data, 1 << 28)
        if picture is None:
            raise SystemExit(f"{path.name} has 16 bits, and lmc cannot take it apart")
        return picture.samples
    from PIL import Image

    with Image.open(path) as image:
        if image.mode == "P":
            shown = image.convert("RGBA" if "transparency" in image.info else "RGB")
        else:
            shown = image.convert("L") if image.mode == "1" else image
        samples = np.asarray(shown)
    if samples.dtype != np.uint8 or samples.shape[2:] > (4,):
        raise SystemExit(f"{path.name} has pixels that are not compared here")
    return samples.reshape(*samples.shape[:2], -1)


def write_png(samples: Pixels, path: Path) -> None:
    """A PNG of nothing but pixels."""
    height, width, channels = samples.shape
    rows = samples.astype(samples.dtype.newbyteorder(">")).reshape(height, -1).view(np.uint8)
    lines = np.pad(rows, ((0, 0), (1, 0)))  # filter 0
    head = struct.pack(
        ">IIBBBBB", width, height, 8 * samples.itemsize, (0, 4, 2, 6)[channels - 1], 0, 0, 0
    )
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(lines.tobytes(), 6)), (b"IEND", b"")]
    out = b"\x89PNG\r\n\x1a\n"
    for name, body in parts:
        out += struct.pack(">I", len(body)) + name + body
        out += struct.pack(">I", zlib.crc32(name + body))
    path.write_bytes(out)


def same(a: Pixels, b: Pixels) -> bool:
    """Whether two are the same picture; some decoders write grey as RGB, or the other way round."""

    def whole(samples: Pixels) -> Pixels:
        height, width, channels = samples.shape
        colours = samples[..., :1].repeat(3, 2) if channels < 3 else samples[..., :3]
        alpha: Pixels = np.full((height, width, 1), np.iinfo(samples.dtype).max, samples.dtype)
        return np.concatenate([colours, alpha if channels % 2 else samples[..., -1:]], 2)

    return a.shape[:2] == b.shape[:2] and a.dtype == b.dtype and np.array_equal(whole(a), whole(b))


# ---- the compressors -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tool:
    """pack: from (pixels, the PNG of them) to a coded file; unpack: back. deep: takes 16 bits."""

    name: str
    pack: Callable[[Pixels, Path], bytes]
    unpack: Callable[[bytes, Path], Pixels]
    deep: bool = True


def by_commands(name: str, pack: list[str], unpack: list[str], ends: str, deep: bool) -> Tool:
    """A tool of the system. `IN` and `OUT` in the commands are files; ends: their suffixes."""
    coded, decoded = ends.split()

    def execute(command: list[str], source: Path, target: Path) -> None:
        files = {"IN": str(source), "OUT": str(target)}
        target.unlink(missing_ok=True)
        subprocess.run([files.get(w, w) for w in command], check=True, capture_output=True)

    def packed(_: Pixels, png: Path) -> bytes:
        target = png.with_name("coded" + coded)
        execute(pack, png, target)
        return target.read_bytes()

    def unpacked(data: bytes, folder: Path) -> Pixels:
        source, target = folder / ("small" + coded), folder / ("again" + decoded)
        source.write_bytes(data)
        if not unpack:
            return read(source)
        execute(unpack, source, target)
        return read(target)

    return Tool(name, packed, unpacked, deep)


def version(command: list[str]) -> str:
    """The first word of what a tool says of itself that begins with a digit."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    words = (done.stdout + done.stderr).replace(" v", " ").split()
    return next((word.rstrip(",;") for word in words if word[0].isdigit()), "?")


def libjxl(codec: Any, effort: int) -> Tool:
    """The library in the package imagecodecs, on one thread."""

    def pack(samples: Pixels, _: Path) -> bytes:
        plain = samples[..., 0] if samples.shape[2] == 1 else samples
        return bytes(
            codec.jpegxl_encode(
                plain, effort=effort, lossless=True, usecontainer=False, numthreads=1
            )
        )

    def unpack(data: bytes, _: Path) -> Pixels:
        again: Pixels = codec.jpegxl_decode(data, numthreads=1)
        return again.reshape(*again.shape[:2], -1)

    return Tool(f"{codec.jpegxl_version()} -e {effort}", pack, unpack)


def tools() -> tuple[list[Tool], list[str]]:
    """Those that are here, and the names of those that are not."""
    found, missing = [], []
    if shutil.which("optipng"):
        name = f"optipng {version(['optipng', '--version'])} -o2"
        found.append(
            by_commands(name, ["optipng", "-o2", "IN", "-out", "OUT"], [], ".png .png", True)
        )
    else:
        missing.append("optipng")
    if shutil.which("cwebp") and shutil.which("dwebp"):
        pack = ["cwebp", "-lossless", "-m", "6", "-q", "100", "-exact", "IN", "-o", "OUT"]
        name = f"cwebp {version(['cwebp', '-version'])} -lossless -m 6"
        unpack = ["dwebp", "IN", "-o", "OUT"]
        found.append(by_commands(name, pack, unpack, ".webp .png", False))
    else:
        missing.append("cwebp")
    if shutil.which("cjxl") and shutil.which("djxl"):
        pack = ["cjxl", "-d", "0", "-e", "9", "--num_threads=0", "IN", "OUT"]
        name = f"cjxl {version(['cjxl', '--version'])} -d 0 -e 9"
        found.append(by_commands(name, pack, ["djxl", "IN", "OUT"], ".jxl .png", True))
    else:
        missing.append("cjxl")
    try:
        codec = import_module("imagecodecs")
        found += [libjxl(codec, effort) for effort in (9, 10)]
    except ImportError:
        missing.append("libjxl (pip install imagecodecs)")
    return found, missing


# ---- measuring -----------------------------------------------------------------------------------


def measure(tool: Tool, samples: Pixels, png: Path) -> Facts | None:
    """None for a picture that the tool does not take."""
    if samples.dtype == np.uint16 and not tool.deep:
        return None
    began = time.perf_counter()
    try:
        small = tool.pack(samples, png)
        middle = time.perf_counter()
        again = tool.unpack(small, png.parent)
    except subprocess.CalledProcessError as error:
        return {"failed": error.stderr.decode(errors="replace")[-200:]}
    return {
        "bytes": len(small),
        "encode_s": round(middle - began, 2),
        "decode_s": round(time.perf_counter() - middle, 2),
        "same": same(samples, again),
    }


class Cache:
    """A JSON file: by the hash of the pixels and the name of a tool, what was measured."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def get(self, samples: Pixels, tool: Tool, png: Path) -> Facts | None:
        about = repr((samples.shape, samples.dtype.name)).encode()
        key = hashlib.sha256(about + np.ascontiguousarray(samples).tobytes()).hexdigest()[:32]
        known = self._known.setdefault(key, {})
        if tool.name not in known:
            known[tool.name] = measure(tool, samples, png)
            self._path.parent.mkdir(parents=True, exist_ok=True)
            new = self._path.with_suffix(".new")
            new.write_text(json.dumps(self._known, indent=1))
            new.replace(self._path)
        return known[tool.name]  # type: ignore[no-any-return]


def by_lmc(path: Path, level: int, threads: int) -> Facts:
    """The whole .lmc file of the whole file."""
    data = path.read_bytes()
    began = time.perf_counter()
    small = lmc.compress(data, level, threads=threads)
    middle = time.perf_counter()
    restored = lmc.decompress(small, threads=threads) == data
    end = time.perf_counter()
    return {
        "bytes": len(small),
        "encode_s": round(middle - began, 2),
        "decode_s": round(end - middle, 2),
        "same": restored,
        "way": way(small),
    }


def way(small: bytes) -> str:
    """What coded it: the method of the frame, and of an image frame the way of its pixels."""
    from lmc import codecs
    from lmc.container import parse_header

    frame = parse_header(small).frame
    if frame is None:
        return "several frames" if small else "nothing"
    name = codecs.BY_NUMBER[frame.method][0]
    if name != "image":
        return name
    from lmc.codecs import image

    return image.describe(frame.params).split(", ")[-1]


def total(what: str, facts: list[Facts]) -> Facts:
    """Sums over files. A tool has a sum where it took all of them."""
    samples = sum(fact["samples"] for fact in facts)
    out: Facts = {"total": what, "files": len(facts), "file_bytes": 0, "samples": samples}
    out["file_bytes"] = sum(fact["file_bytes"] for fact in facts)
    names = dict.fromkeys(name for fact in facts for name in fact["coded"])
    out["coded"] = coded = {}
    for name in names:
        rows = [fact["coded"].get(name) for fact in facts]
        done = [row for row in rows if row and "bytes" in row]
        if len(done) < len(rows):
            coded[name] = {"files": len(done)}
            continue
        size = sum(row["bytes"] for row in done)
        coded[name] = {
            "bytes": size,
            "bits": round(8 * size / samples, 4),
            "mean_bits": round(sum(row["bits"] for row in done) / len(done), 4),
            "encode_s": round(sum(row["encode_s"] for row in done), 1),
            "decode_s": round(sum(row["decode_s"] for row in done), 1),
            "same": all(row["same"] for row in done),
        }
    return out


def compare(
    folders: list[Path],
    level: int,
    threads: int,
    cache: Path,
    without: list[str],
    keep: Path | None,
) -> None:
    """A line of JSON for each picture, each folder and all: of each compressor the bytes, the bits
    of a sample (`mean_bits`: the mean over files), seconds there and back on a noisy clock, and
    whether the pixels (lmc: the file) came back."""
    found, missing = tools()
    found = [tool for tool in found if not any(word in tool.name for word in without)]
    for name in missing:
        print(f"not installed: {name}", file=sys.stderr)
    known = Cache(cache)
    lines: list[Facts] = []

    def tell(facts: Facts) -> None:
        lines.append(facts)
        print(json.dumps(facts), flush=True)
        if keep is not None:
            keep.write_text(json.dumps({"missing": missing, "lines": lines}, indent=1))

    everything: list[Facts] = []
    for folder in folders:
        here = []
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            samples = read(path)
            height, width, channels = samples.shape
            facts: Facts = {
                "file": f"{folder.name}/{path.relative_to(folder)}",
                "width": width,
                "height": height,
                "channels": channels,
                "depth": 8 * samples.itemsize,
                "samples": samples.size,
                "file_bytes": path.stat().st_size,
                "coded": {},
            }
            with tempfile.TemporaryDirectory() as scratch:
                png = Path(scratch) / "pixels.png"
                write_png(samples, png)
                rows = {tool.name: known.get(samples, tool, png) for tool in found}
            if "lmc" not in without:
                rows[f"lmc -{level}"] = by_lmc(path, level, threads)
            for name, row in rows.items():
                if row and "bytes" in row:
                    row = {"bits": round(8 * row["bytes"] / samples.size, 4), **row}
                facts["coded"][name] = row
            here.append(facts)
            tell(facts)
        if here:
            tell(total(folder.name, here))
        everything += here
    if len(folders) > 1 and everything:
        tell(total("all", everything))


def main(arguments: list[str]) -> None:
    """figures.py images …"""
    import argparse

    parser = argparse.ArgumentParser(prog="figures.py images", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--level", type=int, default=DEFAULT_LEVEL)
    parser.add_argument("--threads", type=int, default=1, help="of lmc; the others have one")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the results")
    parser.add_argument(
        "--cache", type=Path, metavar="FILE", default=Path("build/images.json"), help="%(default)s"
    )
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        metavar="WORD",
        help="leave out compressors with this in their name ('lmc': lmc)",
    )
    found = parser.parse_args(arguments)
    compare(found.folders, found.level, found.threads, found.cache, found.without, found.json)
