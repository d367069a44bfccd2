"""The coefficient model: C++ against the Python integers, and on ARM under emulation."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from lmc.kernels import _native, reference_jpeg

FILES = Path(__file__).parents[1] / "codecs" / "jpeg"


def components(data: bytes) -> list[reference_jpeg.Component]:
    out = []
    for h, v, width, height, quant, flat in _native.jpeg_blocks(data):
        rows = np.array(flat).reshape(height, width, 64).tolist()
        out.append(reference_jpeg.Component(h, v, width, height, quant, rows))
    return out


@pytest.mark.parametrize(("name", "bands"), [("420", 2), ("cmyk", 1)])
def test_the_model_is_the_reference(name: str, bands: int) -> None:
    data = (FILES / f"{name}.jpg").read_bytes()
    parts = _native.jpeg_encode(data, bands, 1)
    assert parts is not None
    image = components(data)
    mcus = max(-(-c.height // c.v) for c in image)
    lines = reference_jpeg.log2_lines(len(data), bands)
    assert len(parts[1]) == bands
    for i, payload in enumerate(parts[1]):
        band = reference_jpeg.Band(image, mcus * i // bands, mcus * (i + 1) // bands, lines)
        bits, p = (np.array(column) for column in zip(*band.coded, strict=True))
        coded = _native.encode_bits(bits.astype(np.uint8), p.astype(np.uint32))
        assert coded == payload


@pytest.mark.slow
def test_arm_writes_the_same_bytes(tmp_path: Path) -> None:
    compiler, emulator = "aarch64-linux-gnu-g++", "qemu-aarch64"
    for tool in (compiler, emulator):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    here = Path(__file__).parent
    flags = ["-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off", "-static"]
    inputs = ["-I", str(here.parents[1] / "kernels" / "src"), str(here / "arm" / "jpeg.cpp")]
    program = tmp_path / "jpeg"
    subprocess.run([compiler, *flags, *inputs, "-o", str(program)], check=True)
    for name in ("420", "progressive", "cmyk", "422-restarts"):
        path = FILES / f"{name}.jpg"
        parts = _native.jpeg_encode(path.read_bytes())
        assert parts is not None
        run = subprocess.run([emulator, str(program), str(path)], check=True, capture_output=True)
        assert run.stdout == parts[1][0]
