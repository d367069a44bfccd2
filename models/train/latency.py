"""What a draft gains on a GPU: python -m lmc.models.train.latency DRAFT TARGET MEASURED.json

Times the target's float twin (bfloat16, one text, a static cache of `--context` tokens, one CUDA
graph for each number of rows) and the draft's steps in the same way, and joins them with the tokens
per pass that lmc.models.train.prism_eval found (MEASURED.json) to the gain over a token a pass:

    gain(N) = tokens(N) * pass(1) / (pass(N + 1) + step of the known tokens + (depth - 1) * step)

It is the figure of a decoder that does nothing else: range coder, byte models and the choice of the
tree are not in it. On a CPU it runs without graphs, for a trial.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lmc.models import prism
from lmc.models.train import network
from lmc.models.train.prism import Network
from lmc.models.train.prism_eval import SIZES, opened
from lmc.models.train.target import Target, load

if TYPE_CHECKING:
    from torch import Tensor


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Of [1, heads, rows, head_dim] over cached and own keys [1, kv_heads, keys, head_dim]. The
    mask of a tree is one addition more; what is timed is the reading and the products."""
    from torch.nn.functional import scaled_dot_product_attention

    return scaled_dot_product_attention(query, key, value, enable_gqa=True)


class Pass:
    """One pass of the target over `rows` rows behind `context` cached tokens."""

    def __init__(self, target: Target, rows: int, context: int) -> None:
        import torch

        s = self.shape = target.shape
        self.target, self.rows, self.context = target, rows, context
        size = (s.layers, 2, 1, s.kv_heads, context + rows, s.head_dim)
        self.cache = torch.randn(size, device=target.device).to(target.dtype)
        cos, sin = network.rotary(s, context + rows, target.device)
        self.cos, self.sin = cos[context:], sin[context:]
        self.tokens = torch.arange(rows, device=target.device)
        self.head = target.head.to(target.dtype)

    def __call__(self) -> Tensor:
        from torch.nn.functional import silu

        s = self.shape
        x = self.target.fed(self.tokens[None])
        for cache, w in zip(self.cache, self.target.layers, strict=True):
            q, k, v, out, gate, up, down, attn_norm, ffn_norm = w
            y = network.norm(x, attn_norm, s.epsilon)
            query, key, value = (
                (y @ m.T).view(1, self.rows, -1, s.head_dim).transpose(1, 2) for m in (q, k, v)
            )
            query = network._rotate(query, self.cos, self.sin)
            cache[0, :, :, self.context :] = network._rotate(key, self.cos, self.sin)
            cache[1, :, :, self.context :] = value
            mixed = attend(query, cache[0], cache[1])
            x = x + mixed.transpose(1, 2).reshape(1, self.rows, -1) @ out.T
            y = network.norm(x, ffn_norm, s.epsilon)
            x = x + (silu(y @ gate.T) * (y @ up.T)) @ down.T
        logits: Tensor = (network.norm(x, None, s.epsilon) @ self.head.T).softmax(-1)
        return logits


class Step:
    """One step of a draft over `rows` rows behind `context` cached tokens, and its best guesses."""

    def __init__(self, net: Network, step: int, rows: int, context: int, width: int) -> None:
        import torch

        d = net.definition
        self.net, self.module, self.width = net, d.module(step), width
        size = (2, 1, d.kv_heads, context + rows, d.head_dim)
        self.cache = torch.randn(size, device=net.target.device).to(net.target.dtype)
        cos, sin = net.rotary(context + rows)
        self.cos, self.sin = cos[context:], sin[context:]
        self.tokens = torch.arange(rows, device=net.target.device)[None]
        self.taps = torch.randn(
            (1, rows, len(d.taps) if step == 0 else 1, d.dim), device=net.target.device
        ).to(net.target.dtype)
        self.first, self.context = step == 0, context

    def __call__(self) -> Tensor:
        net = self.net
        states = net.feature(self.taps) if self.first else self.taps[:, :, 0]
        z, q, k, v = net.enter(self.module, self.tokens, states, self.cos, self.sin)
        self.cache[0, :, :, self.context :] = k
        self.cache[1, :, :, self.context :] = v
        states = net.leave(self.module, z, attend(q, self.cache[0], self.cache[1]))
        logits = net.normed(states) @ net.head().T.to(states.dtype)
        return logits.log_softmax(-1).topk(self.width).indices


def milliseconds(work: Callable[[], Tensor], repeats: int) -> float:
    """Median time of one call, as a CUDA graph where there is one."""
    import torch

    run: Callable[[], object] = work
    wait: Callable[[], object] = lambda: None  # noqa: E731
    if torch.cuda.is_available():
        wait = torch.cuda.synchronize
        side = torch.cuda.Stream()
        with torch.cuda.stream(side):
            for _ in range(3):
                work()
        wait()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            work()
        run = graph.replay
    taken = []
    for _ in range(repeats):
        wait()
        began = time.perf_counter()
        run()
        wait()
        taken.append(time.perf_counter() - began)
    return 1000 * statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m lmc.models.train.latency", description=__doc__)
    parser.add_argument("draft", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("measured", type=Path)
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--width", type=int, default=10, help="rows of a step")
    parser.add_argument("--depth", type=int, default=8, help="steps of a tree, as measured")
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--delta", type=Path, help="what changes the GGUF checkpoint")
    parser.add_argument("--device", default="cuda")
    found = parser.parse_args()
    import torch

    with torch.no_grad():
        draft = prism.read(found.draft)
        target = load(
            found.target, found.device, delta=found.delta, identity=draft.definition.target
        )
        net = opened(draft, target)
        net.parameters = {k: v.to(target.dtype) for k, v in net.parameters.items()}
        passes = {
            n: milliseconds(Pass(target, n, found.context), found.repeats)
            for n in (1, *(size + 1 for size in SIZES))
        }
        known = milliseconds(Step(net, 0, 2, found.context, found.width), found.repeats)
        later = milliseconds(Step(net, 1, found.width, found.context, found.width), found.repeats)
    measured = json.loads(found.measured.read_text())
    gains: dict[str, dict[int, float]] = {}
    for category, facts in measured.items():
        if "tree" not in facts:
            continue
        gains[category] = {}
        for n in (size for size in SIZES if str(size) in facts["tree"]):
            depth = min(found.depth, n)
            spent = passes[n + 1] + known + (depth - 1) * later
            gains[category][n] = round(facts["tree"][str(n)] * passes[1] / spent, 3)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    print(
        json.dumps(
            {
                "device": device,
                "context": found.context,
                "pass, ms by rows": {n: round(t, 4) for n, t in passes.items()},
                "draft, ms": {"known tokens": round(known, 4), "later step": round(later, 4)},
                "gain by tree": gains,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
