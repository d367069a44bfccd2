"""The way from clips and pictures to networks that code, in small."""

from __future__ import annotations

import io
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lmc.kernels import _native
from lmc.models.small import VIDEOS

pytest.importorskip("torch")


def test_from_clips_to_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lmc.models.train import video as training

    rng = np.random.default_rng(3)
    y, x = np.mgrid[:64, :72]
    hills = 120 + 50 * np.sin(x / 5 + y / 9)[..., None] * [1, 0.8, 0.6]
    picture = io.BytesIO()
    pixels = (hills + rng.normal(0, 4, hills.shape)).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(picture, "PNG")
    frames = np.stack([hills[f : f + 24, 2 * f : 2 * f + 36, 0] for f in range(3)])
    frames = (frames + rng.normal(0, 2, frames.shape)).clip(0, 255).astype(np.uint8)
    grey = bytes([128]) * (24 * 36 // 2)
    clip = b"YUV4MPEG2 W36 H24 F25:1 C420jpeg\n"
    clip += b"".join(b"FRAME\n" + frame.tobytes() + grey for frame in frames)
    with tarfile.open(tmp_path / "clips.tar", "w") as tar:
        for name, data in (("a.y4m", clip), ("b.y4m", clip), ("c.png", picture.getvalue())):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    made = tmp_path / "made"
    options = "--every 3 --batch 512 --seconds 2,1,1 --turns 2"
    monkeypatch.setattr(
        sys, "argv", ["video", str(tmp_path / "clips.tar"), str(made), *options.split()]
    )
    training.main()
    samples = np.ascontiguousarray(frames, np.uint16).reshape(-1)
    for size in training.SIZES:
        with np.load(made / f"{size}.npz") as arrays:
            networks = VIDEOS.from_arrays(arrays)
        way = [(36, 24, 0, 0)], 8, 1, 1, networks
        payloads = _native.video_encode(samples, 3, *way)
        assert sum(map(len, payloads)) < 0.7 * samples.size
        assert (_native.video_decode(payloads, 3, *way) == samples).all()


def test_a_mirrored_clip_is_one() -> None:
    from lmc.models.train import video as training

    width, height, half = 6, 4, 6
    samples = np.arange(3 * (width * height + 2 * half), dtype=np.uint16).reshape(3, -1)
    other = training.mirrored(samples, width, height)
    luma, first, second = np.split(other[0], [width * height, width * height + half])
    assert luma[:width].tolist() == samples[2, :width][::-1].tolist()
    assert first.tolist() == samples[2, -half:].reshape(2, 3)[:, ::-1].ravel().tolist()
    assert second[:3].tolist() == samples[2, width * height :][:3][::-1].tolist()
    np.testing.assert_array_equal(training.mirrored(other, width, height), samples)
