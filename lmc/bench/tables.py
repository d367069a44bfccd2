"""A summary as text for people, and as Markdown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lmc.bench.protocols import NOTES, TITLES
from lmc.bench.store import Record
from lmc.bench.summary import Group, Row, Summary


@dataclass(frozen=True, slots=True)
class Column:
    """title: may hold {unit}. text: of a row."""

    title: str
    text: Callable[[Row, Group], str]
    about: str = ""


def speed(number: float) -> str:
    """Three digits are all that a timing is good for.

    >>> speed(1234567), speed(45.678), speed(0.034567)
    ('1,234,567', '45.7', '0.0346')
    """
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def mebibytes(count: int) -> str:
    return f"{count / (1 << 20):,.0f}"


def _model(row: Row) -> str:
    if not row.is_lmc:
        return "0"
    parts = []
    if row.embedded_model_bytes:
        parts.append(f"{speed(row.embedded_model_bytes / 1e6)} (comes with lmc)")
    if row.model_bytes:
        parts.append(speed(row.model_bytes / 1e6))
    return " + ".join(parts) or "0"


def _bytes(row: Row, _: Group) -> str:
    return f"{row.bytes:,}" if row.whole else f"({row.bytes:,})"


def _restores(row: Row, group: Group) -> str:
    return row.restores if row.whole else f"{row.restores}, {row.files} of {len(group.inputs)}"


COLUMNS = (
    Column("tool", lambda row, _: row.tool),
    Column("bytes", _bytes, "written in all; in brackets where not all files were"),
    Column("% of file", lambda row, _: f"{100 * row.share:.2f}", "of the files' own bytes"),
    Column("ratio", lambda row, _: f"{row.ratio:.3f}", "bare content to what is written"),
    Column("bits/{unit}", lambda row, _: f"{row.bits:.3f}"),
    Column("encode MB/s", lambda row, _: speed(row.encode_rate / 1e6), "of bare content"),
    Column("decode MB/s", lambda row, _: speed(row.decode_rate / 1e6), "of bare content"),
    Column(
        "encode MB/CPU s",
        lambda row, _: speed(row.encode_work / 1e6),
        "for each second of one processor, however many are at work",
    ),
    Column(
        "decode MB/CPU s",
        lambda row, _: speed(row.decode_work / 1e6),
        "for each second of one processor, however many are at work",
    ),
    Column("encode MiB", lambda row, _: mebibytes(row.encode_memory), "peak memory that is added"),
    Column("decode MiB", lambda row, _: mebibytes(row.decode_memory), "peak memory that is added"),
    Column("model MB", lambda row, _: _model(row), "not counted in bytes"),
    Column("restores", _restores, "the file, or only what is in it"),
)


def cells(group: Group) -> list[list[str]]:
    """The heads, then the rows."""
    heads = [column.title.replace("{unit}", group.unit) for column in COLUMNS]
    return [heads, *([column.text(row, group) for column in COLUMNS] for row in group.rows)]


def headline(group: Group) -> str:
    """What the group is."""
    raw = "" if group.content_bytes == group.file_bytes else f", {group.content_bytes:,} bare"
    count = len(group.inputs)
    files = "1 file" if count == 1 else f"{count} files"
    return f"{group.title} ({files}, {group.file_bytes:,} bytes{raw})"


def notes(summary: Summary) -> list[str]:
    """What must be known to read the figures."""
    told = []
    if summary.records:
        told += [f"Machine: {text}" for text in summary.distinct(_machine)]
        told.append("Versions: " + "; ".join(summary.distinct(lambda record: record["version"])))
        threads = sorted({r["threads"] for r in summary.records if r["tool"].startswith("lmc ")})
        if threads:
            told.append(f"Threads: lmc {', '.join(map(str, threads))}, the others 1")
        once = sum(r.get("encode_runs") == 1 for r in summary.records)
        told.append(
            "Times: medians of several runs, but slow ones, which run once "
            f"({once} of {len(summary.records)}); without start-up and the loading of models"
        )
    told += [f"Not installed: {title} ({get})" for title, get in summary.missing.items()]
    refused: dict[str, list[str]] = {}
    for record in summary.records:
        if "not_taken" in record:
            refused.setdefault(f"{record['tool']} does not take {record['not_taken']}", []).append(
                record["name"]
            )
    told += [f"Not taken: {what} ({len(names)} files)" for what, names in refused.items()]
    told += [f"Failed: {message}" for message in summary.failed]
    return told


def _machine(record: Record) -> str:
    memory = f", {record['memory'] / (1 << 30):.0f} GiB" if record.get("memory") else ""
    return (
        f"{record['cpu']}, {record['cores']} cores{memory}, {record.get('system', '')}, "
        f"Python {record.get('python', '')}"
    )


def plain(summary: Summary) -> str:
    """For a terminal."""
    out: list[str] = []
    protocol = None
    for group in summary.groups:
        if group.protocol != protocol:
            protocol = group.protocol
            if len(summary.distinct(lambda record: record["protocol"])) > 1:
                out += [TITLES[protocol], "=" * len(TITLES[protocol]), ""]
            out += [NOTES[protocol], ""] if NOTES[protocol] else []
        table = cells(group)
        widths = [max(len(line[at]) for line in table) for at in range(len(table[0]))]
        out.append(headline(group))
        for line in table:
            numbers = [
                cell.rjust(width) for cell, width in zip(line[1:-1], widths[1:], strict=False)
            ]
            out.append("  ".join([line[0].ljust(widths[0]), *numbers, line[-1]]).rstrip())
        out.append("")
    return "\n".join([*out, *notes(summary)])


def markdown(group: Group) -> str:
    """One table."""
    heads, *rows = cells(group)
    lines = ["| " + " | ".join(heads) + " |", "|---" + "|---:" * (len(heads) - 2) + "|---|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
