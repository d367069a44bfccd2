"""The tool as people see it: every file in transcripts/ is a session in a fresh folder.

    # what this session shows
    $ command for sh
    < a line for its standard input
    | a line of standard output
    ! a line of standard error
    ? exit code, if it is not 0

Neither stream is a terminal. `REWRITE=1 pytest tests/cli/test_transcripts.py` writes down what
happens now; look at the difference before you commit it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "transcripts"
SESSIONS = sorted(FOLDER.glob("*.txt"))


def play(session: str, folder: Path) -> str:
    """Run the commands of a session in `folder`; returns it with what happened."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {"PATH": programs, "HOME": str(folder), "LC_ALL": "C.UTF-8"}
    lines = session.splitlines()
    happened: list[str] = []
    for number, line in enumerate(lines):
        if line.startswith(("|", "!", "?", "<")):
            continue  # written anew below, or already part of a command
        happened.append(line)
        if not line.startswith("$ "):
            continue
        typed: list[str] = []
        for following in lines[number + 1 :]:
            if not following.startswith("<"):
                break
            typed.append(following)
        done = subprocess.run(
            ["sh", "-c", line[2:]],
            cwd=folder,
            env=environment,
            input="".join(text[2:] + "\n" for text in typed),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        happened += typed
        happened += [f"| {text}".rstrip() for text in done.stdout.splitlines()]
        happened += [f"! {text}".rstrip() for text in done.stderr.splitlines()]
        happened += [f"? {done.returncode}"] if done.returncode else []
    return "\n".join(happened) + "\n"


@pytest.mark.parametrize("path", SESSIONS, ids=[path.stem for path in SESSIONS])
def test_session(path: Path, tmp_path: Path) -> None:
    expected = path.read_text(encoding="utf-8")
    happened = play(expected, tmp_path)
    if os.environ.get("REWRITE"):
        path.write_text(happened, encoding="utf-8")
    else:
        assert happened == expected
