"""How many guesses of a draft are right: python -m lmc.models.train.prism_eval DRAFT TARGET STREAMS

STREAMS is a folder of <category>.npy, real text in the target's tokens, none of it trained on. A
decoder is simulated that drafts a tree at every stop, walks along the real text while the tree has
it, and goes on after the token that the target then decodes for itself.

The tree is EAGLE-2's: at each depth the `width` likeliest nodes, by the product of the guesses'
probabilities along their paths, get `width` children each; of all nodes the N likeliest are kept.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmc.models import prism
from lmc.models.prism import Draft
from lmc.models.train import network
from lmc.models.train.prism import Network
from lmc.models.train.run import Streams
from lmc.models.train.target import Target, load

if TYPE_CHECKING:
    from torch import Tensor

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
TOPS = (1, 2, 4, 10)  # guesses of a position of which one must be right


def opened(draft: Draft, target: Target) -> Network:
    """The draft of a file, in torch."""
    import torch

    parameters = {
        name: torch.from_numpy(np.array(array)).to(target.device)
        for name, array in draft.floats().items()
    }
    ids = torch.from_numpy(draft.vocabulary.astype(np.int64)).to(target.device)
    return Network(draft.definition, parameters, target, ids)


def scores(net: Network, states: Tensor) -> Tensor:
    """Logarithms of the guesses' probabilities, float32: bfloat16 would make ties."""
    logits: Tensor = net.normed(states.float()) @ net.head().float().T
    return logits.log_softmax(-1)


def chain_ranks(net: Network, tokens: Tensor, features: Tensor, depth: int) -> Tensor:
    """[batch, starts, depth]: the rank, from 0, of the real token among the guesses of each step,
    after real tokens. `tokens` [batch, n + 1] begin after the first of the features [batch, n,
    dim]; there are n + 1 - depth starts."""
    import torch

    place = torch.full((net.target.shape.vocab + 1,), -1, device=tokens.device)
    place[net.vocabulary] = torch.arange(len(net.vocabulary), device=tokens.device)
    starts = features.shape[1] + 1 - depth
    out = []
    for j, states in enumerate(net.unroll(tokens[:, :-1], features, depth, False)):
        real = place[tokens[:, j + 1 : j + 1 + starts]]
        logits = scores(net, states[:, :starts])
        of_real = logits.gather(-1, real.clamp_min(0)[..., None])
        out.append(((logits > of_real).sum(-1)).masked_fill(real < 0, 1 << 30))
    return torch.stack(out, -1)


def tree_ranks(net: Network, tokens: Tensor, features: Tensor, depth: int, width: int) -> Tensor:
    """[batch, starts, depth]: how many nodes of the tree drafted at each start are likelier than
    that of the real text at each depth, 1 << 30 where the tree has no such node. Arguments as those
    of `chain_ranks`."""
    import torch

    d = net.definition
    _, n, dim = features.shape
    starts = n + 1 - depth
    real = tokens.unfold(1, depth + 1, 1)  # [batch, starts, depth + 1]
    cos, sin = net.rotary(n + depth)
    heads: list[Tensor] = []
    if d.kind == "medusa":
        heads = [scores(net, s[:, :starts]) for s in net.head_states(features)]
        depth = min(depth, len(heads))
        first = features
    else:
        z, q, key, value = net.enter(d.module(0), tokens[:, :-1], features, cos[:n], sin[:n])
        first = net.leave(d.module(0), z, network.attention(q, key, value, d.reach))
    best, found = (heads[0] if heads else scores(net, first[:, :starts])).topk(width)
    likelihood = best  # of the frontier's nodes [batch, starts, width]
    token = net.vocabulary[found]
    states = first[:, :starts, None].expand(-1, -1, width, -1)  # of their parents
    right = token == real[:, :, 1, None]  # whether the path so far is the real text
    paths: list[tuple[Tensor, Tensor]] = []  # keys and values of their ancestors, by depth
    nodes, of_real = [likelihood], [best.masked_fill(~right, -math.inf).amax(-1)]
    for j in range(1, depth):
        if heads:
            best, found = heads[j][:, :, None].expand(-1, -1, width, -1).topk(width)
        else:
            states, kv = _grow(net, j, token, states, key, value, paths, cos, sin)
            paths.append(kv)
            best, found = scores(net, states).topk(width)
        children = net.vocabulary[found]
        whole = likelihood[..., None] + best
        hit = right[..., None] & (children == real[:, :, j + 1, None, None])
        nodes.append(whole.flatten(2))
        of_real.append(whole.masked_fill(~hit, -math.inf).flatten(2).amax(-1))
        likelihood, chosen = whole.flatten(2).topk(width)
        parent = chosen // width
        token = children.flatten(2).gather(2, chosen)
        right = hit.flatten(2).gather(2, chosen)
        if not heads:
            states = states.gather(2, parent[..., None].expand(-1, -1, -1, dim))
            at = parent[..., None, None].expand(-1, -1, -1, d.kv_heads, d.head_dim)
            paths = [(k.gather(2, at), v.gather(2, at)) for k, v in paths]
    every = torch.cat(nodes, -1)
    ranks = [(every > x[..., None]).sum(-1).masked_fill(x.isinf(), 1 << 30) for x in of_real]
    return torch.stack(ranks, -1)


def _grow(
    net: Network,
    j: int,
    token: Tensor,
    parents: Tensor,
    key: Tensor,
    value: Tensor,
    paths: list[tuple[Tensor, Tensor]],
    cos: Tensor,
    sin: Tensor,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Step `j` at the frontier's nodes: their states [batch, starts, width, dim] and their own
    keys and values [batch, starts, width, kv_heads, head_dim]."""
    import torch

    d = net.definition
    batch, starts, width = token.shape
    m, groups = d.module(j), d.heads // d.kv_heads
    place = (torch.arange(starts, device=token.device) + j).repeat_interleave(width)
    z, q, k, v = net.enter(m, token.flatten(1), parents.flatten(1, 2), cos[place], sin[place])
    own = tuple(x.transpose(1, 2).unflatten(1, (starts, width)) for x in (k, v))
    q = q.view(batch, d.kv_heads, groups, -1, d.head_dim) / math.sqrt(d.head_dim)
    back = place[:, None] - j - torch.arange(key.shape[2], device=key.device)
    seen = (back >= 0) & (back < d.reach - j) if d.reach else back >= 0
    known = (q.flatten(2, 3) @ key.mT).unflatten(2, (groups, -1)).masked_fill(~seen, -math.inf)
    near = [(*pair,) for pair in (*paths, own)]

    def beside(x: Tensor) -> Tensor:  # [batch, kv_heads, 1, nodes, head_dim]
        return x.flatten(1, 2).transpose(1, 2)[:, :, None]

    single = [(q * beside(pair[0])).sum(-1, keepdim=True) for pair in near]
    weights = torch.cat([known, *single], -1).softmax(-1, torch.float32).to(q.dtype)
    length = key.shape[2]
    mixed = (weights[..., :length].flatten(2, 3) @ value).view_as(q)
    for i, pair in enumerate(near):
        mixed = mixed + weights[..., length + i, None] * beside(pair[1])
    states = net.leave(m, z, mixed.flatten(1, 2))
    return states.unflatten(1, (starts, width)), (own[0], own[1])


def walk(right: npt.NDArray[np.int64]) -> tuple[int, int]:
    """Tokens and passes of a decoder at whose stop i right[i] guesses are accepted."""
    at = passes = 0
    while at < len(right):
        at += int(right[at]) + 1
        passes += 1
    return at, passes


def measure(
    draft: Draft,
    target: Target,
    folder: Path,
    *,
    rows: int = 8,
    length: int = 1024,
    depth: int = 8,
    width: int = 10,
) -> dict[str, Any]:
    """For each category: `top<k>`, the share of positions where one of the k likeliest guesses is
    right, by step, among those where that was so at all steps before; `tree`, tokens for each pass
    of the target, by the number of guesses N in the tree (a pass computes N + 1 positions)."""
    import torch

    net = opened(draft, target)
    streams = Streams([folder], target.device)
    out: dict[str, Any] = {}
    with torch.no_grad():
        for name, (low, high) in streams.ranges.items():
            size = min(length, high - low)
            places = np.unique(np.linspace(low, high - size, rows).astype(np.int64))
            chains, trees = [], []
            for place in places:  # one by one: the trees of all starts are large
                x = streams.rows(np.array([place]), size)
                fed = torch.cat([torch.full_like(x[:, :1], target.shape.vocab), x[:, :-1]], 1)
                features = net.feature(target.streams(fed, draft.definition.taps)[0][:, :-1])
                chains.append(chain_ranks(net, x, features, depth)[0].cpu().numpy())
                trees.append(tree_ranks(net, x, features, depth, width)[0].cpu().numpy())
            found: dict[str, Any] = {"rows": len(places)}
            ranks = np.concatenate(chains)
            for top in TOPS:
                alive = (ranks < top).cumprod(1).sum(0)
                before = np.concatenate([[len(ranks)], alive[:-1]])
                found[f"top{top}"] = [round(float(x), 4) for x in alive / np.maximum(before, 1)]
            found["tree"] = {}
            for n in SIZES:
                accepted = [(t < n).cumprod(1).sum(1) for t in trees]
                tokens, passes = np.sum([walk(a) for a in accepted], axis=0)
                found["tree"][str(n)] = round(float(tokens / passes), 4)
            out[name] = found
    means = {n: np.mean([out[name]["tree"][n] for name in out]) for n in map(str, SIZES)}
    out["mean"] = {n: round(float(x), 4) for n, x in means.items()}
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("draft", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("streams", type=Path)
    parser.add_argument("--rows", type=int, default=8, help="windows of each category")
    parser.add_argument("--length", type=int, default=1024, help="tokens of a window")
    parser.add_argument("--depth", type=int, default=8)
    parser.add_argument("--width", type=int, default=10)
    parser.add_argument("--delta", type=Path, help="what changes the GGUF checkpoint")
    parser.add_argument("--begin", type=int, default=0, help="the GGUF's id that begins a text")
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    target = load(args.target, args.device, begin=args.begin, delta=args.delta)
    found = measure(
        prism.read(args.draft), target, args.streams,
        rows=args.rows, length=args.length, depth=args.depth, width=args.width,
    )  # fmt: skip
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
