"""What tests of several rooms share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def tiny_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A data directory with the models of the network golden files."""
    (tmp_path / "models").mkdir()
    for path in (Path(__file__).parent / "golden").glob("*.safetensors"):
        shutil.copy(path, tmp_path / "models")
    monkeypatch.setenv("LMC_HOME", str(tmp_path))
    return tmp_path
