"""The ARM variants, cross-compiled and run under emulation, give the golden logits."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SOURCES = HERE.parents[1] / "kernels" / "src"
COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"
PARTS = ["threads", "dispatch", "tables", "transformer"]
VARIANTS = ["scalar", "neon", "neondot"]


def golden() -> str:
    text = (HERE / "test_network.py").read_text()
    match = re.search(r'^GOLDEN = "(\w+)"', text, re.MULTILINE)
    assert match
    return match[1]


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for tool in (COMPILER, EMULATOR):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    out = tmp_path_factory.mktemp("arm") / "golden"
    files = [SOURCES / f"{name}.cpp" for name in PARTS + [f"network_{v}" for v in VARIANTS]]
    flags = ["-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off"]
    flags += ["-static", "-pthread"]
    inputs = ["-I", str(SOURCES), str(HERE / "arm" / "golden.cpp"), *map(str, files)]
    subprocess.run([COMPILER, *flags, *inputs, "-o", str(out)], check=True)
    return out


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("rows", [1, 7, 45])
def test_golden_logits(program: Path, variant: str, rows: int) -> None:
    call = [EMULATOR, str(program), variant, str(rows)]
    run = subprocess.run(call, check=True, capture_output=True)
    assert hashlib.sha256(run.stdout).hexdigest() == golden()


@pytest.mark.slow
def test_a_processor_without_dot_products_refuses_them(program: Path) -> None:
    run = subprocess.run(
        [EMULATOR, "-cpu", "cortex-a53", str(program), "neondot", "1"], capture_output=True
    )
    assert run.returncode != 0
    assert b"cannot run" in run.stderr
