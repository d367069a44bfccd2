"""Size against speed: lmc's levels among other compressors, on files of your own.

    python corpora/frontier.py measure [--levels 1,2,6] [--limit BYTES] FILE… > RESULTS.jsonl
    python corpora/frontier.py table RESULTS.jsonl          a Markdown table
    python corpora/frontier.py plot RESULTS.jsonl OUT.png   a picture (needs matplotlib)

The other compressors are Python's own and the packages of `pip install '.[bench]'`. One that is not
installed is named on standard error and in the results, and skipped. Everything runs in this
process, after a short warm-up; every result is decompressed and compared. The others use one
thread; lmc uses --threads, every core by default, which changes its speed and not its sizes.

`measure` writes one JSON object for each tool, setting and file, as soon as it is known. Results
may be appended to earlier ones: of two lines for the same, the later counts. A kilobyte is 1,000
bytes. Two columns count what a receiver needs beside the file: `model_bytes`, a model that has to
be fetched, and `embedded_model_bytes`, one that comes with lmc. Dictionaries inside the programs,
as brotli's and the start of lmc's byte models, are not counted.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import hashlib
import io
import json
import lzma
import platform
import statistics
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from importlib import import_module, metadata
from itertools import pairwise
from pathlib import Path
from typing import Any

from machine import machine

import lmc
from lmc.models import registry
from lmc.pipeline import cores

Coder = Callable[[bytes], bytes]
Record = dict[str, Any]

RUNS = 5
ENOUGH = 1.0  # seconds of measuring after which no run is added: slow tools run once
WARM = 4096  # bytes of the warm-up: models and libraries are loaded outside of the measurement
MIB = 1 << 20


# ---- the tools -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tool:
    """One compressor at one setting. command: the calls that are measured."""

    name: str
    setting: str
    version: str
    command: str
    pack: Coder
    unpack: Coder
    threads: int = 1

    @property
    def title(self) -> str:
        return f"{self.name} {self.setting}"


@dataclass(frozen=True, slots=True)
class Missing:
    """A compressor that is not installed. package: what pip calls it."""

    name: str
    setting: str
    package: str


def gzip_9() -> Tool:
    def pack(data: bytes) -> bytes:
        return gzip.compress(data, 9, mtime=0)

    version = f"zlib {zlib.ZLIB_RUNTIME_VERSION}"
    return Tool("gzip", "-9", version, "gzip.compress(data, 9)", pack, gzip.decompress)


def bzip2_9() -> Tool:
    version = f"Python {platform.python_version()}"  # which does not say what it was built with
    return Tool("bzip2", "-9", version, "bz2.compress(data, 9)", bz2.compress, bz2.decompress)


def xz_9e() -> Tool:
    pack = partial(lzma.compress, preset=9 | lzma.PRESET_EXTREME)
    command = "lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)"
    version = f"Python {platform.python_version()}"
    return Tool("xz", "-9e", version, command, pack, lzma.decompress)


def zstd_19() -> Tool:
    zstd = import_module("zstandard")
    # The checksum of four bytes is what the program writes.
    pack = zstd.ZstdCompressor(level=19, write_checksum=True).compress
    command = "ZstdCompressor(level=19, write_checksum=True).compress(data)"
    unpack = zstd.ZstdDecompressor().decompress
    return Tool("zstd", "-19", zstd_version(), command, pack, unpack)


def zstd_22() -> Tool:
    zstd = import_module("zstandard")
    options = {"window_log": 27, "enable_ldm": True, "write_checksum": True}

    def pack(data: bytes) -> bytes:
        # As the program does, for the size at hand: tables for a gigabyte would cost time alone.
        parameters = zstd.ZstdCompressionParameters.from_level(22, source_size=len(data), **options)
        packed: bytes = zstd.ZstdCompressor(compression_params=parameters).compress(data)
        return packed

    command = "ZstdCompressionParameters.from_level(22, window_log=27, enable_ldm=True)"
    unpack = zstd.ZstdDecompressor().decompress
    return Tool("zstd", "--ultra -22 --long", zstd_version(), command, pack, unpack)


def zstd_version() -> str:
    return "zstd " + ".".join(map(str, import_module("zstandard").ZSTD_VERSION))


def brotli_11() -> Tool:
    brotli = import_module("brotli")
    pack = partial(brotli.compress, quality=11, lgwin=24)
    command = "brotli.compress(data, quality=11, lgwin=24)"
    version = f"brotli {brotli.__version__}"
    return Tool("brotli", "-q 11 -w 24", version, command, pack, brotli.decompress)


def bzip3_511() -> Tool:
    bz3 = import_module("bz3")

    def pack(data: bytes) -> bytes:
        # One block, as -b 511 makes it, but without the memory of a larger one.
        packed: bytes = bz3.compress(data, block_size=min(511, len(data) // MIB + 1) * MIB)
        return packed

    command = "bz3.compress(data, block_size=…), one block up to 511 MiB"
    return Tool("bzip3", "-b 511", f"bzip3 {bz3.libversion()}", command, pack, bz3.decompress)


def ppmd() -> Tool:
    module = import_module("pyppmd")
    options = {"max_order": 16, "mem_size": 256 * MIB}
    command = "pyppmd.compress(data, max_order=16, mem_size=256 << 20), variant I"
    return Tool(
        "ppmd",
        "-o16 -m256",
        f"pyppmd {metadata.version('pyppmd')}",
        command,
        partial(module.compress, **options),
        partial(module.decompress, **options),
    )


def kanzi(level: int) -> Tool:
    module = import_module("kanzi")
    pack = partial(module.compress, level=level)
    command = f"kanzi.compress(data, level={level})"
    version = f"kanzi-rs {metadata.version('kanzi')}"  # a port, not the original
    return Tool("kanzi", f"-{level}", version, command, pack, module.decompress)


def lmc_level(level: int, threads: int) -> Tool:
    return Tool(
        "lmc",
        f"-{level}",
        lmc_version(),
        f"lmc.compress(data, {level}, threads={threads})",
        partial(lmc.compress, level=level, threads=threads),
        partial(lmc.decompress, threads=threads),
        threads=cores(threads),
    )


def lmc_version() -> str:
    """The version, and the commit where lmc is a checkout: between releases much changes."""
    command = ["git", "describe", "--always", "--dirty"]
    folder = Path(lmc.__file__).parent
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except OSError:
        return f"lmc {lmc.__version__}"
    commit = "" if done.returncode else f" ({done.stdout.strip()})"
    return f"lmc {lmc.__version__}{commit}"


# Name, setting, package and maker: the first two must be told of a tool that is not there.
RIVALS: list[tuple[str, str, str, Callable[[], Tool]]] = [
    ("gzip", "-9", "", gzip_9),
    ("bzip2", "-9", "", bzip2_9),
    ("xz", "-9e", "", xz_9e),
    ("zstd", "-19", "zstandard", zstd_19),
    ("zstd", "--ultra -22 --long", "zstandard", zstd_22),
    ("brotli", "-q 11 -w 24", "brotli", brotli_11),
    ("bzip3", "-b 511", "bzip3", bzip3_511),
    ("ppmd", "-o16 -m256", "pyppmd", ppmd),
    ("kanzi", "-7", "kanzi", partial(kanzi, 7)),
    ("kanzi", "-9", "kanzi", partial(kanzi, 9)),
]
NAMES = [*dict.fromkeys(name for name, *_ in RIVALS), "lmc"]


def tools(names: list[str], levels: list[int], threads: int) -> list[Tool | Missing]:
    found: list[Tool | Missing] = []
    for name, setting, package, make in RIVALS:
        if name in names:
            try:
                found.append(make())
            except ImportError:
                found.append(Missing(name, setting, package))
    if "lmc" in names:
        found += [lmc_level(level, threads) for level in levels]
    return found


# ---- measure -------------------------------------------------------------------------------------


def models(small: bytes) -> tuple[int, int]:
    """Bytes of the models that a receiver of this .lmc file has to get, and has with lmc."""
    needed = {
        member.model_name
        for member in lmc.inspect(io.BytesIO(small)).members
        if any(frame.method == "network" for frame in member.frames)
    }
    found = [model for model in registry.installed() if model.name in needed]
    return (
        sum(model.size_bytes for model in found if not model.embedded),
        sum(model.size_bytes for model in found if model.embedded),
    )


def timed(coder: Coder, data: bytes) -> tuple[bytes, float, int]:
    """What the coder returns, the median of its seconds, and the number of runs."""
    seconds: list[float] = []
    while not seconds or (len(seconds) < RUNS and sum(seconds) < ENOUGH):
        began = time.perf_counter()
        result = coder(data)
        seconds.append(time.perf_counter() - began)
    return result, statistics.median(seconds), len(seconds)


def measured(tool: Tool, data: bytes) -> Record:
    """Sizes and speeds of one tool on one file. Raises ValueError if it does not restore it."""
    tool.unpack(tool.pack(data[:WARM]))
    small, there, there_runs = timed(tool.pack, data)
    restored, back, back_runs = timed(tool.unpack, small)
    if restored != data:
        raise ValueError("the content is not restored")
    model_bytes, embedded = models(small) if tool.name == "lmc" else (0, 0)
    return {
        "bytes": len(small),
        "bits_per_byte": round(8 * len(small) / len(data), 4),
        "compress_kb_s": round(len(data) / there / 1000, 2),
        "decompress_kb_s": round(len(data) / back / 1000, 2),
        "compress_s": round(there, 6),
        "decompress_s": round(back, 6),
        "compress_runs": there_runs,
        "decompress_runs": back_runs,
        "model_bytes": model_bytes,
        "embedded_model_bytes": embedded,
        "threads": tool.threads,
        "version": tool.version,
        "command": tool.command,
        "restored": True,
    }


def say(text: str) -> None:
    clear = "\r\033[K" if sys.stderr.isatty() else ""
    print(f"{clear}frontier: {text}", file=sys.stderr, flush=True)


def progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def tell(record: Record) -> None:
    print(json.dumps(record, ensure_ascii=False), flush=True)


def measure(paths: list[Path], found: list[Tool | Missing], limit: int | None) -> int:
    """Writes the results; the exit code: 1 if a tool failed on a file."""
    contents = {}
    for path in paths:
        with path.open("rb") as file:
            contents[path] = file.read() if limit is None else file.read(limit)
        if not contents[path]:
            raise SystemExit(f"frontier: {path} is empty")
    here = machine()
    present = [tool for tool in found if isinstance(tool, Tool)]
    for tool in found:
        if isinstance(tool, Missing):
            say(
                f"{tool.name} {tool.setting} is not installed (pip install {tool.package}): skipped"
            )
            tell({"tool": tool.name, "setting": tool.setting, "missing": True})
    failed = False
    for number, (path, data) in enumerate(contents.items()):
        for place, tool in enumerate(present):
            done = number * len(present) + place
            progress(f"{done} of {len(contents) * len(present)}: {tool.title}, {path.name}")
            source = {"file": path.name, "sha256": hashlib.sha256(data).hexdigest()}
            try:
                result = measured(tool, data)
            except Exception as error:
                # Whatever one library raises must not cost the hours of the others.
                say(f"{tool.title} failed on {path}: {type(error).__name__}: {error}")
                failed = True
                continue
            record = {"tool": tool.name, "setting": tool.setting, **source}
            tell({**record, "input_bytes": len(data), **result, **here})
    progress("")
    return int(failed)


# ---- table and plot ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """A tool at a setting, over the files that it was measured on: bits per byte by the key of the
    file, and of all together. The speeds are in KB/s, of all bytes in the time of all."""

    title: str
    is_lmc: bool
    bits: dict[str, float]
    total: float
    compress: float
    decompress: float
    model_bytes: int
    embedded_bytes: int


@dataclass(frozen=True, slots=True)
class Results:
    """files: those that anything was measured on, from key to (name, bytes). notes: what must be
    known to read the figures."""

    rows: list[Row]
    files: dict[str, tuple[str, int]]
    notes: list[str]

    def complete(self) -> list[Row]:
        """The rows that may be compared by their totals: those that have every file."""
        return [row for row in self.rows if len(row.bits) == len(self.files)]


def read(path: Path) -> Results:
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    latest: dict[tuple[str, str], dict[str, Record]] = {}
    files: dict[str, tuple[str, int]] = {}
    for record in records:
        if not record.get("missing"):
            files[record["sha256"]] = record["file"], record["input_bytes"]
            of_tool = latest.setdefault((record["tool"], record["setting"]), {})
            of_tool[record["sha256"]] = record
    if not latest:
        raise SystemExit(f"frontier: {path} has no results")
    kept = [record for of_tool in latest.values() for record in of_tool.values()]
    missing = {(r["tool"], r["setting"]) for r in records if r.get("missing")} - set(latest)
    rows = [row(" ".join(key), list(of_tool.values())) for key, of_tool in latest.items()]
    # lmc last, whatever was appended later.
    rows.sort(key=lambda one: one.is_lmc)
    return Results(rows, files, notes(kept, missing))


def row(title: str, records: list[Record]) -> Row:
    size = sum(r["input_bytes"] for r in records)
    return Row(
        title,
        records[0]["tool"] == "lmc",
        {r["sha256"]: r["bits_per_byte"] for r in records},
        8 * sum(r["bytes"] for r in records) / size,
        size / sum(r["compress_s"] for r in records) / 1000,
        size / sum(r["decompress_s"] for r in records) / 1000,
        max(r["model_bytes"] for r in records),
        max(r["embedded_model_bytes"] for r in records),
    )


def notes(records: list[Record], missing: set[tuple[str, str]]) -> list[str]:
    def distinct(values: Iterable[str]) -> str:
        return "; ".join(dict.fromkeys(values))

    told = [
        "Machine: " + distinct(f"{r['cpu']}, {r['cores']} cores" for r in records),
        "Versions: " + distinct(r["version"] for r in records),
    ]
    threads = sorted({r["threads"] for r in records if r["tool"] == "lmc"})
    if threads:
        told.append(f"Threads: lmc {', '.join(map(str, threads))}, the others 1")
    if missing:
        told.append("Not installed: " + ", ".join(sorted(map(" ".join, missing))))
    return told


def speed(number: float) -> str:
    """Three digits are all that a timing is good for."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def table(results: Results) -> str:
    names = [f"{name}, {size:,} `{key[:8]}`" for key, (name, size) in results.files.items()]
    columns = ["all files", "compress KB/s", "decompress KB/s", "model to get", "model with lmc"]
    lines = ["| bits per byte | " + " | ".join(names + columns) + " |"]
    lines.append("|---" * (1 + len(names) + len(columns)) + "|")
    complete = results.complete()
    for one in results.rows:
        cells = [f"{one.bits[key]:.3f}" if key in one.bits else "" for key in results.files]
        cells.append(f"{one.total:.3f}" if one in complete else "")
        cells += [speed(one.compress), speed(one.decompress)]
        cells += [f"{size:,}" for size in (one.model_bytes, one.embedded_bytes)]
        lines.append(f"| {one.title} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *(f"- {note}" for note in results.notes)])


def front(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of points (speed, size) those that no other beats in both, from the slowest on."""
    kept: list[tuple[float, float]] = []
    for point in sorted(points, key=lambda p: (-p[0], p[1])):
        if not kept or point[1] < kept[-1][1]:
            kept.append(point)
    return kept[::-1]


MINE, OTHERS, LINE = "#b3261e", "#1f4e79", "#8a8a8a"


def plot(results: Results, picture: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = results.complete()
    for one in results.rows:
        if one not in rows:
            say(f"{one.title} is not in the picture: it was not measured on every file")
    if not rows:
        raise SystemExit("frontier: nothing was measured on every file")
    # A white ground of its own keeps the picture legible on a dark page.
    figure, both = pyplot.subplots(1, 2, figsize=(13, 6.5), dpi=120, sharey=True, facecolor="white")
    for axes, verb in zip(both, ("compress", "decompress"), strict=True):
        speeds = [one.compress if verb == "compress" else one.decompress for one in rows]
        points = list(zip(speeds, [one.total for one in rows], strict=True))
        axes.plot(
            *zip(*front(points), strict=True),
            drawstyle="steps-pre",
            color=LINE,
            linewidth=1.2,
            zorder=1,
            label="Pareto front: nothing is both faster and smaller",
        )
        for name, marker, ours, needs_model in (
            ("others", "o", False, False),
            ("lmc", "s", True, False),
            ("lmc, with a model to get", "D", True, True),
        ):
            chosen = [
                point
                for one, point in zip(rows, points, strict=True)
                if (one.is_lmc, one.model_bytes > 0) == (ours, needs_model)
            ]
            if chosen:
                colour = MINE if ours else OTHERS
                axes.scatter(
                    *zip(*chosen, strict=True), s=36, c=colour, marker=marker, label=name, zorder=3
                )
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.10g}")
        axes.margins(x=0.14, y=0.08)
        axes.set_xlabel(f"{verb}: KB/s, faster to the right")
        axes.grid(alpha=0.3, which="major")
        axes.tick_params(labelleft=True)
    both[0].set_ylabel("bits per byte, smaller is better")
    both[0].legend(loc="upper left", fontsize=9)
    size = sum(size for _, size in results.files.values())
    figure.suptitle(f"{len(results.files)} files, {size:,} bytes together; models are not counted")
    figure.text(0.01, 0.01, "\n".join(results.notes), fontsize=7, color="#444444", wrap=True)
    figure.tight_layout(rect=(0, 0.01 + 0.018 * len(results.notes), 1, 1))
    for axes, verb in zip(both, ("compress", "decompress"), strict=True):
        label(axes, [(one.title, getattr(one, verb), one.total, one.is_lmc) for one in rows])
    figure.savefig(picture)


def label(axes: Any, points: list[tuple[str, float, float, bool]]) -> None:
    """Names each point, where the text covers least of points, front, legend and other names."""
    canvas = axes.figure.canvas
    canvas.draw()
    places = [(7, 0, "left", "center"), (-7, 0, "right", "center")]
    for away in (8, 18, 28, 38):
        places += [(0, away, "center", "bottom"), (0, -away, "center", "top")]
        places += [(7, away, "left", "bottom"), (-7, -away, "right", "top")]
        places += [(-7, away, "right", "bottom"), (7, -away, "left", "top")]
    pixels = [axes.transData.transform((x, y)) for _, x, y, _ in points]
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in pixels]
    corners = [axes.transData.transform(point) for point in front([p[1:3] for p in points])]
    for (slow, small), (fast, large) in pairwise(corners):
        taken += [(slow, large, fast, large), (slow, small, slow, large)]
    if axes.get_legend():
        taken.append(axes.get_legend().get_window_extent().extents)
    inside = axes.get_window_extent().extents
    for name, x, y, ours in points:
        text = axes.annotate(name, (x, y), (0, 0), textcoords="offset points", fontsize=9)
        text.set_color(MINE if ours else OTHERS)

        def put(place: tuple[int, int, str, str], text: Any = text) -> Any:
            text.xyann = place[:2]
            text.set(ha=place[2], va=place[3])
            return text.get_window_extent(canvas.get_renderer()).extents

        def cost(place: tuple[int, int, str, str]) -> int:
            box = put(place)
            outside: bool = box[0] < inside[0] or box[2] > inside[2]
            return sum(overlap(box, other) for other in taken) + 10 * int(outside)

        taken.append(put(min(places, key=cost)))


def overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Whether two boxes (left, bottom, right, top) share a point."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


# ---- the command line ----------------------------------------------------------------------------


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def names(text: str) -> list[str]:
    chosen = text.split(",")
    unknown = [name for name in chosen if name not in NAMES]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]} is none of {', '.join(NAMES)}")
    return chosen


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("measure", help="write results to standard output")
    one.add_argument("files", type=Path, nargs="+", metavar="FILE")
    one.add_argument("--levels", type=numbers, default=[1, 2, 3, 4, 5, 6], metavar="1,2,6")
    one.add_argument("--tools", type=names, default=NAMES, metavar="gzip,lmc", help="only these")
    one.add_argument("--limit", type=int, metavar="BYTES", help="only the beginning of each file")
    one.add_argument("--threads", type=int, default=0, metavar="N", help="of lmc; 0: every core")
    one = commands.add_parser("table", help="print a Markdown table")
    one.add_argument("results", type=Path)
    one = commands.add_parser("plot", help="draw a picture")
    one.add_argument("results", type=Path)
    one.add_argument("picture", type=Path)
    args = parser.parse_args()
    if args.command == "measure":
        found = tools(args.tools, args.levels, args.threads)
        return measure(args.files, found, args.limit)
    if args.command == "table":
        print(table(read(args.results)))
    else:
        plot(read(args.results), args.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
