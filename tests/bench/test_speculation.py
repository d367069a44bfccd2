"""`lmc bench speculate`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lmc.models import modelfile

LMC = str(Path(sys.executable).parent / "lmc")


def bench(*words: object) -> subprocess.CompletedProcess[str]:
    call = [LMC, "bench", "speculate", *map(str, words)]
    return subprocess.run(call, capture_output=True, text=True, check=False)


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    path = tmp_path / "sample.txt"
    path.write_bytes(b"".join(b"%d green bottles hanging on the wall\n" % n for n in range(40)))
    return path


def test_each_source_of_guesses_is_measured(sample: Path) -> None:
    done = bench("-m", "lmc-small", "--runs", 1, "--limit", 700, "--json", sample)
    assert done.returncode == 0, done.stderr
    own, none = map(json.loads, done.stdout.splitlines())
    assert (own["draft"], none["draft"]) == ("its own", "none")
    assert own["draft_bytes"] == (modelfile.DRAFTS / "lmc-small.draft.safetensors").stat().st_size
    assert none["draft_bytes"] == 0
    for found in (own, none):
        assert found["bytes"] == 700
        assert found["per_pass"] > 1.2  # the text repeats itself
        assert found["rows"] >= found["per_pass"]
        assert found["accepted"][0] > 0.3
        assert found["pass_ms"] > 0
        assert found["gain"] == pytest.approx(found["guessing"] / found["plain"], rel=1e-3)
        assert found["cores"] >= 1


def test_text_for_people(sample: Path) -> None:
    done = bench("-m", "lmc-tiny", "--runs", 1, "--limit", 300, sample, sample)
    assert done.returncode == 0, done.stderr
    heading, *lines = done.stdout.splitlines()
    assert heading.startswith("file")
    assert [line.split()[:2] for line in lines] == [["sample.txt", "none"]] * 2


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ((), 1, "nothing to measure"),
        (("--draft", "missing.draft"), 3, "cannot read the draft"),
        (("-m", "nobody"), 3, "nobody"),
        (("--device", "gpu"), 1, "no device"),
    ],
)
def test_what_cannot_be_done_is_said(
    words: tuple[str, ...], code: int, message: str, sample: Path
) -> None:
    files = [sample] if words else []
    done = bench("--runs", 1, *words, *([] if "-m" in words else ["-m", "lmc-tiny"]), *files)
    assert done.returncode == code
    assert message in done.stderr
    assert done.stderr.count("\n") <= 2


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    done = bench("-m", "lmc-tiny", tmp_path / "none")
    assert done.returncode == 1
    assert "No such file" in done.stderr
