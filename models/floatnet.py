"""The transformer in floating point: for calibration and for the loss report, never for coding.

It runs a checkpoint as it is, or the weights of an integer model with the rounding of the
activations imitated. torch is imported inside the functions: nothing else in lmc needs it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmc.models.checkpoint import Checkpoint, Shape

if TYPE_CHECKING:
    from torch import Tensor

Array = npt.NDArray[Any]
LOG2E = math.log2(math.e)
# Called with a site's name and its input [tokens, channels]; what it returns is used instead.
Site = Callable[[str, "Tensor"], "Tensor"]


def from_checkpoint(checkpoint: Checkpoint) -> dict[str, Array]:
    """The float weights, by the names that `FloatNet` takes."""
    tensor = checkpoint.tensor
    out: dict[str, Array] = {"embed": tensor("embed"), "final_norm": tensor("final_norm")}
    out["head"] = out["embed"] if checkpoint.shape.tied else tensor("head")
    for i in range(checkpoint.shape.layers):
        at = f"layers.{i}."
        for name in ("attn_norm", "ffn_norm", "out", "down"):
            out[at + name] = tensor(at + name)
        out[at + "qkv"] = np.concatenate([tensor(f"{at}{part}.weight") for part in "qkv"])
        out[at + "gate_up"] = np.concatenate([tensor(at + "gate"), tensor(at + "up")])
        bias = checkpoint.bias(i)
        if bias is not None:
            out[at + "bias"] = bias
        if checkpoint.shape.head_norms:
            for name in ("q_norm", "k_norm"):
                out[at + name] = tensor(at + name)
    return out


def real(tensors: Mapping[str, Array], name: str, part: str) -> Array:
    """What the integers NAME.PART of a model file stand for, float64: of a matrix its `scale`, of
    a norm its `gain`."""
    integers = tensors[f"{name}.{part}"].astype(np.float64)
    return np.ldexp(integers, -int(tensors[f"{name}.exponent"][0]))


def gains(tensors: Mapping[str, Array], name: str, dim: int) -> Array:
    """The gains of a norm, split channels put together: float32 [dim]."""
    whole = np.zeros(dim)
    np.add.at(whole, tensors[name + ".source"], real(tensors, name, "gain"))
    return whole.astype(np.float32)


def head_rows(tensors: Mapping[str, Array], vocab: int) -> tuple[Array, Array]:
    """The head's integers and what a 1 of each row stands for, in logits to base e. A tied head
    has the embedding's integers, and scales of its own."""
    weight = tensors.get("head.weight")
    if weight is None:
        weight = tensors["embed.weight"][:vocab]
    return weight, real(tensors, "head", "scale") / LOG2E


def from_integers(tensors: Mapping[str, Array], shape: Shape) -> dict[str, Array]:
    """The weights that the tensors of a model file stand for: split channels put together,
    the factors that the integer network wants in q and head taken out."""

    def rows(name: str) -> Array:
        weight: Array = tensors[f"{name}.weight"]
        return (weight * real(tensors, name, "scale")[:, None]).astype(np.float32)

    def gain(name: str) -> Array:
        return gains(tensors, name, shape.dim)

    out: dict[str, Array] = {"embed": rows("embed"), "final_norm": gain("final_norm")}
    vocab = len(tensors["tokens.offsets"]) - 1
    out["head"] = rows("head") / LOG2E if "head.weight" in tensors else out["embed"][:vocab]
    query = shape.heads * shape.head_dim
    for i in range(shape.layers):
        at = f"layers.{i}."
        for name in ("attn_norm", "ffn_norm"):
            out[at + name] = gain(at + name)
        for name in ("qkv", "out", "gate_up", "down"):
            out[at + name] = rows(at + name)
        out[at + "qkv"][:query] *= math.sqrt(shape.head_dim) / LOG2E
    return out


class FloatNet:
    """A Llama-family transformer with `weights` as `from_checkpoint` names them."""

    def __init__(
        self, shape: Shape, weights: Mapping[str, Array], site: Site | None = None
    ) -> None:
        import torch

        self.shape = shape
        self.weights = {
            name: torch.from_numpy(np.ascontiguousarray(w)) for name, w in weights.items()
        }
        self.site: Site = site or (lambda _name, x: x)

    def _norm(self, x: Tensor, name: str) -> Tensor:
        import torch

        rms = torch.rsqrt(x.square().mean(-1, keepdim=True) + self.shape.epsilon)
        return self.site(name, x * rms * self.weights[name])

    def _rotate(self, x: Tensor) -> Tensor:
        """Rotary positions on [heads, tokens, head_dim], pairs (i, i + half)."""
        import torch

        half = self.shape.head_dim // 2
        frequency = self.shape.rope_theta ** (-torch.arange(half, dtype=torch.float64) / half)
        if self.shape.divisors:
            frequency = frequency / torch.tensor(self.shape.divisors, dtype=torch.float64)
        angle = (torch.arange(x.shape[1])[:, None] * frequency).float()
        cos, sin = angle.cos(), angle.sin()
        a, b = x[..., :half], x[..., half:]
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

    def _seen(self, layer: int, tokens: int) -> Tensor:
        """Which keys each token of a layer sees, [tokens, tokens]."""
        import torch

        at = torch.arange(tokens)
        back = at[:, None] - at
        reach = self.shape.reach[layer] if self.shape.reach else 0
        return (back >= 0) & (back < (reach or tokens))

    def hidden(self, tokens: Tensor) -> Tensor:
        """The input of the head, [tokens, dim], for one sequence from an empty context."""
        import torch
        from torch.nn import functional

        s, w, site = self.shape, self.weights, self.site
        x = w["embed"][tokens]
        query, key = s.heads * s.head_dim, s.kv_heads * s.head_dim
        for i in range(s.layers):
            at = f"layers.{i}."
            qkv = functional.linear(
                self._norm(x, at + "attn_norm"), w[at + "qkv"], w.get(at + "bias")
            )
            q, k, v = (
                part.reshape(len(tokens), -1, s.head_dim).transpose(0, 1)
                for part in (qkv[:, :query], qkv[:, query:-key], qkv[:, -key:])
            )
            if s.head_norms:
                q, k = self._norm(q, at + "q_norm"), self._norm(k, at + "k_norm")
            if i not in s.still:
                q, k = self._rotate(q), self._rotate(k)
            q, k, v = site(at + "q", q), site(at + "k", k), site(at + "v", v)
            mixed = functional.scaled_dot_product_attention(
                q[None],
                k[None],
                v[None],
                attn_mask=self._seen(i, len(tokens)),
                scale=s.score_factor / math.sqrt(s.head_dim),
                enable_gqa=True,
            )[0]
            mixed = site(at + "out", mixed.transpose(0, 1).reshape(len(tokens), query))
            x = x + functional.linear(mixed, w[at + "out"])
            gate, up = functional.linear(self._norm(x, at + "ffn_norm"), w[at + "gate_up"]).chunk(
                2, -1
            )
            x = x + functional.linear(site(at + "down", functional.silu(gate) * up), w[at + "down"])
            site("residual", x)
        hidden: torch.Tensor = self._norm(x, "final_norm")
        return hidden

    def losses(self, tokens: Tensor, begin: int, keep: Tensor | None = None) -> Tensor:
        """Nats of each token, after `begin` as the first, [tokens]. `keep`: the ids that can
        follow (all others get probability zero)."""
        import torch
        from torch.nn import functional

        with torch.inference_mode():
            first = torch.tensor([begin], dtype=tokens.dtype)
            hidden = self.hidden(torch.cat([first, tokens[:-1]]))
            logits = functional.linear(hidden, self.weights["head"])
            if keep is not None:
                logits.masked_fill_(~keep, float("-inf"))
            return functional.cross_entropy(logits, tokens.long(), reduction="none")


def imitate_int8(name: str, x: Tensor) -> Tensor:
    """A site that rounds as the integer network does: 8 bits with one scale a token (and head)."""
    import torch

    scale = x.abs().amax(-1, keepdim=True).clamp_min(1e-20) / 127
    return torch.round(x / scale) * scale
