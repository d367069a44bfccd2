"""How a tool is had and called."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from lmc.bench.content import Content


class NotTaken(Exception):
    """A tool does not take content of this kind: no failure."""


@dataclass(frozen=True, slots=True)
class Way:
    """command: the call that is measured, for people. pack: from content to coded bytes; unpack:
    back to what it was made of: bytes, or samples as in `Content`. modules and programs: what must
    be installed; get: how to get it. threads: those that it runs on."""

    command: str
    version: Callable[[], str]
    pack: Callable[[Content], bytes]
    unpack: Callable[[bytes], Any]
    modules: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    get: str = ""
    threads: int = 1


def of_package(name: str) -> Callable[[], str]:
    """The version of a package of pip's."""
    return lambda: f"{name} {metadata.version(name)}"


def of_program(*command: str) -> Callable[[], str]:
    """The first word of what a program says of itself that begins with a digit."""

    def version() -> str:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        words = (done.stdout + done.stderr).replace(" v", " ").split()
        number = next((word.rstrip(",;") for word in words if word[0].isdigit()), "?")
        return f"{command[0]} {number}"

    return version


def by_program(command: str, source: bytes, suffixes: tuple[str, str]) -> bytes:
    """What a program makes of IN, and writes to OUT, two words of its command; suffixes: of their
    names. Raises RuntimeError with the last line that it said."""
    with tempfile.TemporaryDirectory(prefix="lmc-bench-") as folder:
        inside, outside = (
            Path(folder) / name for name in ("in" + suffixes[0], "out" + suffixes[1])
        )
        inside.write_bytes(source)
        files = {"IN": str(inside), "OUT": str(outside)}
        words = [files.get(word, word) for word in command.split()]
        done = subprocess.run(words, capture_output=True, cwd=folder, check=False)
        if done.returncode or not outside.exists():
            said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
            raise RuntimeError(said[-1] if said else f"exit code {done.returncode}")
        return outside.read_bytes()
