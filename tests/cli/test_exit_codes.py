"""The exit code says what went wrong, and several files' codes come together to one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lmc.cli import Console
from lmc.errors import Corrupt, LmcError, ModelMissing
from lmc.files import Skipped

GOLDEN = Path(__file__).parents[1] / "golden"
LMC = str(Path(sys.executable).parent / "lmc")


@pytest.mark.parametrize(
    ("errors", "code"),
    [
        ([], 0),
        ([LmcError("x")], 1),
        ([Skipped("x")], 2),
        ([ModelMissing("x")], 3),
        ([Skipped("x"), LmcError("x")], 1),
        ([Skipped("x"), ModelMissing("x")], 3),
        ([ModelMissing("x"), ModelMissing("x")], 3),
        ([ModelMissing("x"), Corrupt("x")], 1),
    ],
)
def test_codes_come_together(errors: list[LmcError], code: int) -> None:
    console = Console(quiet=2)
    console.codes.add(0)
    for error in errors:
        console.failed("file", error)
    assert console.exit_code == code


def test_a_missing_model_has_its_own_code(tmp_path: Path) -> None:
    done = subprocess.run(
        [LMC, "-t", str(GOLDEN / "unsupported-model.lmc")],
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert "is not installed" in done.stderr
