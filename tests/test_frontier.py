"""corpora/frontier.py in small: it measures, makes a table, and draws."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONTENTS = {
    "a.txt": b"to be, or not to be: that is the question\n" * 40,
    "b.bin": bytes(range(256)),
}
TOOLS = ["gzip -9", "bzip2 -9", "xz -9e", "lmc -2"]


def frontier(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "corpora" / "frontier.py"), *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=os.environ | {"PYTHONIOENCODING": "utf-8"},
        check=False,
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frontier")
    for name, content in CONTENTS.items():
        (folder / name).write_bytes(content)
    files = [folder / name for name in CONTENTS]
    done = frontier("measure", "--levels", 2, "--tools", "gzip,bzip2,xz,lmc", *files)
    assert (done.returncode, done.stderr) == (0, "")
    path = folder / "results.jsonl"
    path.write_text(done.stdout, encoding="utf-8")
    return path


def test_every_tool_tells_of_every_file(results: Path) -> None:
    records = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    told = [(record["file"], f"{record['tool']} {record['setting']}") for record in records]
    assert told == [(name, tool) for name in CONTENTS for tool in TOOLS]
    for record in records:
        content = CONTENTS[record["file"]]
        assert record["sha256"] == hashlib.sha256(content).hexdigest()
        assert record["input_bytes"] == len(content)
        assert record["bits_per_byte"] == round(8 * record["bytes"] / len(content), 4)
        assert min(record["compress_kb_s"], record["decompress_kb_s"]) > 0
        assert record["model_bytes"] == record["embedded_model_bytes"] == 0
        assert record["restored"] is True
        assert record["version"]
        assert record["command"]
        assert record["cpu"]


def test_the_table_has_every_tool_and_file(results: Path) -> None:
    done = frontier("table", results)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert all(f"{name}, " in lines[0] for name in CONTENTS)
    assert [line.split(" | ")[0] for line in lines[2:6]] == [f"| {tool}" for tool in TOOLS]
    assert len({line.count("|") for line in lines[:6]}) == 1
    assert lines[6] == ""


def test_what_is_incomplete_has_no_total(results: Path, tmp_path: Path) -> None:
    """And a tool that was not installed is named; a later line replaces an earlier one."""
    lines = results.read_text(encoding="utf-8").splitlines()
    again = {**json.loads(lines[0]), "bits_per_byte": 7.777}
    missing = {"tool": "kanzi", "setting": "-9", "missing": True}
    path = tmp_path / "results.jsonl"
    path.write_text("\n".join([*lines[:-1], json.dumps(again), json.dumps(missing)]))
    table = frontier("table", path).stdout.splitlines()
    assert table[2].startswith("| gzip -9 | 7.777 |")
    assert table[5].split(" | ")[2:4] == ["", ""]
    assert "- Not installed: kanzi -9" in table


@pytest.mark.skipif(find_spec("matplotlib") is None, reason="matplotlib is not installed")
def test_the_plot_is_a_picture(results: Path, tmp_path: Path) -> None:
    picture = tmp_path / "frontier.png"
    done = frontier("plot", results, picture)
    assert done.returncode == 0, done.stderr
    assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_what_it_refuses(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    done = frontier("measure", "--tools", "gzip", empty)
    assert done.returncode == 1
    assert "is empty" in done.stderr
    assert "is none of gzip" in frontier("measure", "--tools", "zip", empty).stderr
