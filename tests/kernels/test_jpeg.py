"""The coefficient model: C++ (AVX2 and plain) against the Python integers."""

from __future__ import annotations

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


@pytest.mark.parametrize(("name", "bands"), [("420", 2), ("444-optimised", 1), ("cmyk", 1)])
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
