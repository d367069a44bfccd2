"""Train the photo model's networks: `python -m lmc.models.train.photo IMAGES.tar OUT [options]`,
and then `python -m lmc.models.train.photo OUT models/data/photo-N.npz --pack SIZE`.

Every sample of a picture becomes a row: the inputs that the codec itself computes for it
(`_native.photo_rows`: least squares, errors, neighbours), and the value. A network sees
the inputs, 7 bits each, and gives a mixture of discretised logistics (Salimans et al.,
"PixelCNN++", 2017), relative to the prediction and in units of the error that the codec
expects.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from lmc.kernels import _native
from lmc.models.small import PHOTOS
from lmc.models.train.layers import COMPONENTS, Layers, exported

INPUTS = 64
PLACES = PHOTOS.places
"""Where a channel comes in its pixel: of three channels, or the only one."""
SIZES = {"fast": (64, 32), "normal": (256, 192), "best": (640, 512, 256)}
HELD_OUT = 12  # every so manieth picture

Rows = tuple[NDArray[np.uint8], NDArray[np.int32]]  # inputs; centre, scale, value


# ---- rows ----------------------------------------------------------------------------------------


def pictures(archive: Path, kinds: tuple[str, ...]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """The RGB pictures of some folders of a tar archive, with their number."""
    with tarfile.open(archive) as tar:
        names = sorted(name for name in tar.getnames() if name.split("/")[0] in kinds)
        for number, name in enumerate(names):
            member = tar.extractfile(name)
            if member is not None and name.count("."):
                image = Image.open(io.BytesIO(member.read())).convert("RGB")
                yield number, np.asarray(image)


def rows_of(task: tuple[int, NDArray[np.uint8], int, int]) -> tuple[int, Rows]:
    """The rows of one picture, turned in one of eight ways, for one place of a channel."""
    number, picture, place, turn = task
    ways = int(np.random.default_rng([number, place]).permutation(8)[turn])
    turned = np.rot90(picture, ways % 4)[:, :: -1 if ways >= 4 else 1]
    if place == 3:
        samples = np.asarray(Image.fromarray(turned).convert("L"))[..., None]
    else:
        samples = turned[..., [1, 0, 2]]
    wide = np.ascontiguousarray(samples, np.uint16)
    return number, _native.photo_rows(wide, 8, 0 if place == 3 else place)


def gather(archive: Path, place: int, limit: int, turns: int) -> tuple[Rows, Rows]:
    """Rows to train on, each picture turned in several ways, and held-out rows."""
    kinds = ("photo", "textures_renders", "game_art")
    tasks = (
        (n, p, place, turn)
        for n, p in pictures(archive, kinds)
        if n < limit
        for turn in range(1 if n % HELD_OUT == 0 else turns)
    )
    train: list[Rows] = []
    held: list[Rows] = []
    with multiprocessing.get_context("fork").Pool(len(os.sched_getaffinity(0))) as pool:
        for number, rows in pool.imap_unordered(rows_of, tasks):
            (held if number % HELD_OUT == 0 else train).append(rows)

    def joined(parts: list[Rows]) -> Rows:
        return np.concatenate([a for a, _ in parts]), np.concatenate([b for _, b in parts])

    return joined(train), joined(held)


# ---- the network ---------------------------------------------------------------------------------


def bits(out: Tensor, centre: Tensor, scale: Tensor, value: Tensor, top: int = 255) -> Tensor:
    """-log2 of the mixture's probability of each value; out in units of scale and of octaves."""
    out = out.float()
    offset, spread, weight = out.split(COMPONENTS, 1)
    s = (scale / 64)[:, None]
    mean = (centre / 64)[:, None] + offset.clamp(-32, 32) * s
    inverse = torch.exp2(-spread.clamp(-8, 4)) / s
    v = value[:, None]
    above = torch.where(v >= top, torch.inf, (v + 0.5 - mean) * inverse)
    below = torch.where(v <= 0, -torch.inf, (v - 0.5 - mean) * inverse)
    # Where both ends are far out, the difference of the smaller tails is exact.
    flip = (above + below) > 0
    high, low = torch.where(flip, -below, above), torch.where(flip, -above, below)
    mass = torch.sigmoid(high) - torch.sigmoid(low)
    share = torch.softmax(weight * 0.6931471805599453, 1)
    p = (share * mass).sum(1)
    return -torch.log2(p * (1 - 2.0**-18) + 2.0**-26)


def train(
    rows: Rows,
    held: Rows,
    hidden: tuple[int, ...],
    steps: int,
    batch: int,
    rate: float,
    seconds: float,
) -> tuple[Layers, list[float]]:
    """A trained network and its held-out bits a sample, now and then."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    inputs, numbers = (torch.from_numpy(a).to(device) for a in rows)
    test_inputs, test_numbers = (torch.from_numpy(a).to(device) for a in held)
    torch.manual_seed(1)
    net = Layers(INPUTS, hidden).to(device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=1e-2)
    log: list[float] = []
    began = time.time()
    done = 0.0

    def loss(x: Tensor, numbers: Tensor) -> Tensor:
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            out = net(x.float())
        return bits(out, *numbers.float().unbind(1)).mean()

    def test() -> float:
        parts: list[float]
        with torch.no_grad():
            parts = [
                loss(test_inputs[i : i + batch], test_numbers[i : i + batch]).item()
                for i in range(0, len(test_inputs) - batch + 1, batch)
            ]
        return sum(parts) / max(1, len(parts))

    step = 0
    while done < 1:
        done = max(step / steps, (time.time() - began) / seconds)
        now = rate * min(1, (step + 1) / 300) * (1 - done) if done < 1 else 0.0
        for group in optimizer.param_groups:
            group["lr"] = now
        at = torch.randint(len(inputs), (batch,), device=device)
        value = loss(inputs[at], numbers[at])
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        step += 1
        if step % 2000 == 0:
            log.append(round(test(), 4))
            print(hidden, step, f"{done:.2f}", log[-1], flush=True)
    log.append(round(test(), 4))
    print(hidden, "end", step, log[-1], flush=True)
    return net, log


def pack(folder: Path, size: str, path: Path) -> None:
    """Join the networks of all places into the file that models/small.py reads."""
    joined: Any = {}
    for place in PLACES:
        with np.load(folder / f"{place}-{size}.npz") as file:
            joined |= {f"{place}.{name}": file[name] for name in file}
    np.savez_compressed(path, **joined)


def main() -> None:
    """Train the places and sizes named, writing OUT/PLACE-SIZE.npz and a log for each; or pack."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("archive", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--places", default=",".join(PLACES))
    parser.add_argument("--sizes", default=",".join(SIZES))
    parser.add_argument("--pictures", type=int, default=1 << 30, help="at most so many")
    parser.add_argument("--turns", type=int, default=2, help="ways that a picture is turned")
    parser.add_argument("--steps", type=int, default=20000)
    parser.add_argument("--batch", type=int, default=1 << 16)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seconds", default="45,130,225", help="at most, for each of the sizes")
    parser.add_argument("--pack", metavar="SIZE", help="join the networks in the first argument")
    args = parser.parse_args()
    if args.pack:
        pack(args.archive, args.pack, args.out)
        return
    args.out.mkdir(parents=True, exist_ok=True)
    for place in args.places.split(","):
        began = time.time()
        rows, held = gather(args.archive, PLACES.index(place), args.pictures, args.turns)
        print(
            place,
            len(rows[0]),
            "rows",
            len(held[0]),
            "held out",
            f"{time.time() - began:.0f} s",
            flush=True,
        )
        limits = [float(n) for n in args.seconds.split(",")]
        for size, seconds in zip(args.sizes.split(","), limits, strict=True):
            net, log = train(rows, held, SIZES[size], args.steps, args.batch, args.rate, seconds)
            arrays: Any = exported(net)
            np.savez(args.out / f"{place}-{size}.npz", **arrays)
            (args.out / f"{place}-{size}.json").write_text(json.dumps(log))


if __name__ == "__main__":
    main()
