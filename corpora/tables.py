"""Writes docs/benchmarks.md, and the tables between marks in README.md, from stored results.

    python corpora/tables.py [--check]     `make benchmarks`; --check: only say whether they are so

The results are those of `lmc bench --results corpora/results/NAME.jsonl …`, all that lie there. Of
several for the same file, tool and setting the last counts. No figure is written by hand.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from lmc.bench import store, tables
from lmc.bench.summary import Group, Summary, summarise
from lmc.bench.tables import speed

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "corpora" / "results"
DOCS = ROOT / "docs" / "benchmarks.md"
README = ROOT / "README.md"
MARKS = re.compile(r"(<!-- make benchmarks: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

# Of each kind the columns of the README; there is room for a few.
PIVOTS = {
    "text": ("xz -9e", "brotli -q 11 -w 24", "ppmd -o16 -m256", "zpaq -m5", "lmc -6"),
    "bytes": ("xz -9e", "brotli -q 11 -w 24", "kanzi -9", "zpaq -m5", "lmc -6"),
    "image": ("webp lossless -m 6", "jpegxl -e 9", "lmc -6"),
    "audio": ("flac -8", "wavpack -hhx6", "lmc -6"),
    "video": ("ffv1 level 3", "h264 x264 -qp 0", "h265 x265 lossless", "lmc -6"),
}
FEW = 8  # files that are named where another tool is smaller


def read() -> Summary:
    records = [record for path in sorted(RESULTS.glob("*.jsonl")) for record in store.read(path)]
    return summarise([r for r in store.latest(records) if "failed" not in r], {}, [])


def pivot(summary: Summary, modality: str) -> str:
    """Bytes by folder and tool; a folder that a tool has not been measured on as a whole has no
    figure there."""
    whole = next(
        (g for g in summary.of_kinds() if (g.modality, g.protocol) == (modality, "whole")), None
    )
    if whole is None:
        return "Not measured yet.\n"
    tools = PIVOTS[modality]
    lines = ["| | files | bytes | " + " | ".join(tools) + " |", "|---" * (3 + len(tools)) + "|"]
    for group in summary.folders(whole) or [whole]:
        sizes = {row.tool: f"{row.bytes:,}" for row in group.rows if row.whole}
        cells = [sizes.get(tool, "") for tool in tools]
        name = group.folder or group.inputs[0]
        lines.append(
            f"| {name} | {len(group.inputs)} | {group.file_bytes:,} | " + " | ".join(cells) + " |"
        )
    return "\n".join(lines) + "\n"


def cliffs(summary: Summary, group: Group) -> list[str]:
    """Where another tool wins over the strongest level of lmc that was measured, and how slow that
    is."""
    levels = [row for row in group.rows if row.is_lmc]
    if not levels:
        return []
    best = levels[-1]
    by_file: dict[str, dict[str, int]] = {}
    for record in summary.records:
        here = (record.get("modality"), record["protocol"]) == (group.modality, group.protocol)
        if here and "bytes" in record:
            by_file.setdefault(record["name"], {})[record["tool"]] = record["bytes"]
    lost = []
    for name, sizes in by_file.items():
        mine = sizes.get(best.tool)
        others = {tool: size for tool, size in sizes.items() if not tool.startswith("lmc ")}
        if mine and others:
            tool = min(others, key=lambda tool: others[tool])
            if others[tool] < mine:
                lost.append((1 - others[tool] / mine, name, tool, others[tool], mine))
    compared = sum(best.tool in sizes for sizes in by_file.values())
    lines = [f"- Another tool is smaller than {best.tool} on {len(lost)} of {compared} files."]
    for share, name, tool, size, mine in sorted(lost, reverse=True)[:FEW]:
        lines.append(f"  - {name}: {tool} {size:,} bytes, {best.tool} {mine:,} ({share:.1%} less)")
    if len(lost) > FEW:
        lines.append(f"  - and {len(lost) - FEW} more")
    rest = [row for row in group.rows if not row.is_lmc and row.decode_rate]
    if rest and best.decode_rate:
        quick = max(rest, key=lambda row: row.decode_rate)
        lines.append(
            f"- {best.tool} decodes {speed(best.decode_rate / 1e6)} MB/s; the quickest, "
            f"{quick.tool}, {speed(quick.decode_rate / best.decode_rate)} times as much."
        )
    return lines


def document(summary: Summary) -> str:
    out = [
        "# Benchmarks",
        "",
        "This page is made by `make benchmarks` from the results in `corpora/results/`, which "
        "`lmc bench` measured; `lmc bench FOLDER` measures your own files in the same way.",
        "",
        "How to read it: every result was decoded and compared. A tool that restores the file "
        "keeps more than one that restores only the pixels, samples or frames in it; lmc always "
        "restores the file. Ratios, bits and speeds are of the bare content. Models are not "
        "counted in the bytes: a receiver needs them too, and they have a column. A tool that has "
        "not been measured on all files of a table has its count in the last column, and its sums "
        "cannot be compared. Folders hold the files that have been measured: small ones come "
        "first, and where a run was not finished the large ones are not in. Why you should not "
        "use lmc is said in the [README](../README.md).",
        "",
    ]
    for group in summary.of_kinds():
        out += [f"## {tables.headline(group)}", "", tables.markdown(group), ""]
        found = cliffs(summary, group)
        if found:
            out += ["Cliffs:", "", *found, ""]
        for folder in summary.folders(group):
            out += [f"### {tables.headline(folder)}", "", tables.markdown(folder), ""]
    out += ["## Notes", "", *(f"- {note}" for note in tables.notes(summary)), ""]
    commands = dict.fromkeys((r["tool"], r["version"], r["command"]) for r in summary.records)
    out += ["| tool | version | command |", "|---|---|---|"]
    out += [f"| {tool} | {version} | `{command}` |" for tool, version, command in commands]
    return "\n".join(out) + "\n"


def readme(text: str, summary: Summary) -> str:
    return MARKS.sub(lambda found: f"{found[1]}{pivot(summary, found[2])}{found[3]}", text)


def main(words: list[str]) -> int:
    summary = read()
    if not summary.records:
        raise SystemExit(f"there are no results in {RESULTS}")
    old = README.read_text(encoding="utf-8")
    made = {DOCS: document(summary), README: readme(old, summary)}
    if words == ["--check"]:
        return int(any(path.read_text(encoding="utf-8") != text for path, text in made.items()))
    for path, text in made.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
