"""The report, and the plots in it."""

from __future__ import annotations

import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from lmc.bench import plots
from lmc.bench.page import page
from lmc.bench.summary import summarise

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
EMPTY = {"meta", "link", "path", "circle", "rect"}


def record(name: str, tool: str, size: int, **facts: Any) -> dict[str, Any]:
    return {
        "sha256": "00",
        "name": name,
        "tool": tool,
        "protocol": "whole",
        "version": "1",
        "command": 'pack <it> & "that"',
        "threads": 1,
        "cpu": "a <cpu>",
        "cores": 2,
        "modality": "text",
        "file_bytes": 1000,
        "content_bytes": 1000,
        "unit": "byte",
        "units": 1000,
        "bytes": size,
        "restores": "file",
        "encode_s": 0.5,
        "decode_s": 0.25,
        "encode_cpu_s": 0.5,
        "decode_cpu_s": 0.25,
        "encode_runs": 3,
        "decode_runs": 3,
        "encode_memory": 1 << 20,
        "decode_memory": 1 << 20,
        "date": "2026-01-01T00:00:00+00:00",
    } | facts


RECORDS = [
    record("a/one<b>.txt", "gzip -9", 500),
    record("a/one<b>.txt", "lmc -6", 200, encode_s=5.0, embedded_model_bytes=23_900_000),
    record("b/two.txt", "gzip -9", 400),
    {k: v for k, v in record("b/two.txt", "lmc -6", 0).items() if k != "bytes"} | {"failed": "no"},
]


class Nested(HTMLParser):
    """Fails where an element is not closed, or another is."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, _: Any) -> None:
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in EMPTY:
            assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing() -> None:
    made = page(summarise(RECORDS, {"flif -e": "program: flif"}, ["b/two.txt: lmc -6 failed: no"]))
    parser = Nested()
    parser.feed(made)
    assert parser.open == []
    assert not re.search(r"(src|href)=\"(?!#|data:,)", made)
    assert "<script" not in made
    assert "one&lt;b&gt;.txt" in made
    assert "<b>" not in made
    for said in (
        "a &lt;cpu&gt;",
        "Not installed: flif -e",
        "Failed: b/two.txt",
        "23.9 (comes with",
    ):
        assert said in made
    assert "file, 1 of 2" in made


@pytest.mark.skipif(BROWSER is None, reason="no chromium")
@pytest.mark.parametrize("width", [390, 1440])
def test_a_browser_shows_it(tmp_path: Path, width: int) -> None:
    """Without errors, and not wider than the window."""
    assert BROWSER
    probe = "<script>document.title = document.documentElement.scrollWidth</script>"
    path = tmp_path / "report.html"
    path.write_text(page(summarise(RECORDS, {}, [])).replace("</body>", probe + "</body>"))
    # A window of the browser is never narrower than 500 pixels; a frame in it is.
    frame = tmp_path / "frame.html"
    frame.write_text(
        f'<iframe src="report.html" width="{width}" height="800" style="border: 0"></iframe>'
        "<script>onload = () => { document.body.textContent = "
        "frames[0].document.title + ' wide' }</script>"
    )
    done = subprocess.run(
        [
            BROWSER,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--allow-file-access-from-files",
            f"--user-data-dir={tmp_path / 'profile'}",
            f"--window-size={max(500, width + 40)},900",
            "--enable-logging=stderr",
            "--dump-dom",
            frame.as_uri(),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    found = re.search(r"(\d+) wide", done.stdout)
    assert found, done.stdout + done.stderr
    assert int(found[1]) <= width
    assert "CONSOLE" not in done.stderr


def test_a_plot_has_every_point() -> None:
    points = [plots.Point(f"t{n} <", 10.0**n, 3.0 - n / 10, n == 0) for n in range(4)]
    tree = ElementTree.fromstring(
        plots.scatter(points, "speed", "bits").replace("&lt;", "(").strip()
    )
    circles = list(tree.iter("circle"))
    assert len(circles) == 4
    assert [one.get("class") for one in circles] == ["mine", "others", "others", "others"]
    across = [float(one.get("cx", "")) for one in circles]
    assert across == sorted(across)
    for one in circles:
        assert 0 < float(one.get("cx", "")) < plots.WIDTH
        assert 0 < float(one.get("cy", "")) < plots.HEIGHT


def test_plots_of_few_points() -> None:
    assert plots.scatter([], "speed", "bits") == ""
    ElementTree.fromstring(plots.scatter([plots.Point("t", 1.0, 2.0, True)], "speed", "bits"))


def test_bars_are_as_long_as_they_should() -> None:
    tree = ElementTree.fromstring(
        plots.bars("a", [("x", 1.0, True), ("y", 2.0, False), ("z", None, False)], "bits")
    )
    wide = [float(one.get("width", "")) for one in tree.iter("rect")]
    assert wide[1] == pytest.approx(2 * wide[0], rel=0.01)
    assert "not coded" in [one.text for one in tree.iter("text")]
