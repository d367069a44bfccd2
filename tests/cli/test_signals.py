"""Whatever ends lmc, nothing half-made is left, and nothing that was there is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

LMC = str(Path(sys.executable).parent / "lmc")


def until(condition: str, folder: Path) -> None:
    """Wait until a file that matches the pattern exists."""
    deadline = time.monotonic() + 30
    while not list(folder.glob(condition)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_leave_nothing(number: signal.Signals, tmp_path: Path) -> None:
    old = tmp_path / "x"
    old.write_bytes(b"old")
    process = subprocess.Popen(
        [LMC, "-0f", "--frame-size", "64K", "-o", "x"],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin
    assert process.stderr
    process.stdin.write(b"0" * 200_000)  # and then no end: the work is in progress
    process.stdin.flush()
    until(".x.*.part", tmp_path)
    process.send_signal(number)
    assert process.wait(30) == -number
    assert process.stderr.read() == b""
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert old.read_bytes() == b"old"
    process.stdin.close()
    process.stderr.close()


def test_signals_reach_native_code(tmp_path: Path) -> None:
    """A signal is obeyed at once, not when the kernels come back from a long frame."""
    source = tmp_path / "a"
    source.write_bytes(os.urandom(1 << 20) * 48)
    process = subprocess.Popen([LMC, "--frame-size", "64M", "a"], cwd=tmp_path)
    until(".a.lmc.*.part", tmp_path)
    time.sleep(0.1)
    if process.poll() is None:
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        assert time.monotonic() - began < 5
    assert not list(tmp_path.glob(".*"))


def test_nohup_stays_in_force(tmp_path: Path) -> None:
    process = subprocess.Popen(
        ["nohup", LMC, "-0", "-o", "x"],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin
    until(".x.*.part", tmp_path)
    process.send_signal(signal.SIGHUP)
    process.stdin.close()
    assert process.wait(30) == 0
    assert (tmp_path / "x").exists()


def test_a_broken_pipe_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(os.urandom(1 << 20))
    subprocess.run([LMC, "-0", "a"], cwd=tmp_path, check=True)
    for command in (["-dc", "a.lmc"], ["-dcf", "a"], ["-0c", "a"], ["-l", *["a.lmc"] * 2000]):
        process = subprocess.Popen(
            [LMC, *command], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout
        assert process.stderr
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
        process.stderr.close()
        assert process.wait(60) == -signal.SIGPIPE


def test_closed_streams(tmp_path: Path) -> None:
    """A closed standard output must not become the number of a file that is being written."""
    (tmp_path / "a").write_bytes(b"text")
    done = subprocess.run(["sh", "-c", f"'{LMC}' -f a >&-"], cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert (tmp_path / "a").read_bytes() == b"text"
