"""The transformer in floating point: for calibration and for the loss report, never for coding.

It runs a checkpoint as it is, or the weights of an integer model with the rounding of the
activations imitated. torch is imported inside the functions: nothing else in lmc needs it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
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


class Weights(Mapping[str, Array]):
    """The float weights of a checkpoint, by the names that `FloatNet` takes. Of the layers one is
    in memory at a time, because a model with as many bytes as the machine should still be
    importable: walk through them in their order."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        tensor = checkpoint.tensor
        self._checkpoint = checkpoint
        self._outer = {"embed": tensor("embed"), "final_norm": tensor("final_norm")}
        self._outer["head"] = self._outer["embed"] if checkpoint.shape.tied else tensor("head")
        self._held: tuple[int, dict[str, Array]] = (-1, {})

    def _layer(self, i: int) -> dict[str, Array]:
        if self._held[0] == i:
            return self._held[1]
        self._held = (-1, {})
        tensor, at = self._checkpoint.tensor, f"layers.{i}."
        out = {name: tensor(at + name) for name in ("attn_norm", "ffn_norm", "out", "down")}
        out["qkv"] = np.concatenate([tensor(f"{at}{part}.weight") for part in "qkv"])
        out["gate_up"] = np.concatenate([tensor(at + "gate"), tensor(at + "up")])
        bias = self._checkpoint.bias(i)
        if bias is not None:
            out["bias"] = bias
        if self._checkpoint.shape.head_norms:
            out |= {name: tensor(at + name) for name in ("q_norm", "k_norm")}
        self._held = (i, out)
        return out

    def __getitem__(self, name: str) -> Array:
        if not name.startswith("layers."):
            return self._outer[name]
        _, layer, inner = name.split(".")
        return self._layer(int(layer))[inner]

    def __iter__(self) -> Iterator[str]:
        yield from self._outer
        for i in range(self._checkpoint.shape.layers):
            yield from [f"layers.{i}.{name}" for name in self._layer(i)]

    def __len__(self) -> int:
        return sum(1 for _ in self)


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
    """A Llama-family transformer with `weights` as `Weights` names them."""

    def __init__(
        self, shape: Shape, weights: Mapping[str, Array], site: Site | None = None
    ) -> None:
        self.shape = shape
        self.weights = weights
        self.site: Site = site or (lambda _name, x: x)

    def _weight(self, name: str) -> Tensor:
        import torch

        return torch.from_numpy(np.ascontiguousarray(self.weights[name]))

    def _norm(self, x: Tensor, name: str) -> Tensor:
        import torch

        rms = torch.rsqrt(x.square().mean(-1, keepdim=True) + self.shape.epsilon)
        return self.site(name, x * rms * self._weight(name))

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

    def _layer(self, i: int, x: Tensor) -> Tensor:
        """The residual stream [tokens, dim] of one sequence after layer `i`."""
        from torch.nn import functional

        s, site, at = self.shape, self.site, f"layers.{i}."
        query, key = s.heads * s.head_dim, s.kv_heads * s.head_dim
        bias = self._weight(at + "bias") if at + "bias" in self.weights else None
        qkv = functional.linear(self._norm(x, at + "attn_norm"), self._weight(at + "qkv"), bias)
        q, k, v = (
            part.reshape(len(x), -1, s.head_dim).transpose(0, 1)
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
            attn_mask=self._seen(i, len(x)),
            scale=s.score_factor / math.sqrt(s.head_dim),
            enable_gqa=True,
        )[0]
        mixed = site(at + "out", mixed.transpose(0, 1).reshape(len(x), query))
        x = x + functional.linear(mixed, self._weight(at + "out"))
        both = functional.linear(self._norm(x, at + "ffn_norm"), self._weight(at + "gate_up"))
        gate, up = both.chunk(2, -1)
        down = site(at + "down", functional.silu(gate) * up)
        x = x + functional.linear(down, self._weight(at + "down"))
        site("residual", x)
        return x

    def hidden(self, sequences: Sequence[Tensor]) -> list[Tensor]:
        """The inputs of the head, [tokens, dim], for sequences that each begin in an empty
        context. All of them pass a layer before the next one is loaded."""
        embed = self._weight("embed")
        streams = [embed[tokens] for tokens in sequences]
        for i in range(self.shape.layers):
            streams = [self._layer(i, x) for x in streams]
        return [self._norm(x, "final_norm") for x in streams]

    def losses(
        self, sequences: Sequence[Tensor], begins: Sequence[int], keep: Tensor | None = None
    ) -> list[Tensor]:
        """Nats of each token of each sequence, after its `begin` as the first. `keep`: the ids
        that can follow (all others get probability zero)."""
        import torch
        from torch.nn import functional

        with torch.inference_mode():
            fed = [
                torch.cat([torch.tensor([begin], dtype=tokens.dtype), tokens[:-1]])
                for tokens, begin in zip(sequences, begins, strict=True)
            ]
            head, out = self._weight("head"), []
            for hidden, tokens in zip(self.hidden(fed), sequences, strict=True):
                logits = functional.linear(hidden, head)
                if keep is not None:
                    logits.masked_fill_(~keep, float("-inf"))
                out.append(functional.cross_entropy(logits, tokens.long(), reduction="none"))
            return out


def imitate_int8(name: str, x: Tensor) -> Tensor:
    """A site that rounds as the integer network does: 8 bits with one scale a token (and head)."""
    import torch

    scale = x.abs().amax(-1, keepdim=True).clamp_min(1e-20) / 127
    return torch.round(x / scale) * scale
