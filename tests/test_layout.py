"""The repository's shape: what lies where, and that Python's packaging knows it."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("lmc", "codecs", "models", "kernels")
SETUP = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TOP = {
    ".ci",
    ".gitignore",
    "ARITHMETIC.md",
    "CHANGELOG.md",
    "FORMAT.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "codecs",
    "corpora",
    "docs",
    "kernels",
    "lmc",
    "models",
    "pyproject.toml",
    "setup.py",
    "tests",
}


def test_every_folder_with_python_is_mapped() -> None:
    table = SETUP["tool"]["setuptools"]
    folders = {
        path.parent.relative_to(ROOT).as_posix()
        for room in ROOMS
        for path in (ROOT / room).rglob("__init__.py")
    }
    mapped = {
        table["package-dir"].get(name, name.removeprefix("lmc.").replace(".", "/"))
        for name in table["packages"]
    }
    assert folders == mapped


def test_every_module_lies_in_a_package() -> None:
    for room in ROOMS:
        for module in (ROOT / room).rglob("*.py"):
            assert (module.parent / "__init__.py").exists(), module


def test_tests_are_no_package() -> None:
    """With an __init__.py, tests/codecs could take the place of the standard library's codecs."""
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_the_top_level_holds_what_is_expected() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    assert {line.split("/")[0] for line in listed.stdout.splitlines()} - TOP == set()


def test_the_version_is_one() -> None:
    import lmc

    assert lmc.__version__ == SETUP["project"]["version"]
    assert f"## {lmc.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
