"""What lmc does when it talks to a terminal: a real one, made by pty."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

LMC = str(Path(sys.executable).parent / "lmc")


def on_terminal(
    arguments: list[str], folder: Path, typed: str = "", *, slowly: bytes = b""
) -> tuple[str, int]:
    """Run lmc with a terminal as its three streams; returns what it showed and its exit code.

    With `slowly`, standard input is a pipe instead, which delivers these bytes over a second.
    """
    terminal, end = pty.openpty()
    os.write(terminal, typed.encode())
    process = subprocess.Popen(
        [LMC, *arguments],
        cwd=folder,
        stdin=subprocess.PIPE if slowly else end,
        stdout=end,
        stderr=end,
        start_new_session=True,
    )
    os.close(end)
    if process.stdin:
        for begin in range(0, len(slowly), len(slowly) // 10 + 1):
            process.stdin.write(slowly[begin : begin + len(slowly) // 10 + 1])
            process.stdin.flush()
            time.sleep(0.12)
        process.stdin.close()
    shown = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 1)[0]:
            try:
                data = os.read(terminal, 1 << 16)
            except OSError:  # EIO: the other end is closed
                break
            if not data:
                break
            shown += data
    os.close(terminal)
    return shown.decode(errors="replace").replace("\r\n", "\n"), process.wait(60)


def test_compressed_data_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"text\n")
    for arguments in (["-c", "a"], ["a", "-o", "-"], ["-9c", "a"], []):
        shown, code = on_terminal(arguments, tmp_path)
        assert "compressed data is not written to a terminal" in shown
        assert "hint: " in shown
        assert code == 1
    shown, code = on_terminal(["-cf", "a"], tmp_path)
    assert (code, "not written" in shown) == (0, False)


def test_compressed_data_is_not_typed(tmp_path: Path) -> None:
    for arguments in (["-d"], ["-t"], ["-dc"], ["-d", "-o", "x"]):
        shown, code = on_terminal(arguments, tmp_path)
        assert "compressed data is not read from a terminal" in shown
        assert code == 1
    assert not list(tmp_path.iterdir())


def test_content_may_be_shown(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"readable\n")
    assert on_terminal(["a"], tmp_path)[1] == 0
    shown, code = on_terminal(["-qdc", "a.lmc"], tmp_path)
    assert (shown, code) == ("readable\n", 0)


def test_a_question_before_replacing(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"new\n")
    (tmp_path / "a.lmc").write_bytes(b"old")
    shown, code = on_terminal(["a"], tmp_path, typed="n\n")
    assert "a.lmc exists; replace it (y/N)? " in shown
    assert code == 2
    assert (tmp_path / "a.lmc").read_bytes() == b"old"
    assert on_terminal(["a"], tmp_path, typed="\n")[1] == 2
    shown, code = on_terminal(["a"], tmp_path, typed="y\n")
    assert code == 0
    assert (tmp_path / "a.lmc").read_bytes() != b"old"
    shown, code = on_terminal(["-f", "a"], tmp_path)
    assert ("replace it" in shown, code) == (False, 0)


def test_a_summary_only_on_a_terminal_and_not_if_quiet(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"text\n" * 100)
    assert "a: 500 B -> " in on_terminal(["a"], tmp_path)[0]
    assert on_terminal(["-qf", "a"], tmp_path) == ("", 0)


def test_progress(tmp_path: Path) -> None:
    """A slow source draws a line, which is gone in the end."""
    slow = b"slow content\n" * 20000
    shown, code = on_terminal(["-0", "--frame-size", "64K", "-o", "x"], tmp_path, slowly=slow)
    assert code == 0
    assert "\r\x1b[Kstandard input" in shown
    assert "/s" in shown
    assert shown.rindex("\r\x1b[K") > shown.rindex("/s")
    shown, code = on_terminal(["-0qf", "-o", "x"], tmp_path, slowly=slow)
    assert (shown, code) == ("", 0)
