"""Train a network of the sound model: `python -m lmc.models.train.sound SOUNDS.tar OUT.npz`.

Every sample of a sound becomes a row: the inputs that the codec itself computes for it
(`_native.sound_rows`: errors, how loud they were, predictions, samples), and how far the sample is
from the codec's prediction. A network sees the inputs, 7 bits each, and gives a mixture of
discretised logistics (Salimans et al., "PixelCNN++", 2017), relative to the prediction and in units
of the error that the codec expects. The archive has FLAC and WAV files in folders; each folder
counts the same, or as a weight says.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tarfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lmc.codecs import sounds
from lmc.kernels import _native
from lmc.models.train.layers import COMPONENTS, Layers, exported

INPUTS = 256
SIZES = {"normal": (96, 64), "large": (192, 64)}
HELD_OUT = 6  # every so manieth file of a folder
LONGEST = 1 << 24  # samples of a file that is read

Rows = tuple[NDArray[np.uint8], NDArray[np.float32]]  # inputs; 64 sample - centre, scale


# ---- rows ----------------------------------------------------------------------------------------


def files(archive: Path) -> Iterator[tuple[str, int, bytes]]:
    """The files of an archive: their folder, their number in it, their content."""
    counts: dict[str, int] = defaultdict(int)
    with tarfile.open(archive) as tar:
        for member in sorted(tar.getmembers(), key=lambda m: m.name):
            content = tar.extractfile(member)
            if content is not None:
                folder = member.name.rpartition("/")[0]
                yield folder, counts[folder], content.read()
                counts[folder] += 1


def rows_of(task: tuple[str, int, bytes, int, int, int]) -> tuple[str, int, Rows] | None:
    """The rows of a file's first samples; None for a file that is no sound, or silent."""
    folder, number, data, effort, most, thin = task
    sound = sounds.take_apart(data, LONGEST)
    if sound is None or sound.kind != "integer":
        return None
    samples = sound.samples[:2]
    if np.array_equal(samples[0], samples[-1]):
        samples = samples[:1]
    samples = np.ascontiguousarray(samples[:, : most // len(samples)])
    ranges = [(int(row.min()), int(row.max())) for row in samples]
    if any(low == high for low, high in ranges):
        return None
    inputs, numbers = _native.sound_rows(samples, ranges, effort, 0, True)
    return folder, number, (inputs[::thin], numbers[::thin].astype(np.float32))


def gather(
    archive: Path, effort: int, most: int, thin: int, share: int
) -> tuple[dict[str, Rows], dict[str, Rows]]:
    """Rows to train on, of each folder `share` at most, and held-out rows; both by folder."""
    tasks = ((*file, effort, most, thin) for file in files(archive))
    train: dict[str, list[Rows]] = defaultdict(list)
    held: dict[str, list[Rows]] = defaultdict(list)
    with multiprocessing.get_context("fork").Pool(len(os.sched_getaffinity(0))) as pool:
        for done in pool.imap_unordered(rows_of, tasks):
            if done is not None:
                folder, number, rows = done
                (held if number % HELD_OUT == HELD_OUT // 2 else train)[folder].append(rows)
    chance = np.random.default_rng(1)

    def joined(parts: list[Rows], most: int) -> Rows:
        inputs, numbers = (np.concatenate(all_) for all_ in zip(*parts, strict=True))
        if len(inputs) > most:
            chosen = chance.choice(len(inputs), most, replace=False)
            inputs, numbers = inputs[chosen], numbers[chosen]
        return inputs, numbers

    def all_joined(folders: dict[str, list[Rows]], most: int) -> dict[str, Rows]:
        return {folder: joined(parts, most) for folder, parts in sorted(folders.items())}

    return all_joined(train, share), all_joined(held, 1 << 16)


def places(sizes: list[int], weights: list[float], batch: int, device: str) -> tuple[Tensor, ...]:
    """For each row of a batch the first row of its folder, and how many rows that has."""
    bounds = np.rint(np.cumsum([0, *weights]) / sum(weights) * batch)
    counts = np.diff(bounds).astype(int)
    first = np.repeat(np.cumsum([0, *sizes[:-1]]), counts)
    return torch.from_numpy(first).to(device), torch.from_numpy(np.repeat(sizes, counts)).to(device)


# ---- training ------------------------------------------------------------------------------------


def bits(out: Tensor, offset: Tensor, scale: Tensor) -> Tensor:
    """-log2 of the mixture's probability of each sample; out in units of scale and of octaves."""
    move, spread, weight = out.float().split(COMPONENTS, 1)
    s = scale[:, None]
    inverse = torch.exp2(-spread.clamp(-8, 6)) / s
    away = offset[:, None] - move.clamp(-32, 32) * s
    above, below = (away + 32) * inverse, (away - 32) * inverse
    # Where both ends are far out, the smaller tails are exact:
    # sigmoid(high) - sigmoid(low) = sigmoid(high) sigmoid(-low) (1 - e^(low - high)).
    flip = (above + below) > 0
    high, low = torch.where(flip, -below, above), torch.where(flip, -above, below)
    mass = -nn.functional.softplus(-high) - nn.functional.softplus(low)
    mass = mass + torch.log(-torch.expm1((low - high).clamp_max(-1e-7)))
    share = torch.log_softmax(weight * 0.6931471805599453, 1)
    return -torch.logsumexp(share + mass.clamp_min(-60), 1) / 0.6931471805599453


def train(
    rows: dict[str, Rows],
    held: dict[str, Rows],
    weights: dict[str, float],
    hidden: tuple[int, ...],
    steps: int,
    batch: int,
    rate: float,
    decay: float,
) -> tuple[Layers, list[dict[str, float]]]:
    """A trained network and its held-out bits a sample, now and then."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    whole = (np.concatenate(parts) for parts in zip(*rows.values(), strict=True))
    inputs, numbers = (torch.from_numpy(a).to(device) for a in whole)
    sizes = [len(part[0]) for part in rows.values()]
    first, size = places(sizes, [weights.get(f, 1.0) for f in rows], batch, device)
    tests = {f: [torch.from_numpy(a).to(device) for a in r] for f, r in held.items()}
    torch.manual_seed(1)
    net = Layers(INPUTS, hidden).to(device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=decay)
    log: list[dict[str, float]] = []

    def test() -> dict[str, float]:
        with torch.no_grad():
            return {
                f: round(bits(net(x.float()), *n.unbind(1)).mean().item(), 4)
                for f, (x, n) in tests.items()
            }

    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 300) * (1 - step / steps)
        at = first + (torch.rand(batch, device=device, dtype=torch.float64) * size).long()
        value = bits(net(inputs[at].float()), *numbers[at].unbind(1)).mean()
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % 2000 == 0 or step + 1 == steps:
            log.append(test())
            print(step + 1, log[-1], flush=True)
    # Inputs that never say anything here, as those of sets that other efforts have, must not count.
    silent = (inputs == 64).all(0)
    with torch.no_grad():
        net.linear[0].weight[:, silent] = 0
    return net, log


def main() -> None:
    """Train a network for an effort, writing OUT.npz and its log OUT.json."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("archive", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--effort", type=int, default=1, help="whose least squares it will join")
    parser.add_argument("--size", default="normal", choices=SIZES)
    parser.add_argument("--most", type=int, default=300_000, help="samples of a file")
    parser.add_argument("--thin", type=int, default=1, help="every so manieth sample is a row")
    parser.add_argument("--share", type=int, default=400_000, help="samples of a folder")
    parser.add_argument(
        "--weight", nargs="*", default=[], metavar="FOLDER=W", help="how much a folder counts"
    )
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--decay", type=float, default=1e-2, help="of the weights")
    args = parser.parse_args()
    weights = {name: float(value) for name, _, value in (w.partition("=") for w in args.weight)}
    began = time.time()
    rows, held = gather(args.archive, args.effort, args.most, args.thin, args.share)
    print(
        sum(len(part[0]) for part in rows.values()),
        "rows",
        f"{time.time() - began:.0f} s",
        flush=True,
    )
    hidden = SIZES[args.size]
    net, log = train(rows, held, weights, hidden, args.steps, args.batch, args.rate, args.decay)
    arrays: Any = exported(net)
    np.savez_compressed(args.out, **arrays)
    args.out.with_suffix(".json").write_text(json.dumps(log))


if __name__ == "__main__":
    main()
