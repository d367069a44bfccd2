"""The way from sounds to a network that codes, in small."""

from __future__ import annotations

import io
import sys
import tarfile
import wave
from pathlib import Path

import numpy as np
import pytest

from lmc.kernels import _native
from lmc.models.small import SOUNDS

pytest.importorskip("torch")


def test_from_sounds_to_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lmc.models.train import sound as training

    rng = np.random.default_rng(3)
    t = np.arange(3000)
    with tarfile.open(tmp_path / "sounds.tar", "w") as tar:
        for k in range(5):
            tone = 4000 * np.sin(t / (5 + k)) + rng.normal(0, 90, 3000)
            out = io.BytesIO()
            with wave.open(out, "wb") as file:
                file.setparams((1, 2, 8000, 0, "NONE", ""))
                file.writeframes(tone.astype("<i2").tobytes())
            entry = tarfile.TarInfo(f"tones/{k}.wav")
            entry.size = len(out.getvalue())
            tar.addfile(entry, io.BytesIO(out.getvalue()))
    made = tmp_path / "sound.npz"
    options = "--steps 40 --batch 512 --most 2000 --thin 2 --weight tones=2"
    arguments = ["sound", str(tmp_path / "sounds.tar"), str(made), *options.split()]
    monkeypatch.setattr(sys, "argv", arguments)
    training.main()
    with np.load(made) as arrays:
        network = SOUNDS.from_arrays(arrays)
    samples = tone.astype(np.int32)[None]
    limits = [(int(samples.min()), int(samples.max()))]
    payload = _native.sound_encode(samples, limits, 1, 0, True, network)
    assert len(payload) < 0.7 * 2 * samples.size
    back = _native.sound_decode(payload, samples.size, limits, 1, 0, True, network)
    assert (back == samples).all()
