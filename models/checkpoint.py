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
from lmc.models.rotary import stretch
from lmc.models.safetensors import Safetensors

Floats = npt.NDArray[np.float32]

# Larger than any model that lmc could run; keeps a hostile config from asking for absurd memory.
LIMIT = 1 << 24
WINDOW = 4096  # the most tokens that any layer sees (ARITHMETIC.md): longer reaches are none


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
    divisors: tuple[float, ...] = ()  # of the rotary pairs' frequencies; none: 1 (models.rotary)
    score_factor: float = 1.0  # of attention scores, beside 1 / sqrt(head_dim)
    still: tuple[int, ...] = ()  # layers without rotary positions
    head_norms: bool = False  # queries and keys are normed head by head

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
        if len(self.reach) not in (0, self.layers) or not all(0 <= r <= LIMIT for r in self.reach):
            raise Corrupt("the checkpoint states an impossible sliding window")
        if len(self.divisors) not in (0, self.head_dim // 2):
            raise Corrupt("the checkpoint has rotary factors for another number of channels")
        if not all(math.isfinite(x) and x > 0 for x in (*self.divisors, self.score_factor)):
            raise Corrupt("the checkpoint has an impossible rotary factor")

    def require_plain(self) -> None:
        """Raise Unsupported unless attention is Llama 2's, all that lmc.models.train knows."""
        if self.divisors or self.score_factor != 1 or self.still or self.head_norms:
            raise Unsupported("lmc cannot train beside a model with such attention")


class Checkpoint(ABC):
    """A checkpoint whose tensors are read one at a time.

    Tensor names are lmc's own: `embed`, `final_norm`, `head` (absent when tied) and, after
    `layers.<i>.`: `attn_norm`, `q.weight`, `k.weight`, `v.weight`, optional `q.bias`, `k.bias`,
    `v.bias`, with head norms `q_norm` and `k_norm`, `out`, `ffn_norm`, `gate`, `up`, `down`.
    Matrices are [outputs, inputs]; Q and K rows pair (i, i + head_dim / 2) for the rotation.
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
            "q_norm": (s.head_dim,),
            "k_norm": (s.head_dim,),
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
    "q_norm": "self_attn.q_norm.weight",
    "k_norm": "self_attn.k_norm.weight",
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
INDEX = "model.safetensors.index.json"
KINDS = ("llama", "mistral", "qwen2", "qwen3", "smollm3")
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


def _weights(folder: Path) -> list[Path]:
    """The files with the tensors: those that the index names, or all that are there."""
    if not (folder / INDEX).exists():
        files = sorted(folder.glob("*.safetensors"))
        if not files:
            raise Unsupported(f"{folder} has no .safetensors file (lmc reads no pickles)")
        return files
    names = _read_json(folder / INDEX).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise Corrupt(f"{folder / INDEX} names no files")
    files = []
    for name in sorted({str(name) for name in names.values()}):
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise Corrupt(f"{folder / INDEX} names a strange file: {name!r}")
        if not (folder / name).is_file():
            raise Corrupt(f"{folder} lacks {name}, which its index names")
        files.append(folder / name)
    return files


def _rotary(config: dict[str, Any]) -> dict[str, Any]:
    """The rotary options, by the new key and the old."""
    found: dict[str, Any] = {}
    for key in ("rope_parameters", "rope_scaling"):
        options = config.get(key) or {}
        if not isinstance(options, dict):
            raise Corrupt("config.json has malformed rotary options")
        found |= options
    return found


def _reach(config: dict[str, Any]) -> tuple[int, ...]:
    """The sliding window of each layer, 0 for none; () if none has one that lmc could meet."""
    layers, window = config["num_hidden_layers"], config.get("sliding_window")
    if not config.get("use_sliding_window", config["model_type"] == "mistral") or not window:
        window = 0
    kinds = config.get("layer_types")
    if kinds is None:  # older files
        first = 0 if config["model_type"] == "mistral" else config.get("max_window_layers", 0)
        kinds = ["full_attention" if i < first else "sliding_attention" for i in range(layers)]
    unknown = set(kinds) - {"full_attention", "sliding_attention"}
    if unknown:
        raise Unsupported(f"the model has layers with {sorted(map(str, unknown))[0]}")
    if not 0 < window < WINDOW:
        return ()
    return tuple(window if kind == "sliding_attention" else 0 for kind in kinds)


def _still(config: dict[str, Any]) -> tuple[int, ...]:
    """The layers of SmolLM3 without rotary positions: a 0 in the list, else every fourth one."""
    layers, every = config["num_hidden_layers"], config.get("no_rope_layer_interval") or 4
    turned = config.get("no_rope_layers") or [(i + 1) % every for i in range(layers)]
    return tuple(i for i, turns in enumerate(turned[:layers]) if not turns)


class HfCheckpoint(Checkpoint):
    """A directory with config.json, tokenizer.json and *.safetensors, in one file or several with
    an index, as transformers saves it."""

    def __init__(self, folder: Path) -> None:
        config = _read_json(folder / "config.json")
        kind = config.get("model_type")
        if kind not in KINDS:
            raise Unsupported(f"lmc imports {', '.join(KINDS)} models, not {kind!r}")
        self._refuse(config, str(kind))
        self._files = [Safetensors(file) for file in _weights(folder)]
        tokenizer = _read_json(folder / "tokenizer.json")
        rope = _rotary(config)
        heads, dim = config.get("num_attention_heads", 0), config.get("hidden_size", 0)
        try:
            theta = float(config.get("rope_theta") or rope.get("rope_theta") or 10000.0)
            head_dim = config.get("head_dim") or dim // max(heads, 1)
            made_for = config["max_position_embeddings"]
            divisors, score_factor = stretch(rope, theta, head_dim, made_for)
            shape = Shape(
                dim=dim,
                layers=config["num_hidden_layers"],
                heads=heads,
                kv_heads=config.get("num_key_value_heads") or heads,
                head_dim=head_dim,
                hidden=config["intermediate_size"],
                vocab=config["vocab_size"],
                context=made_for,
                rope_theta=theta,
                epsilon=float(config["rms_norm_eps"]),
                tied=bool(config.get("tie_word_embeddings", kind == "smollm3")),
                reach=_reach(config),
                divisors=divisors,
                score_factor=score_factor,
                still=_still(config) if kind == "smollm3" else (),
                head_norms=kind == "qwen3",
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
        rope = _rotary(config)
        if any(isinstance(value, dict) for value in rope.values()):
            raise Unsupported("the model's layers have different rotary positions")
        if rope.get("partial_rotary_factor", config.get("partial_rotary_factor", 1.0)) != 1.0:
            raise Unsupported("the model rotates a part of each head only")
        if config.get("hidden_act", "silu") != "silu":
            raise Unsupported(f"the model's activation is {config['hidden_act']!r}, not 'silu'")
        # Qwen2 has biases of Q, K and V without saying so; this key means one of the output, too.
        if config.get("mlp_bias") or (kind != "qwen2" and config.get("attention_bias")):
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
