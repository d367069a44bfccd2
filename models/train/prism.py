"""Train a draft: python -m lmc.models.train.prism RECIPE.json TARGET OUT TOKENS… [--kind prism]

TARGET is a model file or a GGUF checkpoint, TOKENS are folders that `split apply` wrote with its
tokenizer. The target is frozen and runs along. OUT gets log.jsonl and <kind>.draft.safetensors
(lmc.models.prism, which also says what a draft computes).

    eagle2   one module, trained on the target's features alone (EAGLE, EAGLE-2: Li et al. 2024)
    hass     one module, trained on its own states too, `unroll` steps, no gradient from step to
             step (HASS, Zhang et al. 2024)
    prism    hass for the share `first` of the run, then a module for step 0 and one for all later
             steps, both from that one, and gradients through all steps (PRISM, arXiv 2602.01762)
    eagle3   one module, `test_steps` steps, their losses weighted by 0.8^step, own head (EAGLE-3,
             Li et al. 2025; here with the modules of the others)
    medusa   a head for each of `test_steps` positions (Cai et al. 2024)

In all of them later steps attend to the known tokens' keys that the module of step 0 made from the
target's features, as when drafting: PRISM's own training recomputes them with the module of the
step, so that what it trains is not what runs, and leaves the causal mask out of HASS's attention.
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
import numpy.typing as npt

from lmc.models import prism
from lmc.models.prism import Definition
from lmc.models.train import network
from lmc.models.train.optimizer import Optimizer
from lmc.models.train.run import REWARM, Log, Streams, draw
from lmc.models.train.target import Target, load

if TYPE_CHECKING:
    from torch import Tensor

TELL = 20  # steps between lines of the log
CHUNK = 16384  # logits of so many states are held at once


@dataclass(frozen=True)
class Recipe:
    """One training run. `rows` of `length` tokens make a step, `part` of them at a time go through
    the networks, `seen` tokens the run. Rates rise, stay, and fall to zero over the share `decay`.

    The loss of a state is `feature` * smooth L1 to the target's normed feature (first stage only)
    + `soft` * cross-entropy to the target's distribution + `hard` * that to the real token.
    """

    mixture: dict[str, float]
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    vocabulary: int
    taps: tuple[int, ...]
    norms: bool
    reach: int
    unroll: int
    test_steps: int
    first: float
    feature: float
    soft: float
    hard: float
    seen: int
    warmup: int
    decay: float
    rows: int
    part: int
    length: int
    matrix_rate: float
    matrix_decay: float  # weight decay of the matrices, relative to their rate
    rate: float
    second: float  # the second stage's rates, relative to the first's
    seed: int

    @classmethod
    def read(cls, path: Path) -> Recipe:
        mixture = json.loads((path.parent.parent / "mixture.json").read_text())
        raw = json.loads(path.read_text())
        return cls(**{**raw, "taps": tuple(raw["taps"])}, mixture=mixture)


def define(recipe: Recipe, kind: str, target: Target) -> Definition:
    """The draft that the recipe asks for; of a prism, its first stage."""
    s = target.shape
    heads = recipe.test_steps if kind == "medusa" else 1
    return Definition(
        kind=kind,
        target=target.identity,
        dim=s.dim,
        heads=recipe.heads,
        kv_heads=recipe.kv_heads,
        head_dim=recipe.head_dim,
        hidden=recipe.hidden,
        rope_theta=float(s.rope_theta),
        epsilon=1e-5,
        reach=recipe.reach,
        taps=recipe.taps,
        modules=heads,
        steps=tuple(range(heads)),
        norms=recipe.norms,
        vocab=s.vocab,
        draft_vocab=min(recipe.vocabulary, s.vocab),
        own_head=kind == "eagle3",
        licence=target.licence,
        source=f"trained by lmc (models/train/prism.py) beside {target.source}",
    )


def begin(d: Definition, target: Target, vocabulary: Tensor, seed: int) -> dict[str, Tensor]:
    """Fresh float32 parameters: `o` and `down` zero, a head of its own from the target's."""
    import torch

    source = torch.Generator().manual_seed(seed)
    out = {}
    for name, (rows, columns) in d.matrices().items():
        zero = name.endswith((".o", ".down")) or (d.kind == "medusa" and name.endswith(".fc"))
        deviation = 0.0 if zero else 0.5 / math.sqrt(columns)
        out[name] = torch.randn(rows, columns, generator=source) * deviation
    for name in d.vectors():
        out[name] = torch.zeros(d.dim) if name.endswith(".bias") else torch.ones(d.dim)
    if d.own_head:
        out["head"], out["head.norm"] = target.head[vocabulary].clone(), target.final_norm.clone()
    return {name: p.to(target.device).requires_grad_() for name, p in out.items()}


class Network:
    """A draft in torch: parameters by the names of lmc.models.prism, and the target's tables."""

    def __init__(
        self, d: Definition, parameters: dict[str, Tensor], target: Target, vocabulary: Tensor
    ) -> None:
        """`vocabulary` [draft_vocab]: token ids."""
        self.definition, self.parameters = d, parameters
        self.vocabulary, self.target = vocabulary, target
        self._embed = target.embed.to(target.dtype)
        self.teacher = target.head[vocabulary].to(target.dtype)
        self._turns: tuple[Tensor, Tensor] | None = None

    def _linear(self, x: Tensor, name: str) -> Tensor:
        from torch.nn.functional import linear

        bias = self.parameters.get(name + ".bias")
        w = self.parameters[name].to(x.dtype)
        return linear(x, w, None if bias is None else bias.to(x.dtype))

    def _unit(self, x: Tensor) -> Tensor:
        d = self.definition
        return network.norm(x, None, d.epsilon) if d.norms else x

    def feature(self, taps: Tensor) -> Tensor:
        """[..., dim] of residual streams [..., taps, dim]."""
        if len(self.definition.taps) == 1:
            return taps[..., 0, :]
        return self._linear(self._unit(taps).flatten(-2), "fuse")

    def embedding(self, tokens: Tensor) -> Tensor:
        return self._embed[tokens]

    def rotary(self, length: int) -> tuple[Tensor, Tensor]:
        """Cosines and sines of positions 0..length-1, [length, head_dim / 2]."""
        import torch

        d = self.definition
        if self._turns is None or len(self._turns[0]) < length:
            half = d.head_dim // 2
            frequency = d.rope_theta ** (-torch.arange(half, dtype=torch.float64) / half)
            angle = torch.arange(length)[:, None] * frequency
            device = self.target.device
            self._turns = angle.cos().float().to(device), angle.sin().float().to(device)
        cos, sin = self._turns
        return cos[:length], sin[:length]

    def enter(
        self, m: int, tokens: Tensor, features: Tensor, cos: Tensor, sin: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """z [batch, n, dim] of module `m`, and its queries, keys and values [batch, heads, n,
        head_dim], rotated; `cos` and `sin` [n, head_dim / 2] or [batch, 1, n, head_dim / 2]."""
        import torch

        d, at = self.definition, f"module.{m}."
        both = torch.cat([self._unit(self.embedding(tokens)), self._unit(features)], -1)
        z = self._linear(both, at + "fc")

        def heads(name: str) -> Tensor:
            y = self._linear(z, at + name)
            return y.view(*y.shape[:2], -1, d.head_dim).transpose(1, 2)

        return z, _rotate(heads("q"), cos, sin), _rotate(heads("k"), cos, sin), heads("v")

    def leave(self, m: int, z: Tensor, mixed: Tensor) -> Tensor:
        """The states, from what attention mixed [batch, heads, n, head_dim]."""
        from torch.nn.functional import silu

        at = f"module.{m}."
        s = z + self._linear(mixed.transpose(1, 2).flatten(2), at + "o")
        n = network.norm(s, self.parameters[at + "norm"], self.definition.epsilon)
        inner = silu(self._linear(n, at + "gate")) * self._linear(n, at + "up")
        return s + self._linear(inner, at + "down")

    def head_states(self, features: Tensor) -> list[Tensor]:
        """The states of medusa's heads, each like `features`."""
        from torch.nn.functional import silu

        inputs = self._unit(features)
        names = [f"module.{m}.fc" for m in range(self.definition.modules)]
        return [features + silu(self._linear(inputs, name)) for name in names]

    def normed(self, states: Tensor) -> Tensor:
        """What the head reads."""
        if self.definition.own_head:
            return network.norm(states, self.parameters["head.norm"], self.definition.epsilon)
        return network.norm(states, self.target.final_norm, self.target.shape.epsilon)

    def head(self) -> Tensor:
        """[draft_vocab, dim]."""
        return self.parameters["head"] if self.definition.own_head else self.teacher

    def unroll(self, tokens: Tensor, features: Tensor, steps: int, detach: bool) -> list[Tensor]:
        """States of steps 0, 1, … along the real text: that of step j holds [batch, n - j, dim],
        whose entry i has taken the feature at i and the tokens i..i+j. `tokens` [batch, n] are
        those after the features [batch, n, dim]."""
        if self.definition.kind == "medusa":
            heads = self.head_states(features)[:steps]
            return [s[:, : s.shape[1] - j] for j, s in enumerate(heads)]
        n = tokens.shape[1]
        cos, sin = self.rotary(n)
        kept: list[tuple[Tensor, Tensor]] = []
        out: list[Tensor] = []
        for j in range(steps):
            m = self.definition.module(j)
            before = out[-1][:, :-1] if j else features
            z, q, k, v = self.enter(
                m, tokens[:, j:], before.detach() if j and detach else before, cos[j:], sin[j:]
            )
            kept.append((k, v))
            mixed = attention(
                q, [(k[:, :, : n - j], v[:, :, : n - j]) for k, v in kept], self.definition.reach
            )
            out.append(self.leave(m, z, mixed))
        return out


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    import torch

    a, b = x.float().chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1).to(x.dtype)


def attention(query: Tensor, kept: list[tuple[Tensor, Tensor]], reach: int) -> Tensor:
    """What step j's queries [batch, heads, n, head_dim] see: of the known tokens' keys, the first
    of `kept`, those up to their own row, and of each later step (itself last) the key in their own
    row: HASS's shifted diagonals, after each step's keys are aligned by where their chain began."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    (key, value), *own = kept
    batch, heads, n, dim = query.shape
    if not own and not 0 < reach < n:
        return scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
    groups, scale = key.shape[1], 1 / math.sqrt(dim)
    q = query.view(batch, groups, heads // groups, n, dim)
    scores = q.flatten(2, 3) @ (key * scale).mT
    place = torch.arange(n, device=q.device)
    back = place[:, None] - place
    seen = (back >= 0) & (back < reach - len(own)) if reach else back >= 0
    scores = scores.view(batch, groups, -1, n, n).masked_fill(~seen, -math.inf)
    single = [((q * k[:, :, None]).sum(-1, keepdim=True) * scale) for k, _ in own]
    known, near = torch.cat([scores, *single], -1).softmax(-1).split([n, len(own)], -1)
    mixed = (known.flatten(2, 3) @ value).view_as(q)
    for i, (_, v) in enumerate(own):
        mixed = mixed + near[..., i, None] * v[:, :, None]
    return mixed.view(batch, heads, n, dim)


def _cross_entropy() -> Any:
    """The autograd function below; a function, because torch is imported late."""
    import torch

    class CrossEntropy(torch.autograd.Function):  # type: ignore[misc]
        """Sums of soft and hard cross-entropy over a head that is too wide to keep its logits.

        The gradients are computed with the values, a chunk of rows at a time; the teacher's
        distribution is computed once for all steps. Memory is read and written as rarely as can be.
        """

        @staticmethod
        def forward(
            ctx: Any,
            states: Tensor,  # [steps, n, dim], what the head reads
            head: Tensor,  # [vocabulary, dim]
            labels: Tensor,  # [n], -1: the real token is not in the vocabulary
            weights: Tensor,  # [steps, n], 0: no such state
            teacher: tuple[Tensor, Tensor],  # what the target's head reads [n, dim], and that head
            soft: float,
            hard: float,
        ) -> tuple[Tensor, Tensor, Tensor]:
            """Weighted sum of losses; sums of the hard losses and of hits of each step."""
            steps, n, _ = states.shape
            grad = torch.empty_like(states)
            whole = head.to(states.dtype)
            head_grad = torch.zeros_like(head) if head.requires_grad else None
            loss = torch.zeros((), device=states.device)
            told = torch.zeros(2, steps, device=states.device)
            rows = max(1, CHUNK // steps)
            for at in range(0, n, rows):
                part = slice(at, at + rows)
                x, w = states[:, part], weights[:, part]
                known = labels[part] >= 0
                real = labels[part].clamp_min(0).expand(steps, -1)[..., None]
                logits = (x @ whole.T).float()
                of_real = logits.gather(-1, real)[..., 0]
                top = logits.amax(-1)
                powers = logits.sub_(top[..., None]).exp_()
                total = powers.sum(-1)
                whole_nats = top + total.log()
                losses = (whole_nats - of_real) * known
                hits = (of_real >= top) & known
                told += torch.stack([(losses * (w > 0)).sum(1), (hits & (w > 0)).sum(1).float()])
                loss += (w * hard * losses).sum()
                slope = powers.mul_((w * (hard * known + soft) / total)[..., None])
                if soft:
                    q = (teacher[0][part] @ teacher[1].T).softmax(-1, torch.float32)
                    expected = ((q.to(x.dtype) @ whole).float() * x).sum(-1)  # logit
                    loss += (w * soft * (whole_nats - expected)).sum()
                    slope.addcmul_(q, (w * -soft)[..., None])
                slope.scatter_add_(-1, real, (w * (-hard * known.float()))[..., None])
                slope = slope.to(states.dtype)
                grad[:, part] = slope @ whole
                if head_grad is not None:
                    head_grad += slope.flatten(0, 1).T @ x.flatten(0, 1)
            ctx.save_for_backward(grad, *([head_grad] if head_grad is not None else []))
            ctx.mark_non_differentiable(told)
            return loss, told[0], told[1]

        @staticmethod
        def backward(ctx: Any, up: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
            grad, *head_grad = ctx.saved_tensors
            return (
                grad * up.to(grad.dtype), head_grad[0] * up if head_grad else None,
                None, None, None, None, None,
            )  # fmt: skip

    return CrossEntropy


def rates(recipe: Recipe, step: int, since: int, progress: float) -> float:
    """What the rates are multiplied by at `step`, `since` steps after the optimizer was made."""
    second = since < step
    rise = min(1.0, (step + 1) / recipe.warmup, (since + 1) / REWARM if second else 1.0)
    return rise * min(1.0, (1 - progress) / recipe.decay) * (recipe.second if second else 1.0)


class Trainer:
    """Losses of rows of tokens under a network."""

    def __init__(self, recipe: Recipe, kind: str, net: Network) -> None:
        import torch

        self.recipe, self.kind, self.net = recipe, kind, net
        self.steps = {"eagle2": 1, "eagle3": recipe.test_steps, "medusa": recipe.test_steps}.get(
            kind, recipe.unroll
        )
        ids = net.vocabulary
        self._label = torch.full((net.target.shape.vocab + 1,), -1, device=ids.device)
        self._label[ids] = torch.arange(len(ids), device=ids.device)
        self._cross_entropy = _cross_entropy()

    def __call__(self, rows: Tensor, second: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Loss per token of `rows` [batch, length]; sums of each step's hard losses and hits.

        Position i's feature and the token after it, row i, guess row i + 1 (step 0), and so on.
        """
        import torch
        from torch.nn.functional import pad, smooth_l1_loss

        r, net = self.recipe, self.net
        vocab = net.target.shape.vocab
        fed = torch.cat([torch.full_like(rows[:, :1], vocab), rows[:, :-1]], 1)
        taps, last = net.target.streams(fed, net.definition.taps)
        features = net.feature(taps[:, :-1])
        detach = self.kind != "eagle3" and not second
        states = net.unroll(rows[:, :-1], features, self.steps, detach)
        truth = network.norm(last[:, 1:], net.target.final_norm, net.target.shape.epsilon)
        aligned = torch.stack([pad(net.normed(s), (0, 0, j, 0)) for j, s in enumerate(states)])
        n = truth.shape[1]
        valid = torch.ones(self.steps, *rows[:, 1:].shape, device=rows.device)
        for j in range(self.steps):
            valid[j, :, :j] = 0
        valid *= rows[:, 1:] != vocab
        each = 0.8 ** torch.arange(self.steps, device=rows.device) if self.kind == "eagle3" else 1.0
        weights = (valid.flatten(1).T * each).T
        loss, nats, hits = self._cross_entropy.apply(
            aligned.flatten(1, 2), net.head(), self._label[rows[:, 1:]].flatten(), weights,
            (truth.flatten(0, 1), net.teacher), r.soft, r.hard,
        )  # fmt: skip
        loss = loss / (n * len(rows))
        if r.feature and not second and self.kind not in ("eagle3", "medusa"):
            for j, s in enumerate(states):
                near = smooth_l1_loss(net.normed(s).float(), truth[:, j:].float())
                loss = loss + r.feature * near
        return loss, nats, hits


def limited(streams: Streams, recipe: Recipe, limit: int) -> int:
    """Cut each category to its share of `limit` tokens; how many tokens there are then."""
    shares = {n: s for n, s in recipe.mixture.items() if n in streams.ranges}
    total = sum(shares.values())
    for name, share in shares.items():
        low, high = streams.ranges[name]
        streams.ranges[name] = low, min(high, low + max(recipe.length, int(limit * share / total)))
    return sum(high - low for low, high in streams.ranges.values())


def frequent(streams: Streams, vocab: int, size: int) -> npt.NDArray[np.int32]:
    """The ids, rising, of the `size` tokens that are met most often."""
    counts = np.zeros(vocab + 1, np.int64)
    for low, high in streams.ranges.values():
        found = streams.rows(np.array([low]), high - low)[0].cpu().numpy()
        counts += np.bincount(found, minlength=vocab + 1)
    return np.sort(np.argsort(-counts[:vocab], kind="stable")[:size]).astype(np.int32)


def split(net: Network) -> Network:
    """PRISM's second stage: a copy of module 0 serves all steps but the first."""
    old = net.parameters
    copies = {
        name.replace("module.0.", "module.1."): p.detach().clone().requires_grad_()
        for name, p in old.items()
        if name.startswith("module.0.")
    }
    d = replace(net.definition, modules=2, steps=(0, 1))
    return Network(d, {**old, **copies}, net.target, net.vocabulary)


def export(path: Path, net: Network) -> None:
    """The draft file."""
    floats = {name: p.detach().float().cpu().numpy() for name, p in net.parameters.items()}
    prism.write(path, net.definition, floats, net.vocabulary.cpu().numpy())


def train(
    recipe: Recipe,
    kind: str,
    target: Target,
    tokens: list[Path],
    out: Path,
    *,
    seconds: float = math.inf,
    limit: int | None = None,
) -> Path:
    """Run the recipe, in fewer steps if they would take more than `seconds`; the draft's path.
    `limit`: train on so many different tokens."""
    import torch

    began = time.monotonic()
    log = Log(out)
    streams = Streams(tokens, target.device)
    different = limited(streams, recipe, limit or 1 << 60)
    d = define(recipe, kind, target)
    found = frequent(streams, target.shape.vocab, d.draft_vocab)
    vocabulary = torch.from_numpy(found.astype(np.int64)).to(target.device)
    net = Network(d, begin(d, target, vocabulary, recipe.seed), target, vocabulary)
    trainer = Trainer(recipe, kind, net)

    def optimizer() -> Optimizer:
        p, m = net.parameters, set(net.definition.matrices()) - {"head"}
        peaks = recipe.matrix_rate, recipe.rate, recipe.matrix_decay
        return Optimizer(p, *peaks, m, compiled=False)

    descent, since = optimizer(), 0
    steps = draw(streams, recipe)
    second = False
    told = torch.zeros(2, trainer.steps, device=target.device)
    step, share, seen = 0, 0.0, 0
    log(kind=kind, different=different, vocabulary=len(found), seconds=_since(began))
    while True:
        progress = max(step * recipe.rows * recipe.length / recipe.seen, share)
        if progress >= 1:
            break
        if kind == "prism" and not second and progress >= recipe.first:
            net, second = split(net), True
            trainer = Trainer(recipe, kind, net)
            descent, since = optimizer(), step
        rows = streams.rows(next(steps), recipe.length)
        for part in rows.split(recipe.part):
            loss, nats, hits = trainer(part, second)
            (loss * len(part) / len(rows)).backward()
            loss = loss.detach()
            told += torch.stack([nats, hits])
            seen += part.numel()
        descent.step(rates(recipe, step, step - since, progress))
        step += 1
        share = _since(began) / seconds
        if step % TELL == 0:
            values = (told / seen).tolist()
            log(step=step, tokens=step * rows.numel(), second=second, loss=round(float(loss), 4),
                nats=[round(x, 3) for x in values[0]], hits=[round(x, 4) for x in values[1]],
                seconds=_since(began))  # fmt: skip
            if not math.isfinite(float(loss)):
                raise SystemExit(f"the loss is no number any more at step {step}")
            told.zero_()
            seen = 0
    path = out / (kind + prism.SUFFIX)
    export(path, net)
    log(step=step, tokens=step * recipe.rows * recipe.length, bytes=path.stat().st_size,
        seconds=_since(began))  # fmt: skip
    return path


def _since(began: float) -> float:
    return round(time.monotonic() - began, 1)


def main() -> None:
    began = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("tokens", type=Path, nargs="+")
    parser.add_argument("--kind", choices=prism.KINDS, default="prism")
    parser.add_argument("--taps", type=int, nargs="*", help="layers, instead of the recipe's")
    parser.add_argument("--vocabulary", type=int, help="tokens to guess, instead of the recipe's")
    parser.add_argument(
        "--set", nargs="*", action="extend", default=[], help="name=value, instead of the recipe's"
    )
    parser.add_argument("--limit-tokens", type=int, help="different tokens to train on")
    parser.add_argument("--seconds", type=float, default=math.inf, help="seconds to end within")
    parser.add_argument("--delta", type=Path, help="what changes the GGUF checkpoint")
    parser.add_argument("--begin", type=int, default=0, help="the GGUF's id that begins a text")
    parser.add_argument("--identity", default="", help="of the integer model made of the GGUF")
    parser.add_argument("--measure", type=Path, help="a folder of streams to measure the draft on")
    parser.add_argument("--windows", type=int, nargs=2, default=(8, 1024), metavar=("N", "TOKENS"))
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    recipe = Recipe.read(args.recipe)
    changes: dict[str, Any] = {}
    for change in args.set:
        name, _, value = change.partition("=")
        changes[name] = type(getattr(recipe, name))(json.loads(value))
    if args.taps:
        changes["taps"] = tuple(args.taps)
    if args.vocabulary:
        changes["vocabulary"] = args.vocabulary
    recipe = replace(recipe, **changes)
    target = load(
        args.target, args.device, begin=args.begin, delta=args.delta, identity=args.identity
    )
    path = train(
        recipe, args.kind, target, args.tokens, args.out,
        seconds=args.seconds - _since(began), limit=args.limit_tokens,
    )  # fmt: skip
    if args.measure:
        from lmc.models.train.prism_eval import measure

        rows, length = args.windows
        found = measure(prism.read(path), target, args.measure, rows=rows, length=length)
        (args.out / "measured.json").write_text(json.dumps(found, indent=1))
        print(json.dumps(found))


if __name__ == "__main__":
    main()
