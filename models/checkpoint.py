"""Floating-point checkpoints: what the importer needs of one, and the Hugging Face form of it."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lmc.errors import Corrupt, Unsupported
from lmc.models.safetensors import Safetensors

Floats = npt.NDArray[np.float32]

# Larger than any model that lmc could run; keeps a hostile config from asking for absurd memory.
LIMIT = 1 << 24


@dataclass(frozen=True)
class Shape:
    """The sizes of a Llama-family transformer, as its checkpoint states them."""

    dim: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    vocab: int
    context: int
    rope_theta: float
    epsilon: float
    tied: bool
    reach: tuple[int, ...] = ()  # of each layer, in tokens; 0 and no entries at all: no limit

    def check(self) -> None:
        """Raise Corrupt unless the sizes can belong to one model."""
        names = ("dim", "layers", "heads", "kv_heads", "head_dim", "hidden", "vocab", "context")
        for name in names:
            value = getattr(self, name)
            if not isinstance(value, int) or not 1 <= value <= LIMIT:
                raise Corrupt(f"the checkpoint states an impossible {name}: {value!r}")
        if self.heads % self.kv_heads or self.head_dim % 2:
            raise Corrupt("the checkpoint's attention heads do not fit together")
        if not (math.isfinite(self.rope_theta) and self.rope_theta > 1):
            raise Corrupt("the checkpoint states an impossible rotary base")
        if not 0 < self.epsilon < 1:
            raise Corrupt("the checkpoint states an impossible norm epsilon")


class Checkpoint(ABC):
    """A checkpoint whose tensors are read one at a time.

    Tensor names are lmc's own: `embed`, `final_norm`, `head` (absent when tied) and, after
    `layers.<i>.`: `attn_norm`, `q.weight`, `k.weight`, `v.weight`, optional `q.bias`, `k.bias`,
    `v.bias`, `out`, `ffn_norm`, `gate`, `up`, `down`. Matrices are [outputs, inputs]; Q and K rows
    pair (i, i + head_dim / 2) for the rotation.
    """

    def __init__(
        self, shape: Shape, tokenizer_json: str, specials: frozenset[int], licence: str, source: str
    ) -> None:
        """`specials`: ids that never stand for text, such as <|im_start|>."""
        shape.check()
        self.shape = shape
        self.tokenizer_json = tokenizer_json
        self.specials = specials
        self.licence = licence
        self.source = source

    @abstractmethod
    def load(self, name: str) -> Floats | None:
        """The tensor as the file has it, or None when it has none."""

    def expected(self, name: str) -> tuple[int, ...]:
        """The shape that tensor `name` must have."""
        s = self.shape
        query, key = s.heads * s.head_dim, s.kv_heads * s.head_dim
        table: dict[str, tuple[int, ...]] = {
            "embed": (s.vocab, s.dim),
            "head": (s.vocab, s.dim),
            "final_norm": (s.dim,),
            "attn_norm": (s.dim,),
            "ffn_norm": (s.dim,),
            "q.weight": (query, s.dim),
            "k.weight": (key, s.dim),
            "v.weight": (key, s.dim),
            "q.bias": (query,),
            "k.bias": (key,),
            "v.bias": (key,),
            "out": (s.dim, query),
            "gate": (s.hidden, s.dim),
            "up": (s.hidden, s.dim),
            "down": (s.dim, s.hidden),
        }
        return table[name.split(".", 2)[2] if name.startswith("layers.") else name]

    def optional(self, name: str) -> Floats | None:
        """Tensor `name`, checked, or None. Raises Corrupt for a wrong shape or a value that is
        not finite."""
        tensor = self.load(name)
        if tensor is None:
            return None
        if tensor.shape != self.expected(name):
            raise Corrupt(
                f"tensor {name} has shape {tensor.shape}, the model needs {self.expected(name)}"
            )
        if not np.isfinite(tensor).all():
            raise Corrupt(f"tensor {name} has values that are not finite")
        return tensor

    def tensor(self, name: str) -> Floats:
        """Tensor `name`, checked. Raises Corrupt when it is missing or wrong."""
        tensor = self.optional(name)
        if tensor is None:
            raise Corrupt(f"the checkpoint has no tensor {name}")
        return tensor

    def bias(self, layer: int) -> Floats | None:
        """The bias of Q, K and V together, or None for a model without."""
        parts = [self.optional(f"layers.{layer}.{part}.bias") for part in "qkv"]
        present = [part for part in parts if part is not None]
        if not present:
            return None
        if len(present) != 3:
            raise Corrupt(f"layer {layer} has a bias for some of Q, K and V only")
        return np.concatenate(present)


# --- Hugging Face directories ---

NAMES = {
    "attn_norm": "input_layernorm.weight",
    "q.weight": "self_attn.q_proj.weight",
    "k.weight": "self_attn.k_proj.weight",
    "v.weight": "self_attn.v_proj.weight",
    "q.bias": "self_attn.q_proj.bias",
    "k.bias": "self_attn.k_proj.bias",
    "v.bias": "self_attn.v_proj.bias",
    "out": "self_attn.o_proj.weight",
    "ffn_norm": "post_attention_layernorm.weight",
    "gate": "mlp.gate_proj.weight",
    "up": "mlp.up_proj.weight",
    "down": "mlp.down_proj.weight",
}
WHOLE = {
    "embed": "model.embed_tokens.weight",
    "final_norm": "model.norm.weight",
    "head": "lm_head.weight",
}
DTYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise Corrupt(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise Corrupt(f"{path} is not JSON") from error
    if not isinstance(value, dict):
        raise Corrupt(f"{path} is not a JSON object")
    return value


class HfCheckpoint(Checkpoint):
    """A directory with config.json, tokenizer.json and *.safetensors, as transformers saves it."""

    def __init__(self, folder: Path) -> None:
        config = _read_json(folder / "config.json")
        kind = config.get("model_type")
        if kind not in ("llama", "mistral", "qwen2"):
            raise Unsupported(f"lmc imports llama, mistral and qwen2 models, not {kind!r}")
        self._refuse(config, str(kind))
        files = sorted(folder.glob("*.safetensors"))
        if not files:
            raise Unsupported(f"{folder} has no .safetensors file (lmc reads no pickles)")
        self._files = [Safetensors(file) for file in files]
        tokenizer = _read_json(folder / "tokenizer.json")
        rope = config.get("rope_parameters") or {}
        heads, dim = config.get("num_attention_heads", 0), config.get("hidden_size", 0)
        try:
            shape = Shape(
                dim=dim,
                layers=config["num_hidden_layers"],
                heads=heads,
                kv_heads=config.get("num_key_value_heads") or heads,
                head_dim=config.get("head_dim") or dim // max(heads, 1),
                hidden=config["intermediate_size"],
                vocab=config["vocab_size"],
                context=config["max_position_embeddings"],
                rope_theta=float(config.get("rope_theta") or rope.get("rope_theta") or 10000.0),
                epsilon=float(config["rms_norm_eps"]),
                tied=bool(config.get("tie_word_embeddings", False)),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Corrupt(f"{folder}/config.json lacks a size or has a strange one") from error
        super().__init__(
            shape,
            tokenizer_json=json.dumps(tokenizer, ensure_ascii=False),
            specials=frozenset(
                token["id"]
                for token in tokenizer.get("added_tokens", [])
                if isinstance(token, dict) and token.get("special") and "id" in token
            ),
            licence="unknown",
            source=str(config.get("_name_or_path") or folder.name),
        )

    @staticmethod
    def _refuse(config: dict[str, Any], kind: str) -> None:
        """Raise Unsupported for whatever the integer network does not compute."""
        rope = config.get("rope_parameters") or {}
        scaling = config.get("rope_scaling") or {}
        for options in (rope, scaling):
            if not isinstance(options, dict):
                raise Corrupt("config.json has malformed rotary options")
            rule = options.get("rope_type", options.get("type", "default"))
            if rule != "default":
                raise Unsupported(f"the model scales its rotary positions by {rule!r}")
        if rope.get("partial_rotary_factor", 1.0) != 1.0:
            raise Unsupported("the model rotates a part of each head only")
        if config.get("hidden_act", "silu") != "silu":
            raise Unsupported(f"the model's activation is {config['hidden_act']!r}, not 'silu'")
        if config.get("mlp_bias") or (kind == "llama" and config.get("attention_bias")):
            raise Unsupported("the model has biases that lmc's network does not")

    def load(self, name: str) -> Floats | None:
        if name in WHOLE:
            theirs = WHOLE[name]
        else:
            layer, ours = name.removeprefix("layers.").split(".", 1)
            theirs = f"model.layers.{layer}.{NAMES[ours]}"
        for file in self._files:
            if theirs in file:
                tensor = file.view(theirs, DTYPES)
                if tensor.dtype == np.uint16:  # bfloat16: the upper half of a float32
                    return (tensor.astype(np.uint32) << 16).view(np.float32)
                return tensor.astype(np.float32)
        return None
