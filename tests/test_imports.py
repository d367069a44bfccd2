"""Start-up: heavy libraries are imported by the paths that need them, not by the rest."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "numpy", "tokenizers", "safetensors", "constriction")


@pytest.mark.parametrize(
    "statement", ["import lmc", "import lmc.cli", "import lmc.cli; lmc.cli.parse(['-d', 'a'])"]
)
def test_nothing_heavy_at_the_door(statement: str) -> None:
    code = f"import sys; {statement}; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_stored_files_need_nothing_heavy() -> None:
    code = (
        "import sys, lmc; lmc.decompress(lmc.compress(b'x', level=0)); "
        "print([name for name in ('torch', 'transformers', 'tokenizers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
