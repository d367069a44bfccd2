"""`lmc bench` as people and programs see it."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from lmc.bench import synthetic

LMC = str(Path(sys.executable).parent / "lmc")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("bench") / "synthetic"
    synthetic.make(made)
    return made


def bench(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [LMC, "bench", *map(str, words)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=os.environ | {"PYTHONIOENCODING": "utf-8"} | environment,
        check=False,
    )


def results(*words: object, **environment: str) -> dict[str, Any]:
    done = bench(*words, "--json", **environment)
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_each_kind_goes_to_its_tools(folder: Path, tmp_path: Path) -> None:
    words = ("--tools", "gzip,xz,flac,jpegxl,h264,lmc", "--levels", "1", folder)
    found = results(*words, "--results", tmp_path / "r")
    kinds = {(one["name"], one["tool"]): one for one in found["results"]}
    assert ("synthetic/prose.txt", "gzip -9") in kinds
    assert ("synthetic/picture.png", "gzip -9") not in kinds
    for name in ("prose.txt", "records.bin", "picture.png", "tone.wav", "clip.y4m"):
        one = kinds[f"synthetic/{name}", "lmc -1"]
        assert one["restored"] is True
        assert one["restores"] == "file"
        data = (folder / name).read_bytes()
        assert one["file_bytes"] == len(data)
        assert one["bits_per_unit"] == round(8 * one["bytes"] / one["units"], 4)
        assert one["command"]
        assert one["version"].startswith("lmc ")
        assert one["cpu"]
    assert {group["modality"] for group in found["groups"]} == {
        "text",
        "bytes",
        "image",
        "audio",
        "video",
    }


def test_again_the_same_sizes_and_nothing_is_measured_twice(folder: Path, tmp_path: Path) -> None:
    words = ("--tools", "gzip,bzip2,lmc", "--levels", "2", folder, "--results")
    first = results(*words, tmp_path / "r")
    lines = (tmp_path / "r").read_text()
    second = results(*words, tmp_path / "r")
    assert (tmp_path / "r").read_text() == lines
    assert second["results"] == first["results"]
    fresh = results(*words, tmp_path / "r", "--fresh")
    sizes = [[one["bytes"] for one in found["results"]] for found in (first, fresh)]
    assert sizes[0] == sizes[1]
    assert (tmp_path / "r").read_text().startswith(lines)
    assert (tmp_path / "r").read_text() != lines


def test_side_by_side_the_same_sizes(folder: Path, tmp_path: Path) -> None:
    words = ("--tools", "gzip,xz,flac,lmc", "--levels", "1", folder, "--results")
    one, two = (results(*words, tmp_path / jobs, "-j", jobs)["results"] for jobs in "12")
    sizes = [[(r["name"], r["tool"], r["bytes"]) for r in found] for found in (one, two)]
    assert sorted(sizes[0]) == sorted(sizes[1])
    names = [name for name, _, _ in sizes[1]]
    assert [names[0], *(b for a, b in pairwise(names) if a != b)] == list(dict.fromkeys(names))


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_an_interrupt_keeps_what_there_is(folder: Path, tmp_path: Path, jobs: str) -> None:
    path = tmp_path / "r"
    words = ["--tools", "gzip,lmc", "--levels", "2", str(folder), "--results", str(path)]
    words += ["--jobs", jobs]
    process = subprocess.Popen(
        [LMC, "bench", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert "the same command goes on from there" in said
    kept = path.read_text().splitlines()
    assert kept
    found = results(*words)
    assert len(found["results"]) == 7  # gzip takes two of the five files
    assert path.read_text().splitlines()[: len(kept)] == kept


def test_a_tool_that_fails_costs_only_itself(folder: Path, tmp_path: Path) -> None:
    """A program of the name of one that is looked for, but that does something else."""
    (tmp_path / "flif").write_text("#!/bin/sh\necho out of luck >&2\nexit 3\n")
    (tmp_path / "flif").chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    words = ("--tools", "flif,xz", folder / "picture.png", "--results", tmp_path / "r", "--json")
    done = bench(*words, PATH=path)
    assert done.returncode == 1
    assert "picture.png: flif -e failed: RuntimeError: out of luck" in done.stderr
    found = json.loads(done.stdout)
    assert [("bytes" in one) for one in found["results"]] == [True, False]
    assert len(found["failed"]) == 1


def test_what_is_not_installed_is_named(folder: Path, tmp_path: Path) -> None:
    words = ("--tools", "flif,xz", folder / "picture.png", "--results", tmp_path / "r")
    done = bench(*words, PATH=str(tmp_path))
    assert done.returncode == 0
    assert "lmc: flif -e is not installed (program: flif): left out" in done.stderr
    assert "Not installed: flif -e (program: flif)" in done.stdout


def test_csv_has_a_line_for_each(folder: Path, tmp_path: Path) -> None:
    words = ("--tools", "gzip,bzip2", folder, "--csv", "-q", "--results", tmp_path / "r")
    done = bench(*words)
    assert (done.returncode, done.stderr) == (0, "")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [(row["name"], row["tool"]) for row in rows] == [
        ("synthetic/prose.txt", "gzip -9"),
        ("synthetic/prose.txt", "bzip2 -9"),
        ("synthetic/records.bin", "gzip -9"),
        ("synthetic/records.bin", "bzip2 -9"),
    ]
    assert all(float(row["encode_s"]) > 0 for row in rows)


def test_the_protocol_stands_beside_whole_files(folder: Path, tmp_path: Path) -> None:
    words = ("--tools", "xz,lmc", "--levels", "1", "--protocol", "lmcompress", "--limit", "6000")
    done = bench(*words, folder / "prose.txt", folder / "tone.wav", "--results", tmp_path / "r")
    assert done.returncode == 0, done.stderr
    assert "Every chunk is coded alone" in done.stdout
    assert done.stdout.index("Whole files") < done.stdout.index("Protocol of LMCompress")
    assert "chunks" in done.stdout


def test_the_report_is_written(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    done = bench("--tools", "gzip", folder, "--html", path, "-q", "--results", tmp_path / "r")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert path.read_text("utf-8").startswith("<!doctype html>")
    assert bench("--corpus", "list").stdout.startswith("enwik8")


def test_what_is_refused(folder: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    (tmp_path / "diary").write_text("dear diary\n")
    for words, said in (
        ((), "nothing to measure"),
        (("--tools", "zip", folder), "'zip' is no tool"),
        (("--levels", "12", folder), "there is no level 12"),
        (("--levels", "a", folder), "'a' are no levels"),
        (("--corpus", "nothing"), "there is no corpus 'nothing'"),
        (("--json", "--csv", folder), "--json and --csv both want standard output"),
        ((tmp_path / "none",), "none: no such file or directory"),
        ((empty,), "empty: is empty"),
        ((folder, "--results", tmp_path / "diary"), "line 1 is no result"),
        (("--protocol", "own", folder), "own"),
        (("--html", tmp_path / "none" / "a.html", folder), "for the report"),
        (("--runs", "0", folder), "0 is not in the range"),
    ):
        done = bench(*words)
        assert done.returncode == 1, words
        assert said in done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout == ""
