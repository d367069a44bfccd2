"""One file's measuring: children that fail, hang or lie."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lmc.bench import content, synthetic, tools
from lmc.bench.content import Content
from lmc.bench.way import NotTaken, Way
from lmc.bench.work import Job, measure


def job(**facts: Any) -> Job:
    return Job("", "", (), **facts)


def tool(pack: Any, unpack: Any) -> tools.Tool:
    way = Way("none", lambda: "1", pack, unpack)
    return tools.Tool("own", "", ("text",), True, (way,))


PROSE = Content("text", synthetic.prose(300))


def test_what_is_measured() -> None:
    found = measure(tools.named("gzip -9", 1), [PROSE], job())
    assert found["restored"] is True
    assert found["restores"] == "file"
    assert 0 < found["bytes"] < len(PROSE.data)
    assert found["encode_runs"] == found["decode_runs"] == 3
    assert min(found["encode_s"], found["decode_s"], found["encode_cpu_s"]) > 0


def test_memory_is_what_is_added() -> None:
    def pack(part: Content) -> bytes:
        return part.data if b"x" * (64 << 20) else b""

    found = measure(tool(pack, lambda coded: coded), [PROSE], job())
    assert 60 << 20 < found["encode_memory"] < 100 << 20
    assert found["decode_memory"] < 30 << 20


def test_what_is_not_restored_has_failed() -> None:
    found = measure(tool(lambda part: part.data, lambda coded: coded[:-1]), [PROSE], job())
    assert found == {"failed": "the file is not restored"}


def test_an_exception_has_failed() -> None:
    def pack(_: Content) -> bytes:
        raise RuntimeError("no such luck")

    found = measure(tool(pack, bytes), [PROSE], job())
    assert found == {"failed": "RuntimeError: no such luck"}


def test_what_is_not_taken_has_not_failed() -> None:
    def pack(_: Content) -> bytes:
        raise NotTaken("prose")

    assert measure(tool(pack, bytes), [PROSE], job()) == {"not_taken": "prose"}


def test_a_crash_is_told_from() -> None:
    def unpack(_: bytes) -> bytes:
        import os
        import signal

        os.kill(os.getpid(), signal.SIGKILL)
        return b""

    found = measure(tool(lambda part: part.data, unpack), [PROSE], job())
    assert found == {"failed": "signal 9"}


def test_patience_ends() -> None:
    def pack(_: Content) -> bytes:
        time.sleep(60)
        return b""

    began = time.monotonic()
    assert measure(tool(pack, bytes), [PROSE], job(patience=1)) == {
        "failed": "took more than 1 seconds"
    }
    assert time.monotonic() - began < 20


def test_chunks_are_coded_alone() -> None:
    whole_content = Content("text", synthetic.prose(2000)[:5000])
    parts = whole_content.chunks()
    assert len(parts) == 3
    found = measure(tools.named("xz -9e", 1), parts, job(protocol="lmcompress"))
    whole = measure(tools.named("xz -9e", 1), [whole_content], job())
    assert found["restores"] == "chunks"
    assert found["bytes"] > whole["bytes"]


def test_a_job_by_its_command(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content.png(synthetic.pixels(16, 16)))
    what = Job(str(path), "a.png", ("xz -9e", "lmc -1"))
    assert Job.from_json(what.to_json()) == what
    done = subprocess.run(
        [sys.executable, "-m", "lmc.bench.work", what.to_json()],
        capture_output=True,
        text=True,
        check=True,
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["restores"] for one in found] == ["file", "file"]
    assert all(one["modality"] == "image" and one["units"] == 768 for one in found)
    assert found[1]["methods"]


def test_a_file_that_is_not_what_it_seems(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content.png(synthetic.pixels(16, 16))[:60])
    pytest.importorskip("imagecodecs")
    what = Job(str(path), "a.png", ("jpegxl -e 7", "lmc -1"))
    done = subprocess.run(
        [sys.executable, "-m", "lmc.bench.work", what.to_json()],
        capture_output=True,
        text=True,
        check=True,
    )
    first, second = [json.loads(line) for line in done.stdout.splitlines()]
    assert "not_taken" in first
    assert second["restored"] is True
