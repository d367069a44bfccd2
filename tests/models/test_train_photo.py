"""The way from pictures to networks that code, in small."""

from __future__ import annotations

import io
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lmc.kernels import _native
from lmc.models.small import PHOTOS

pytest.importorskip("torch")


def test_from_pictures_to_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lmc.models.train import photo as training

    rng = np.random.default_rng(3)
    y, x = np.mgrid[:40, :50]
    with tarfile.open(tmp_path / "images.tar", "w") as tar:
        for k in range(3):
            shape = 120 + 50 * np.sin(x / (5 + k) + y / 9)[..., None] * [1, 0.8, 0.6]
            pixels = (shape + rng.normal(0, 4, (40, 50, 3))).clip(0, 255).astype(np.uint8)
            out = io.BytesIO()
            Image.fromarray(pixels).save(out, "WEBP", lossless=True)
            entry = tarfile.TarInfo(f"photo/{k}.webp")
            entry.size = len(out.getvalue())
            tar.addfile(entry, io.BytesIO(out.getvalue()))
    options = "--sizes fast --steps 12 --batch 1024 --seconds 60"
    arguments = ["photo", str(tmp_path / "images.tar"), str(tmp_path / "out"), *options.split()]
    monkeypatch.setattr(sys, "argv", arguments)
    training.main()
    packed = str(tmp_path / "photo.npz")
    monkeypatch.setattr(sys, "argv", ["photo", str(tmp_path / "out"), packed, "--pack", "fast"])
    training.main()
    with np.load(packed) as arrays:
        networks = PHOTOS.from_arrays(arrays)
    wide = np.ascontiguousarray(pixels, np.uint16)
    payload = _native.photo_encode(networks, wide, 8)
    assert len(payload) < 0.7 * pixels.size
    assert (_native.photo_decode(networks, payload, 40, 50, 3, 8) == wide).all()
