"""Tune a public model: python -m lmc.models.train.adapt RECIPE.json GGUF OUT TOKENS…

TOKENS are folders that `split apply` wrote with the checkpoint's own tokenizer. Matrices change by
products of low rank (LoRA, Hu et al. 2021), gains freely, embedding, head and biases not at all.
OUT gets log.jsonl and final.delta (lmc.models.delta).
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lmc.models import delta
from lmc.models.checkpoint import Checkpoint, Shape
from lmc.models.gguf import GgufCheckpoint
from lmc.models.tokenizer import prepare
from lmc.models.train import network
from lmc.models.train.run import Log, Streams, draw, validate
from lmc.models.train.split import load

if TYPE_CHECKING:
    from torch import Tensor

TELL, CHECK = 20, 400  # steps between lines of the log, between validations
PARTS = dict(zip(network.MATRICES, delta.MATRICES, strict=True))


@dataclass(frozen=True)
class Recipe:
    """`rows` of `length` tokens make a step, `part` of them at a time go through the network. The
    rates rise for `warmup` steps and then fall like a cosine to zero at the end."""

    mixture: dict[str, float]
    steps: int
    warmup: int
    rows: int
    part: int
    length: int
    rank: int
    rate: float
    seed: int

    @classmethod
    def read(cls, path: Path) -> Recipe:
        """A recipe without a mixture of its own has that of all."""
        mixture = json.loads((path.parent.parent / "mixture.json").read_text())
        return cls(**{"mixture": mixture, **json.loads(path.read_text())})


class Network:
    """A checkpoint with frozen matrices, the changes to them, and a compiled layer and head."""

    def __init__(
        self, checkpoint: Checkpoint, original: list[int], rank: int, seed: int, device: str
    ) -> None:
        """`original`: the checkpoint's id of each sorted id, that of the begin of a text last."""
        import torch

        checkpoint.shape.require_plain()
        cuda = device.startswith("cuda")
        self.shape = replace(checkpoint.shape, vocab=len(original) - 1)  # of the sorted table
        self._dtype = torch.bfloat16 if cuda else torch.float32

        def tensor(name: str) -> Tensor:
            return torch.from_numpy(np.array(checkpoint.tensor(name))).to(device)

        def rows(name: str) -> Tensor:
            return tensor(name)[torch.tensor(original, device=device)].to(self._dtype)

        self.embed = rows("embed")
        self.head = self.embed if checkpoint.shape.tied else rows("head")
        layers = range(self.shape.layers)

        def bias(layer: int) -> tuple[Tensor, ...] | None:
            if checkpoint.bias(layer) is None:
                return None
            return tuple(tensor(f"layers.{layer}.{part}.bias") for part in "qkv")

        self.biases = [bias(i) for i in layers]
        self.frozen = {
            name: [tensor(f"layers.{i}.{theirs}").to(self._dtype) for i in layers]
            for name, theirs in PARTS.items()
        }
        self.gains = {
            name: torch.stack([tensor(f"layers.{i}.{name}") for i in layers]).requires_grad_()
            for name in network.GAINS
        }
        self.final_norm = tensor("final_norm").requires_grad_()
        source = torch.Generator().manual_seed(seed)
        self.low: dict[str, tuple[Tensor, Tensor]] = {}
        for name, whole in self.frozen.items():
            rows, columns = whole[0].shape
            a = torch.randn(len(whole), rank, columns, generator=source) / math.sqrt(columns)
            b = torch.zeros(len(whole), rows, rank)
            self.low[name] = a.to(device).requires_grad_(), b.to(device).requires_grad_()
        self._layer = torch.compile(_changed) if cuda else _changed
        self._losses = torch.compile(network.losses) if cuda else network.losses
        self._turns: dict[int, tuple[Tensor, Tensor]] = {}
        self.device = device

    def parameters(self) -> list[Tensor]:
        return [
            *self.gains.values(),
            self.final_norm,
            *(x for pair in self.low.values() for x in pair),
        ]

    def __call__(self, rows: Tensor) -> Tensor:
        """Nats of the tokens of `rows` [batch, length], each row after the begin of a text."""
        import torch

        s, length = self.shape, rows.shape[1]
        if length not in self._turns:
            self._turns[length] = network.rotary(s, length, self.device)
        cos, sin = self._turns[length]
        x = self.embed[torch.cat([torch.full_like(rows[:, :1], s.vocab), rows[:, :-1]], 1)]
        for i in range(s.layers):
            frozen = tuple(self.frozen[name][i] for name in network.MATRICES)
            low = tuple((self.low[name][0][i], self.low[name][1][i]) for name in network.MATRICES)
            gains = tuple(self.gains[name][i] for name in network.GAINS)
            x = self._layer(x, frozen, low, gains, self.biases[i], cos, sin, s)
        return self._losses(x, self.final_norm, self.head, rows, s, False)


def _changed(
    x: Tensor,
    frozen: tuple[Tensor, ...],
    low: tuple[tuple[Tensor, Tensor], ...],
    gains: tuple[Tensor, ...],
    biases: tuple[Tensor, ...] | None,
    cos: Tensor,
    sin: Tensor,
    s: Shape,
) -> Tensor:
    whole = tuple(
        w + (b.to(w.dtype) @ a.to(w.dtype)) for w, (a, b) in zip(frozen, low, strict=True)
    )
    return network.layer(x, (*whole, *gains), cos, sin, s, 0, False, biases)


def save(path: Path, net: Network) -> None:
    """The changes as a delta file."""
    from safetensors.numpy import save_file

    out: dict[str, Any] = {}
    layers = net.shape.layers
    for name, theirs in PARTS.items():
        a, b = (x.detach().cpu().numpy().astype(np.float64) for x in net.low[name])
        for i in range(layers):
            for part, array in delta.factors(a[i], b[i]).items():
                out[f"layers.{i}.{theirs}.{part}"] = array
    for name, stack in net.gains.items():
        for i in range(layers):
            out[f"layers.{i}.{name}"] = stack[i].detach().float().cpu().numpy().copy()
    out["final_norm"] = net.final_norm.detach().float().cpu().numpy().copy()
    assert {n.rpartition(".")[0] for n in out if n.endswith(".a")} == set(delta.matrices(layers))
    assert set(delta.gains(layers)) < set(out)
    save_file(out, path)


def adapt(
    recipe: Recipe,
    path: Path,
    begin: int,
    tokens: list[Path],
    out: Path,
    device: str,
    limit: float,
) -> None:
    """Run the recipe, in fewer steps if they would take more than `limit` seconds."""
    import torch

    began = time.monotonic()
    table, _ = load(path)
    checkpoint = GgufCheckpoint(path)
    _, spelled = prepare(checkpoint.tokenizer_json, checkpoint.shape.vocab, checkpoint.specials)
    place = {token: i for i, token in reversed(list(enumerate(spelled)))}
    original = [place.get(token, begin) for token in table.tokens] + [begin]
    bytes_of = torch.tensor([*map(len, table.tokens), 0], device=device)
    streams = Streams(tokens, device)
    held_out = Streams([folder / "held-out" for folder in tokens], device)
    net = Network(checkpoint, original, recipe.rank, recipe.seed, device)
    optimizer = torch.optim.AdamW(net.parameters(), recipe.rate, (0.9, 0.98), weight_decay=0.0)
    tell = Log(out)

    def check(step: int) -> None:
        tell(step=step, **validate(net, held_out, bytes_of, recipe))

    check(0)
    steps = draw(streams, recipe)
    nats, seen = 0.0, 0
    progress, step = 0.0, 0
    while progress < 1:
        factor = min(1.0, (step + 1) / recipe.warmup) * (1 + math.cos(math.pi * progress)) / 2
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate * factor
        rows = streams.rows(next(steps), recipe.length)
        for part in rows.split(recipe.part):
            loss = net(part).sum()
            (loss / rows.numel()).backward()
            if step % TELL == 0:
                nats += float(loss.detach())
                seen += int(bytes_of[part].sum())
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        share = (time.monotonic() - began) / limit
        progress = max(step / recipe.steps, share)
        if step % TELL == 1 or progress >= 1:
            tell(step=step, tokens=step * rows.numel(), factor=round(factor, 4),
                 bits_per_byte=round(nats / math.log(2) / max(1, seen), 4),
                 seconds=round(time.monotonic() - began, 1))  # fmt: skip
            nats, seen = 0.0, 0
        if step % CHECK == 0:
            check(step)
            save(out / f"partial{delta.SUFFIX}", net)
    save(out / f"final{delta.SUFFIX}", net)
    check(step)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("tokens", type=Path, nargs="+")
    parser.add_argument("--begin", type=int, default=0, help="the id that begins a text")
    parser.add_argument("--limit", type=float, default=math.inf, help="seconds to end within")
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    adapt(
        Recipe.read(args.recipe), args.checkpoint, args.begin, args.tokens,
        args.out, args.device, args.limit,
    )  # fmt: skip


if __name__ == "__main__":
    main()
