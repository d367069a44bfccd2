"""docs/benchmarks.md and the README's tables are what the stored results say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_tables_are_those_of_the_results() -> None:
    command = [sys.executable, str(ROOT / "corpora" / "tables.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, "make benchmarks writes them\n" + done.stderr
