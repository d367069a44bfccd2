"""A report as one page of HTML, which needs no network: tables, plots, and what was run."""

from __future__ import annotations

from html import escape
from importlib.resources import files as resources

from lmc.bench import plots, tables
from lmc.bench.protocols import NOTES, TITLES
from lmc.bench.store import Record
from lmc.bench.summary import Group, Summary

MOST_BARS = 120  # files that are drawn one by one
LOWEST = {"bytes", "% of file"}


def page(summary: Summary) -> str:
    """The whole page. Raises nothing on results that are incomplete: it says so."""
    css = resources("lmc.bench").joinpath("page.css").read_text(encoding="utf-8")
    kinds = summary.of_kinds()
    several = len({group.protocol for group in kinds}) > 1
    links, body = [], []
    for number, group in enumerate(kinds):
        title = f"{group.title}, {TITLES[group.protocol].lower()}" if several else group.title
        links.append(f'<li><a href="#k{number}">{escape(title)}</a></li>')
        body.append(_kind(summary, group, f"k{number}", title))
    dates = sorted(record["date"] for record in summary.records if record.get("date"))
    when = f"Measured {dates[0][:10]} to {dates[-1][:10]}. " if dates else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>lmc bench</title>
<link rel="icon" href="data:,">
<style>
{css}</style>
</head>
<body>
<h1>lmc among other compressors</h1>
<p>{when}Every result was decoded and compared. Ratios and bits are of the bare content: bytes of
text, pixels, samples, frames. A tool that restores the file keeps more than one that restores only
its content; the column “restores” says which. Models are not in the bytes; they have a column.</p>
<nav aria-label="Contents"><ul>{"".join(links)}<li><a href="#notes">Notes</a></li>
<li><a href="#tools">Tools</a></li><li><a href="#files">Files</a></li></ul></nav>
{"".join(body)}
<h2 id="notes">Notes</h2>
<ul>{"".join(f"<li>{escape(note)}</li>" for note in tables.notes(summary))}</ul>
<h2 id="tools">Tools and commands</h2>
{_tools(summary)}
<h2 id="files">Files</h2>
{_files(summary)}
</body>
</html>
"""


def _kind(summary: Summary, group: Group, anchor: str, title: str) -> str:
    out = [f'<h2 id="{anchor}">{escape(title)}</h2>']
    if NOTES[group.protocol]:
        out.append(f"<p>{escape(NOTES[group.protocol])}</p>")
    out += [f'<p class="faint">{escape(tables.headline(group))}</p>', _table(group)]
    compared = [row for row in group.rows if row.whole]
    unit = f"bits/{group.unit}"
    drawn = []
    for verb in ("encode", "decode"):
        rates = [
            (row, row.encode_rate if verb == "encode" else row.decode_rate) for row in compared
        ]
        points = [
            plots.Point(row.tool, rate / 1e6, row.bits, row.is_lmc) for row, rate in rates if rate
        ]
        picture = plots.scatter(points, f"{verb}: MB/s of bare content, faster to the right", unit)
        drawn.append(
            f"<figure>{picture}<figcaption>Lower is smaller. On the line nothing is both faster "
            f"and smaller. Models are not counted.</figcaption></figure>"
        )
    out.append(f'<div class="plots">{"".join(drawn)}</div>')
    folders = summary.folders(group)
    out += [
        f"<h3>{escape(one.folder)}</h3><p class='faint'>{escape(tables.headline(one))}</p>"
        f"{_table(one)}"
        for one in folders
    ]
    out.append(_bars(summary, group))
    return "\n".join(out)


def _table(group: Group) -> str:
    heads, *rows = tables.cells(group)
    abouts = [column.about for column in tables.COLUMNS]
    out = ['<div class="scroll" tabindex="0"><table><thead><tr>']
    out += [
        f'<th scope="col" title="{escape(about)}">{escape(head)}</th>'
        for head, about in zip(heads, abouts, strict=True)
    ]
    out.append("</tr></thead><tbody>")
    smallest = min((row.bytes for row in group.rows if row.whole), default=0)
    for row, cells in zip(group.rows, rows, strict=True):
        out.append('<tr class="mine">' if row.is_lmc else "<tr>")
        for head, cell in zip(heads, cells, strict=True):
            best = head in LOWEST and row.whole and row.bytes == smallest
            out.append(
                f'<td class="best">{escape(cell)}</td>' if best else f"<td>{escape(cell)}</td>"
            )
        out.append("</tr>")
    out.append("</tbody></table></div>")
    return "".join(out)


def _bars(summary: Summary, group: Group) -> str:
    """Of each file its sizes; of many files only the first."""
    by_file: dict[str, list[Record]] = {}
    for record in summary.records:
        if record.get("modality") == group.modality and record["protocol"] == group.protocol:
            by_file.setdefault(record["name"], []).append(record)
    out = [f"<details><summary>Each file ({len(by_file)})</summary><div class='plots'>"]
    for name, records in list(by_file.items())[:MOST_BARS]:
        rows = [(r["tool"], _bits(r), r["tool"].startswith("lmc ")) for r in records]
        rows.sort(key=lambda row: (row[1] is None, row[1] or 0.0))
        picture = plots.bars(name, rows, f"bits/{group.unit}")
        size = records[0]["file_bytes"]
        out.append(
            f"<figure><figcaption>{escape(name)}, {size:,} bytes; bits/{escape(group.unit)}"
            f"</figcaption>{picture}</figure>"
        )
    left = len(by_file) - MOST_BARS
    out.append(
        "</div>" + (f"<p>And {left} more, in the CSV.</p>" if left > 0 else "") + "</details>"
    )
    return "".join(out)


def _bits(record: Record) -> float | None:
    return 8 * record["bytes"] / record["units"] if "bytes" in record else None


def _tools(summary: Summary) -> str:
    rows = dict.fromkeys((r["tool"], r["version"], r["command"]) for r in summary.records)
    cells = "".join(
        f"<tr><td>{escape(tool)}</td><td>{escape(version)}</td><td><code>{escape(command)}</code>"
        "</td></tr>"
        for tool, version, command in rows
    )
    return (
        '<div class="scroll" tabindex="0"><table><thead><tr><th scope="col">tool</th>'
        '<th scope="col">version</th><th scope="col">command</th></tr></thead>'
        f"<tbody>{cells}</tbody></table></div>"
    )


def _files(summary: Summary) -> str:
    rows = {r["name"]: (r["file_bytes"], r["sha256"]) for r in summary.records if "file_bytes" in r}
    cells = "".join(
        f"<tr><td>{escape(name)}</td><td>{size:,}</td><td><code>{digest}</code></td></tr>"
        for name, (size, digest) in rows.items()
    )
    return (
        f"<details><summary>{len(rows)} files and their SHA-256</summary>"
        '<div class="scroll" tabindex="0"><table><thead><tr><th scope="col">file</th>'
        '<th scope="col">bytes</th><th scope="col">SHA-256</th></tr></thead>'
        f"<tbody>{cells}</tbody></table></div></details>"
    )
