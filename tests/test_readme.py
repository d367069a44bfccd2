"""The README says what is so."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LMC = str(Path(sys.executable).parent / "lmc")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_usage_is_the_help() -> None:
    shown = subprocess.run(
        [LMC, "--help"],
        env=os.environ | {"COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout in blocks("text")


def test_the_commands_exist() -> None:
    """`make demo` and `make test` are promised, and every `make` target that is mentioned."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    mentioned = set(re.findall(r"\bmake ([a-z]+)", "\n".join(blocks("sh"))))
    assert {"demo", "test"} <= mentioned <= targets


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_library_example() -> None:
    """The Python block runs, and its assertions hold."""
    for block in blocks("python"):
        subprocess.run([sys.executable, "-c", block], check=True)
