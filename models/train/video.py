"""Train the video model's networks: `python -m lmc.models.train.video CLIPS.tar OUT.npz [options]`.

The archive holds clips (Y4M, 4:2:0, 8 bits) and pictures, which are made to move. Every so manieth
sample becomes a row: the inputs that the codec itself computes for it (`_native.video_rows`: least
squares, windows that motion leads to, errors), and the value. A network sees the inputs, 7 bits
each, and gives a mixture of discretised logistics, as that of photos does (models/train/photo.py).
"""

from __future__ import annotations

import argparse
import copy
import io
import multiprocessing
import os
import tarfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from lmc.kernels import _native
from lmc.models.small import VIDEOS
from lmc.models.train.layers import Layers, exported
from lmc.models.train.photo import bits

PLACES = VIDEOS.places
SIZES = {"normal": (104, (320, 256)), "large": (176, (768, 384))}  # inputs, the first ones; hidden
EFFORT = 1
HELD_OUT = 10  # every so manieth clip
MOST_WIDTH, MOST_HEIGHT, MOST_FRAMES = 256, 160, 8

Rows = tuple[NDArray[np.uint8], NDArray[np.int32]]  # inputs; centre, scale, value, cost
Clip = tuple[int, int, NDArray[np.float32]]  # width, height, frames of 4:2:0


# ---- clips ---------------------------------------------------------------------------------------


def y4m(data: bytes) -> Clip:
    """The first frames of a file."""
    end = data.index(b"\n")
    words = data[:end].split()
    width, height = (int(w[1:]) for key in b"WH" for w in words if w[0] == key)
    frame = width * height * 3 // 2
    frames: list[NDArray[np.uint8]] = []
    while end + 1 < len(data) and len(frames) < MOST_FRAMES:
        end = data.index(b"\n", end + 1)
        frames.append(np.frombuffer(data, np.uint8, frame, end + 1))
        end += frame
    return width, height, np.stack(frames).astype(np.float32)


def planes_of(picture: Image.Image) -> NDArray[np.float32]:
    """The planes of 4:2:0 of a picture of even sides."""
    ycc = np.asarray(picture.convert("YCbCr"), np.float32)
    h, w = ycc.shape[:2]
    halves = ycc.reshape(h // 2, 2, w // 2, 2, 3).mean((1, 3))
    return np.concatenate([ycc[..., 0].ravel(), halves[..., 1].ravel(), halves[..., 2].ravel()])


def moving(picture: Image.Image, rng: np.random.Generator) -> Clip:
    """A camera that pans, turns and zooms over a picture, a part of which moves by itself."""
    shrink = rng.choice([1.0, 1.0, 1.5, 2.0])
    wide, high = (int(n / shrink) for n in picture.size)
    filters = (Image.Resampling.BICUBIC, Image.Resampling.BOX, Image.Resampling.LANCZOS)
    picture = picture.convert("RGB").resize((wide, high), filters[rng.integers(3)])
    width, height = min(192, wide // 4 * 2), min(144, high // 4 * 2)
    speed = rng.choice([0.0, 0.3, 1.0, 3.0])
    at = rng.uniform((0, 0), (wide - width, high - height))
    pan, own_pan = rng.normal(0, speed, 2), rng.normal(0, 1.5, 2)
    zoom, turn = rng.normal(0, 0.003 * speed), rng.normal(0, 0.003 * speed)
    shake = rng.choice([0.0, 0.3]) * speed
    whole = rng.random() < 0.2  # no fractions of samples
    y, x = np.mgrid[:height, :width]
    middle, size = rng.uniform(0, (width, height)), rng.uniform(12, 50, 2)
    source = at + rng.normal(0, 40, 2)
    frames = []
    for t in range(6):
        where = at + pan * t + rng.normal(0, shake, 2)
        angle, scale = turn * t, np.exp(zoom * t)
        if whole:
            where, angle, scale = np.rint(where), 0.0, 1.0
        c, s = scale * np.cos(angle), scale * np.sin(angle)
        half_w, half_h = width / 2, height / 2
        shift = where + np.array(
            [half_w - c * half_w + s * half_h, half_h - s * half_w - c * half_h]
        )
        affine = (c, -s, shift[0], s, c, shift[1])
        view = picture.transform(
            (width, height), Image.Transform.AFFINE, affine, Image.Resampling.BICUBIC
        )
        place = middle + own_pan * t
        inside = (((x - place[0]) / size[0]) ** 2 + ((y - place[1]) / size[1]) ** 2) < 1
        by = source - own_pan * t
        other = picture.transform(
            (width, height),
            Image.Transform.AFFINE,
            (1, 0, by[0], 0, 1, by[1]),
            Image.Resampling.BICUBIC,
        )
        view.paste(other, mask=Image.fromarray((inside * 255).astype(np.uint8)))
        frames.append(planes_of(view))
    return width, height, np.stack(frames)


def mirrored(samples: NDArray[np.uint16], width: int, height: int) -> NDArray[np.uint16]:
    """Frames of 4:2:0 from the last to the first, and each plane's rows from the right."""
    luma, chroma = np.split(samples[::-1], [width * height], 1)
    luma = luma.reshape(-1, height, width)[..., ::-1]
    chroma = chroma.reshape(-1, 2, height // 2, width // 2)[:, ::-1, :, ::-1]
    parts = [part.reshape(len(samples), -1) for part in (luma, chroma)]
    return np.ascontiguousarray(np.concatenate(parts, 1))


def rows_of(task: tuple[int, int, str, bytes, int]) -> tuple[int, list[Rows]]:
    """The rows of a clip or picture, with noise or without, for each plane; other turns are other
    views of it: backwards, from the right to the left, the planes of chroma exchanged."""
    turn, number, name, data, every = task
    rng = np.random.default_rng(number + 10**6 * turn)
    if name.endswith(".y4m"):
        width, height, frames = y4m(data)
        noise = rng.choice([0.0, 0.0, 0.5, 1.0, 2.0])
    else:
        width, height, frames = moving(Image.open(io.BytesIO(data)), rng)
        noise = rng.choice([0.0, 0.5, 1.0, 1.5, 2.5, 4.0])
    grain = rng.normal(0, noise, frames.shape)
    grain[:, width * height :] *= rng.uniform(0.4, 1.0)
    samples = np.rint(frames + grain).clip(0, 255).astype(np.uint16)
    if turn % 2 == 1:
        samples = mirrored(samples, width, height)
    half = (width // 2, height // 2, 1, 1)
    planes = [(width, height, 0, 0), half, half]
    return number, _native.video_rows(
        samples.reshape(-1), len(samples), planes, 8, EFFORT, 1, every
    )


def gather(archive: Path, every: int, turns: int, limit: int) -> tuple[list[Rows], list[Rows]]:
    """For each place rows to train on, and held-out rows."""
    with tarfile.open(archive) as tar:
        members = [m for m in tar.getmembers() if m.isfile()][:limit]
        tasks = [
            (turn, i, m.name, tar.extractfile(m).read(), every)  # type: ignore[union-attr]
            for turn in range(turns)
            for i, m in enumerate(members)
            if turn == 0 or i % HELD_OUT != 0
        ]
    train: list[list[Rows]] = []
    held: list[list[Rows]] = []
    with multiprocessing.get_context("fork").Pool(len(os.sched_getaffinity(0))) as pool:
        for number, rows in pool.imap_unordered(rows_of, tasks):
            (held if number % HELD_OUT == 0 else train).append(rows)

    def joined(parts: list[list[Rows]]) -> list[Rows]:
        return [
            (np.concatenate([p[c][0] for p in parts]), np.concatenate([p[c][1] for p in parts]))
            for c in range(len(PLACES))
        ]

    return joined(train), joined(held)


# ---- training ------------------------------------------------------------------------------------


def train(
    rows: Rows, held: Rows, net: Layers, seconds: float, batch: int, rate: float
) -> tuple[Layers, float]:
    """The network as it was when it was best on held-out rows, and its bits a sample there."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    inputs, numbers = (torch.from_numpy(a).to(device) for a in rows)
    net.to(device)
    many = net.linear[0].in_features
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=1e-2)

    def loss(x: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            out = net(x[:, :many].float())
        return bits(out, *n[:, :3].float().unbind(1)).mean()

    def test() -> float:
        parts = [torch.from_numpy(a).split(batch) for a in held]
        with torch.no_grad():
            sums: list[float] = [
                loss(x.to(device), n.to(device)).item() * len(x)
                for x, n in zip(*parts, strict=True)
            ]
        return sum(sums) / max(1, len(held[0]))

    began, step, done = time.time(), 0, 0.0
    best, least = copy.deepcopy(net), float("inf")
    while done < 1:
        done = min(1.0, (time.time() - began) / seconds)
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 300) * (1 - done)
        at = torch.randint(len(inputs), (batch,), device=device)
        value = loss(inputs[at], numbers[at])
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        step += 1
        if step % 1000 == 0 or done == 1:
            now = test()
            print(step, f"{done:.2f} {now:.4f}", flush=True)
            if now < least:
                best, least = copy.deepcopy(net), now
    return best, least


def main() -> None:
    """Train the networks of all places, and write a file for each size that models/small.py reads.

    Those of chroma begin with what that of luma has learned, since they have fewer rows."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("archive", type=Path)
    parser.add_argument("out", type=Path, help="a folder")
    parser.add_argument("--every", type=int, default=2, help="keep so manieth samples")
    parser.add_argument("--turns", type=int, default=2, help="views of each clip")
    parser.add_argument("--clips", type=int, default=1 << 30, help="at most so many")
    parser.add_argument("--sizes", default=",".join(SIZES))
    parser.add_argument("--batch", type=int, default=1 << 16)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seconds", default="110,40,40", help="for each of the places")
    args = parser.parse_args()
    began = time.time()
    rows, held = gather(args.archive, args.every, args.turns, args.clips)
    print([len(r[0]) for r in rows], "rows", f"{time.time() - began:.0f} s", flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    for size in args.sizes.split(","):
        fit(args, size, rows, held)


def fit(args: argparse.Namespace, size: str, rows: list[Rows], held: list[Rows]) -> None:
    """The networks of one size."""
    torch.manual_seed(1)
    net, rate = Layers(*SIZES[size]), args.rate
    joined: Any = {}
    for place, mine, test, seconds in zip(PLACES, rows, held, args.seconds.split(","), strict=True):
        net, end = train(mine, test, copy.deepcopy(net), float(seconds), args.batch, rate)
        alone = test[1][:, 3].mean() / 4096 / np.log(2)
        told = f"{end:.4f} bits a sample held out, the coder alone {alone:.4f}"
        print(size, place, told, flush=True)
        joined |= {f"{place}.{name}": array for name, array in exported(net).items()}
        np.savez_compressed(args.out / f"{size}.npz", **joined)
        rate = args.rate / 2


if __name__ == "__main__":
    main()
