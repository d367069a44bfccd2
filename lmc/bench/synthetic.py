"""A small corpus of every kind of files, made by rule: for tests, and to try `lmc bench` on.

It says nothing about compression of real files. The same contents come out everywhere, by integer
arithmetic alone; how zlib packs them into the PNG is a matter of its version.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lmc.bench.content import png, wav

WORDS = (
    b"the model of a file is what its next byte can be told from and a coder stores the rest so "
    b"every better guess makes it smaller while nothing of it may ever be lost on the way back"
).split()


def noise(count: int, seed: int) -> NDArray[np.uint32]:
    """Numbers of 32 bits that look random: the finaliser of MurmurHash3 over a counter.

    >>> noise(2, 1).tolist() == noise(3, 1)[:2].tolist()
    True
    """
    x = np.arange(count, dtype=np.uint32) * np.uint32(2654435769) + np.uint32(seed * 7919 + 1)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        x ^= x >> np.uint32(shift)
        x *= np.uint32(factor)
    return x ^ (x >> np.uint32(16))


def prose(count: int) -> bytes:
    """Words in an order that repeats itself now and then."""
    chosen = noise(count, 2) % np.uint32(len(WORDS))
    return b" ".join(WORDS[at] for at in chosen.tolist()) + b"\n"


def table(count: int) -> bytes:
    """Records of 16 bytes, as programs keep them."""
    rows = np.zeros((count, 4), "<u4")
    rows[:, 0] = np.arange(count)
    rows[:, 1] = noise(count, 3) % np.uint32(97)
    rows[:, 2] = np.cumsum(noise(count, 4) % np.uint32(1000))
    return rows.tobytes()


def pixels(height: int, width: int) -> NDArray[np.uint8]:
    """RGB: a slope, edges, and a little noise."""
    y, x = np.mgrid[:height, :width]
    grey = (x + 2 * y) % 256 // 2 + 60 * ((x // 16 + y // 16) % 2)
    grain = (noise(height * width * 3, 5) % np.uint32(5)).reshape(height, width, 3)
    out: NDArray[np.uint8] = (grey[..., None] + np.arange(3) * 9 + grain).clip(0, 255).astype("u1")
    return out


def tone(count: int, channels: int) -> NDArray[np.int32]:
    """(time, channels) of 16 bits: triangular waves and noise."""
    time = np.arange(count)[:, None]
    periods = 97 + 13 * np.arange(channels)[None, :]
    wave = np.abs(time % periods * 2 - periods) * (8000 // periods)
    grain = (noise(count * channels, 6) % np.uint32(64)).reshape(count, channels)
    out: NDArray[np.int32] = (wave + grain - 4000).astype("i4")
    return out


def clip(frames: int, height: int, width: int) -> bytes:
    """Y4M, 4:2:0: a picture that moves to the left."""
    out = b"YUV4MPEG2 W%d H%d F25:1 Ip A1:1 C420jpeg\n" % (width, height)
    wide = pixels(height, width + 2 * frames)
    for number in range(frames):
        seen = wide[:, 2 * number : 2 * number + width]
        chroma = [seen[::2, ::2, plane].tobytes() for plane in (0, 2)]
        out += b"FRAME\n" + seen[..., 1].tobytes() + b"".join(chroma)
    return out


def make(folder: Path) -> None:
    """Write the files, some hundred kilobytes in all."""
    contents = {
        "prose.txt": prose(4000),
        "records.bin": table(2000),
        "picture.png": png(pixels(64, 96)),
        "tone.wav": wav(tone(8000, 2), 16, 16000),
        "clip.y4m": clip(6, 48, 64),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
