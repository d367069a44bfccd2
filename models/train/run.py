"""Train a network: python -m lmc.models.train.run RECIPE.json OUT TOKENS… [--from CHECKPOINT]

TOKENS are folders with the streams <category>.npy that `split apply` wrote, and those of held-out
documents in TOKENS/held-out. OUT gets log.jsonl and checkpoints: stable.safetensors before the
rates begin to fall, from which a longer run may go on, and final.safetensors.

The rates rise, stay, and fall to zero towards the end; the roundings of the integer network are
imitated in the last part of the run. A run goes on from a checkpoint on the rows that come next.
With --limit the time decides, where it is shorter, how far the run is.

Several GPUs share each step's rows: torchrun --nproc-per-node N -m lmc.models.train.run …
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from lmc.models.checkpoint import Shape
from lmc.models.train.network import Runner, begin
from lmc.models.train.optimizer import Optimizer

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = 64  # steps whose rows are drawn at once
TELL, CHECK, KEEP = 50, 2000, 2000  # steps between lines of the log, validations, checkpoints
REWARM = 100  # steps over which rates rise again after a restart: momentum is not kept


@dataclass(frozen=True)
class Recipe:
    """One training run. `rate`s are peaks; `rows` of `length` tokens make a step, `part` of them at
    a time go through the network; `decay` is the share of the run in which the rates fall,
    `rounded` that in which roundings are imitated.
    """

    shape: Shape
    mixture: dict[str, float]
    steps: int
    warmup: int
    decay: float
    rounded: float
    rows: int
    part: int
    length: int
    matrix_rate: float
    rate: float
    weight_decay: float
    seed: int

    @classmethod
    def read(cls, path: Path) -> Recipe:
        raw = json.loads(path.read_text())
        mixture = json.loads((path.parent.parent / "mixture.json").read_text())
        shape = Shape(**{**raw["shape"], "reach": tuple(raw["shape"].get("reach", ()))})
        return cls(**{**raw, "shape": shape, "mixture": mixture})

    def factor(self, step: int, since: int, progress: float) -> float:
        """What the rates are multiplied by at `step`, `since` steps after a start, when the
        share `progress` of the run is over."""
        rise = min(1.0, (step + 1) / self.warmup, (since + 1) / REWARM if since < step else 1.0)
        return rise * min(1.0, (1 - progress) / self.decay)


class Rows(Protocol):
    """What drawing rows needs of a recipe."""

    @property
    def mixture(self) -> dict[str, float]: ...
    @property
    def rows(self) -> int: ...
    @property
    def part(self) -> int: ...
    @property
    def length(self) -> int: ...
    @property
    def seed(self) -> int: ...


class Streams:
    """The token streams of some folders, joined on a device."""

    def __init__(self, folders: list[Path], device: str) -> None:
        import torch

        paths = [path for folder in folders for path in folder.glob("*.npy")]
        arrays = []
        self.ranges: dict[str, tuple[int, int]] = {}
        at = 0
        for name in sorted({path.stem for path in paths}):
            first = at
            for path in (path for path in paths if path.stem == name):
                arrays.append(np.load(path))
                at += len(arrays[-1])
            self.ranges[name] = first, at
        self._tokens = torch.from_numpy(np.concatenate(arrays).astype(np.int32)).to(device)

    def rows(self, starts: npt.NDArray[np.int64], length: int) -> Tensor:
        """[len(starts), length], int64."""
        import torch

        at = torch.from_numpy(starts).to(self._tokens.device)
        return self._tokens[at[:, None] + torch.arange(length, device=at.device)].long()


def draw(streams: Streams, recipe: Rows) -> Iterator[npt.NDArray[np.int64]]:
    """Starts of the rows of each step: each category by its share, each of its windows once
    before any twice, with another phase each time."""
    rng = np.random.default_rng(recipe.seed)
    length = recipe.length
    shares = {n: s for n, s in recipe.mixture.items() if n in streams.ranges}
    total = sum(shares.values())
    queue = {name: np.empty(0, np.int64) for name in shares}
    owed = dict.fromkeys(shares, 0.0)
    while True:
        chosen = []
        need = BLOCK * recipe.rows
        for name, share in shares.items():
            owed[name] += need * share / total
            low, high = streams.ranges[name]
            while len(queue[name]) < owed[name]:
                room = high - low - length
                phase = int(rng.integers(0, min(length, max(1, room))))
                windows = np.arange(low + phase, max(high - length, low + phase) + 1, length)
                queue[name] = np.concatenate([queue[name], rng.permutation(windows)])
            count = int(owed[name])
            chosen.append(queue[name][:count])
            queue[name] = queue[name][count:]
            owed[name] -= count
        starts = np.concatenate(chosen)
        missing = need - len(starts)  # fractions that are owed until the next block
        starts = rng.permutation(np.concatenate([starts, starts[: max(0, missing)]]))
        for step in range(BLOCK):
            yield starts[step * recipe.rows : (step + 1) * recipe.rows]


def validate(
    nats_of: Callable[[Tensor], Tensor], streams: Streams, bytes_of: Tensor, recipe: Rows
) -> dict[str, Any]:
    """Bits per byte of held-out rows, by category and their mean, as lines of a log have them.

    As many rows as training has, and gradients not switched off: so nothing is compiled anew.
    """
    out = {}
    for name, (low, high) in streams.ranges.items():
        last = high - recipe.length
        if last < low:
            continue
        starts = np.linspace(low, last, recipe.part).astype(np.int64)
        rows = streams.rows(starts, recipe.length)
        nats = float(nats_of(rows).detach().double().sum())
        out[name] = nats / math.log(2) / float(bytes_of[rows].sum())
    mean = sum(out.values()) / max(1, len(out))
    return {
        "mean": round(mean, 4),
        "held_out": {name: round(value, 4) for name, value in out.items()},
    }


class Log:
    """Lines of JSON, on standard output and in OUT/log.jsonl."""

    def __init__(self, out: Path) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self._path = out / "log.jsonl"

    def __call__(self, **facts: Any) -> None:
        line = json.dumps(facts)
        print(line, flush=True)
        with self._path.open("a") as file:
            file.write(line + "\n")


def save(path: Path, parameters: dict[str, Tensor], step: int, recipe: Recipe) -> None:
    """The parameters as float16, whose rounding is far below that of the integers they become."""
    from safetensors.torch import save_file

    save_file(
        {name: p.detach().half().cpu().contiguous() for name, p in parameters.items()},
        path,
        {"step": str(step), "recipe": json.dumps(asdict(recipe))},
    )


def restore(path: Path) -> tuple[dict[str, Tensor], int]:
    """Parameters in float32, and the number of steps they have seen."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        parameters = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        return parameters, int(file.metadata()["step"])


class Group:
    """The processes that share the rows of a step, one for each GPU; by default one alone."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.rank = int(os.environ.get("RANK", "0"))
        self.size = int(os.environ.get("WORLD_SIZE", "1"))
        if self.size > 1:
            import torch

            if device.startswith("cuda"):
                torch.cuda.set_device(self.rank)
            torch.distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")

    def sum(self, tensors: list[Tensor]) -> None:
        """Add up the tensors of all processes, in place."""
        if self.size > 1:
            from torch.distributed import all_reduce

            for tensor in tensors:
                all_reduce(tensor)

    def first(self, value: float) -> float:
        """What the first process says."""
        if self.size == 1:
            return value
        import torch

        told = torch.tensor(value, dtype=torch.float64, device=self.device)
        torch.distributed.broadcast(told, 0)
        return float(told)


def train(
    recipe: Recipe,
    tokens: list[Path],
    bytes_of: npt.NDArray[np.int64],
    out: Path,
    device: str,
    source: Path | None = None,
    limit: float = math.inf,
) -> None:
    """Run the recipe, in fewer steps if they would take more than `limit` seconds."""
    import torch

    began = time.monotonic()
    group = Group(device)
    log = Log(out)
    streams = Streams(tokens, device)
    held_out = Streams([folder / "held-out" for folder in tokens], device)
    fresh, first = restore(source) if source else (begin(recipe.shape, recipe.seed), 0)
    parameters = {name: p.to(device).requires_grad_() for name, p in fresh.items()}
    optimizer = Optimizer(parameters, recipe.matrix_rate, recipe.rate, recipe.weight_decay)
    runner = Runner(recipe.shape, device, device.startswith("cuda"))
    sizes = torch.from_numpy(bytes_of).to(device)

    def tell(**facts: Any) -> None:
        if group.rank == 0:
            log(**facts)

    def keep(name: str) -> None:
        if group.rank == 0:
            save(out / name, parameters, step, recipe)

    def check(step: int, rounded: bool) -> None:
        if group.rank:
            return
        bits = validate(lambda rows: runner(parameters, rows, rounded), held_out, sizes, recipe)
        tell(step=step, rounded=rounded, **bits)

    steps = draw(streams, recipe)
    for _ in range(first):
        next(steps)
    bits = torch.zeros((), device=device, dtype=torch.float64)
    seen = torch.zeros((), device=device, dtype=torch.int64)
    rounded = False
    step = first
    share = 0.0  # of the limit that is over
    while True:
        progress = max(step / recipe.steps, share)
        rounded = progress >= 1 - recipe.rounded
        if progress >= 1:
            break
        rows = streams.rows(next(steps), recipe.length)
        for part in rows[group.rank :: group.size].split(recipe.part):
            nats = runner(parameters, part, rounded)
            (nats.sum() / rows.numel()).backward()
            bits += nats.detach().double().sum() / math.log(2)
            seen += sizes[part].sum()
        group.sum([p.grad for p in parameters.values() if p.grad is not None])
        factor = recipe.factor(step, step - first, progress)
        optimizer.step(factor)
        step += 1
        if step % TELL == 0:
            share = group.first((time.monotonic() - began) / limit)
            group.sum([bits, seen])
            tell(step=step, tokens=step * rows.numel(), rounded=rounded,
                 bits_per_byte=round(float(bits) / float(seen), 4), factor=round(factor, 4),
                 seconds=round(time.monotonic() - began, 1))  # fmt: skip
            if not math.isfinite(float(bits)):
                raise SystemExit(f"the loss is no number any more at step {step}")
            bits.zero_()
            seen.zero_()
        if step % CHECK == 0:
            check(step, rounded)
        if step % KEEP == 0 and progress < 1 - recipe.decay:
            keep("stable.safetensors")
    keep("final.safetensors")
    for how in (False, True):
        check(step, how)


def main() -> None:
    from lmc.models.train.split import load

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("tokens", type=Path, nargs="+")
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--from", dest="source", type=Path)
    parser.add_argument("--set", nargs="*", default=[], help="name=number, instead of the recipe's")
    parser.add_argument("--limit", type=float, default=math.inf, help="seconds to end within")
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    recipe = Recipe.read(args.recipe)
    changes: dict[str, Any] = {}
    for change in args.set:
        name, _, value = change.partition("=")
        changes[name] = type(getattr(recipe, name))(value)
    recipe = replace(recipe, **changes)
    table, _ = load(args.tokenizer)
    bytes_of = np.array([*map(len, table.tokens), 0], np.int64)
    train(recipe, args.tokens, bytes_of, args.out, args.device, args.source, args.limit)


if __name__ == "__main__":
    main()
