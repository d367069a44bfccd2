"""GGUF files: metadata, tensors and tokenizer of one checkpoint, believing nothing.

Layout after https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, the block formats after
ggml's `ggml-quants.c`. A length in the file is never trusted before the bytes that it promises are
known to exist, so a hostile file costs no more memory than its own size.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lmc.errors import Corrupt, Unsupported
from lmc.models.checkpoint import WINDOW, Checkpoint, Shape
from lmc.models.rotary import Stretch, stretch

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

MAGIC = b"GGUF"
STRING, ARRAY = 8, 9
# Metadata value types: number on the wire -> struct code.
SCALARS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True))
NO_TEXT = (2, 3, 5)  # token types: unknown, control, unused


# --- block formats: uint8[blocks, bytes a block] -> float32[blocks, values a block] ---


def _half(blocks: Array, at: int) -> Floats:
    """The float16 that begins at byte `at` of every block, as a column."""
    return np.ascontiguousarray(blocks[:, at : at + 2]).view("<f2").astype(np.float32)


def _f32(blocks: Array) -> Floats:
    return np.ascontiguousarray(blocks).view("<f4").astype(np.float32)


def _f16(blocks: Array) -> Floats:
    return np.ascontiguousarray(blocks).view("<f2").astype(np.float32)


def _bf16(blocks: Array) -> Floats:
    return (np.ascontiguousarray(blocks).view("<u2").astype(np.uint32) << 16).view(np.float32)


def _q8_0(blocks: Array) -> Floats:
    return _half(blocks, 0) * blocks[:, 2:].view(np.int8).astype(np.float32)


def _nibbles(packed: Array) -> Floats:
    """All low halves, then all high halves: the order of the 32-value formats."""
    return np.concatenate([packed & 15, packed >> 4], axis=-1).astype(np.float32)


def _q4_0(blocks: Array) -> Floats:
    return _half(blocks, 0) * (_nibbles(blocks[:, 2:]) - np.float32(8))


def _q4_1(blocks: Array) -> Floats:
    return _half(blocks, 0) * _nibbles(blocks[:, 4:]) + _half(blocks, 2)


def _k_scales(packed: Array) -> tuple[Floats, Floats]:
    """Eight 6-bit scales and eight 6-bit minima out of 12 bytes."""
    low, middle, high = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    scales = np.concatenate([low & 63, (high & 15) | ((low >> 6) << 4)], axis=1)
    minima = np.concatenate([middle & 63, (high >> 4) | ((middle >> 6) << 4)], axis=1)
    return scales.astype(np.float32), minima.astype(np.float32)


def _q4_k(blocks: Array) -> Floats:
    scales, minima = _k_scales(blocks[:, 4:16])
    values = _nibbles(blocks[:, 16:].reshape(-1, 4, 32)).reshape(-1, 8, 32)
    step = (_half(blocks, 0) * scales)[:, :, None]
    floor = (_half(blocks, 2) * minima)[:, :, None]
    return (step * values - floor).reshape(-1, 256)


def _q6_k(blocks: Array) -> Floats:
    low = blocks[:, 0:128].reshape(-1, 2, 1, 64)
    low = np.concatenate([low & 15, low >> 4], axis=2).reshape(-1, 2, 4, 32)
    high = blocks[:, 128:192].reshape(-1, 2, 1, 32)
    high = (high >> np.array([0, 2, 4, 6], np.uint8).reshape(1, 1, 4, 1)) & 3
    values = (low | (high << 4)).astype(np.float32) - np.float32(32)
    scales = blocks[:, 192:208].view(np.int8).astype(np.float32)
    step = (_half(blocks, 208) * scales)[:, :, None]
    scaled: Floats = step * values.reshape(-1, 16, 16)
    return scaled.reshape(-1, 256)


@dataclass(frozen=True)
class Block:
    """A tensor type: `count` values are stored in `size` bytes."""

    name: str
    count: int
    size: int
    decode: Callable[[Array], Floats]


# Decoded here, because the identities of known models hang on these bits, and getting one of those
# must need nothing more than lmc.
BLOCKS = {
    0: Block("F32", 1, 4, _f32),
    1: Block("F16", 1, 2, _f16),
    2: Block("Q4_0", 32, 18, _q4_0),
    3: Block("Q4_1", 32, 20, _q4_1),
    8: Block("Q8_0", 32, 34, _q8_0),
    12: Block("Q4_K", 256, 144, _q4_k),
    14: Block("Q6_K", 256, 210, _q6_k),
    30: Block("BF16", 1, 2, _bf16),
}


def block(kind: int) -> Block:
    """The tensor type of this number; types that are not in BLOCKS are the gguf package's. Raises
    Unsupported for what nobody here knows."""
    if kind in BLOCKS:
        return BLOCKS[kind]
    try:
        import gguf
    except ImportError as error:
        known = ", ".join(block.name for block in BLOCKS.values())
        raise Unsupported(
            f"a tensor has GGUF type {kind}; alone, lmc reads {known}",
            hint="pip install gguf, which knows more",
        ) from error
    try:
        theirs = gguf.GGMLQuantizationType(kind)
        count, size = gguf.GGML_QUANT_SIZES[theirs]
    except (ValueError, KeyError) as error:
        raise Unsupported(f"a tensor has the unknown GGUF type {kind}") from error

    def decode(blocks: Array) -> Floats:
        try:
            return np.asarray(gguf.quants.dequantize(blocks, theirs), np.float32)
        except NotImplementedError as error:
            raise Unsupported(f"a tensor has the GGUF type {theirs.name}") from error

    return Block(theirs.name, count, size, decode)


# --- the file ---


class _Cursor:
    """Reads the header front to back and never past the end of the file."""

    def __init__(self, data: npt.NDArray[np.uint8]) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        if size > len(self.data) - self.at:
            raise Corrupt("the GGUF file ends inside its header")
        self.at += size
        return self.data[self.at - size : self.at].tobytes()

    def number(self, code: str) -> Any:
        return struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0]

    def string(self) -> str:
        try:
            return self.take(self.number("Q")).decode("utf-8")
        except UnicodeDecodeError as error:
            raise Corrupt("a string in the GGUF header is not UTF-8") from error

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.string()
        if kind in SCALARS:
            return self.number(SCALARS[kind])
        if kind != ARRAY:
            raise Corrupt(f"the GGUF header has a value of unknown type {kind}")
        inner, count = self.number("I"), self.number("Q")
        if inner == STRING:
            if count > (len(self.data) - self.at) // 8:  # each costs its length field at least
                raise Corrupt("the GGUF file ends inside an array of strings")
            return [self.string() for _ in range(count)]
        if inner not in SCALARS:
            raise Corrupt(f"the GGUF header has an array of type {inner}")
        raw = self.take(count * struct.calcsize("<" + SCALARS[inner]))
        return np.frombuffer(raw, np.dtype("<" + SCALARS[inner])).tolist()


@dataclass(frozen=True)
class Entry:
    """Where one tensor lies: numpy order of `shape`, bytes `[start, stop)` of the file."""

    shape: tuple[int, ...]
    block: Block
    start: int
    stop: int


class Gguf:
    """One GGUF file, memory-mapped: `metadata`, `entries`, and tensors on demand."""

    def __init__(self, path: Path) -> None:
        """Read the header of `path`. Raises Corrupt, or Unsupported for versions and tensor
        types that lmc does not know."""
        if path.stat().st_size < 24:
            raise Corrupt(f"{path} is too short for a GGUF file")
        self._data = np.memmap(path, np.uint8, "r")
        cursor = _Cursor(self._data)
        if cursor.take(4) != MAGIC:
            raise Corrupt(f"{path} is not a GGUF file")
        version = cursor.number("I")
        if version not in (2, 3):
            raise Unsupported(f"{path} is a GGUF file of version {version}; lmc reads 2 and 3")
        tensors, pairs = cursor.number("Q"), cursor.number("Q")
        self.metadata: dict[str, Any] = {}
        for _ in range(pairs):
            key = cursor.string()
            self.metadata[key] = cursor.value(cursor.number("I"))
        headers = [self._entry_header(cursor) for _ in range(tensors)]
        alignment = self.metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 20:
            raise Corrupt("the GGUF file has an impossible alignment")
        base = -(-cursor.at // alignment) * alignment
        self.entries = {
            name: self._entry(name, dims, kind, base + offset)
            for name, dims, kind, offset in headers
        }
        if len(self.entries) != tensors:
            raise Corrupt("the GGUF file names a tensor twice")

    @staticmethod
    def _entry_header(cursor: _Cursor) -> tuple[str, list[int], int, int]:
        name = cursor.string()
        rank = cursor.number("I")
        if not 1 <= rank <= 4:
            raise Corrupt(f"tensor {name!r} has {rank} dimensions")
        dims = [cursor.number("Q") for _ in range(rank)]
        return name, dims, cursor.number("I"), cursor.number("Q")

    def _entry(self, name: str, dims: list[int], kind: int, start: int) -> Entry:
        stored = block(kind)
        if dims[0] % stored.count:
            raise Corrupt(f"a row of tensor {name!r} is not a whole number of blocks")
        stop = start + math.prod(dims) // stored.count * stored.size
        if stop > len(self._data) or 0 in dims:
            raise Corrupt(f"tensor {name!r} lies outside the GGUF file")
        return Entry(tuple(reversed(dims)), stored, start, stop)

    def tensor(self, name: str) -> Floats:
        """The dequantised tensor, outermost dimension first."""
        if name not in self.entries:
            raise Corrupt(f"the GGUF file has no tensor {name!r}")
        entry = self.entries[name]
        blocks = np.asarray(self._data[entry.start : entry.stop]).reshape(-1, entry.block.size)
        with np.errstate(all="ignore"):  # infinities are found where the values are used
            return entry.block.decode(blocks).reshape(entry.shape)

    def field(self, key: str, kind: type[Any]) -> Any:
        """A metadata value that must be there and be of `kind`."""
        value = self.metadata.get(key)
        if not isinstance(value, kind):
            raise Corrupt(f"the GGUF file has no usable {key!r}")
        return value


# --- the checkpoint in it ---


def _unpermute(rows: Floats, heads: int) -> Floats:
    """Undo llama.cpp's reordering of Q and K rows: it pairs (2i, 2i + 1) for the rotation,
    lmc pairs (i, i + half)."""
    half = rows.shape[0] // heads // 2
    split = rows.reshape(heads, half, 2, *rows.shape[1:])
    return np.ascontiguousarray(split.swapaxes(1, 2)).reshape(rows.shape)


NAMES = {
    "attn_norm": "attn_norm.weight",
    "q.weight": "attn_q.weight",
    "k.weight": "attn_k.weight",
    "v.weight": "attn_v.weight",
    "q.bias": "attn_q.bias",
    "k.bias": "attn_k.bias",
    "v.bias": "attn_v.bias",
    "q_norm": "attn_q_norm.weight",
    "k_norm": "attn_k_norm.weight",
    "out": "attn_output.weight",
    "ffn_norm": "ffn_norm.weight",
    "gate": "ffn_gate.weight",
    "up": "ffn_up.weight",
    "down": "ffn_down.weight",
}
WHOLE = {"embed": "token_embd.weight", "final_norm": "output_norm.weight", "head": "output.weight"}


ARCHITECTURES = ("llama", "qwen2", "qwen3", "smollm3")
INTERLEAVED = ("llama", "smollm3")  # whose Q and K rows llama.cpp reorders
STILL = 4  # every so many layers of smollm3 have no positions; the file does not say it
ROTARY_FACTORS = "rope_freqs.weight"  # what Llama 3.1 divides its frequencies by


class GgufCheckpoint(Checkpoint):
    """A Llama-family model in a GGUF file."""

    def __init__(self, path: Path) -> None:
        self.file = Gguf(path)
        field = self.file.field
        self.kind: str = field("general.architecture", str)
        if self.kind not in ARCHITECTURES:
            known = ", ".join(ARCHITECTURES)
            raise Unsupported(f"{path} holds a {self.kind!r} model; lmc imports {known}")
        if self.file.metadata.get(f"{self.kind}.expert_count"):
            raise Unsupported(f"{path} holds a mixture of experts")
        heads: int = field(f"{self.kind}.attention.head_count", int)
        dim: int = field(f"{self.kind}.embedding_length", int)
        meta = self.file.metadata
        layers: int = field(f"{self.kind}.block_count", int)
        head_dim = meta.get(f"{self.kind}.attention.key_length", dim // max(heads, 1))
        context: int = field(f"{self.kind}.context_length", int)
        theta = meta.get(f"{self.kind}.rope.freq_base", 10000.0)
        window = meta.get(f"{self.kind}.attention.sliding_window", 0)
        if not all(isinstance(value, int | float) for value in (head_dim, theta, window)):
            raise Corrupt("the GGUF file has a size that is no number")
        if meta.get(f"{self.kind}.rope.dimension_count", head_dim) != head_dim:
            raise Unsupported(f"{path} holds a model that rotates a part of each head only")
        divisors, score_factor = self._stretch(theta, head_dim, context)
        self.tokens: list[str] = field("tokenizer.ggml.tokens", list)
        super().__init__(
            Shape(
                dim=dim,
                layers=layers,
                heads=heads,
                kv_heads=meta.get(f"{self.kind}.attention.head_count_kv", heads),
                head_dim=head_dim,
                hidden=field(f"{self.kind}.feed_forward_length", int),
                vocab=len(self.tokens),
                context=context,
                rope_theta=float(theta),
                epsilon=field(f"{self.kind}.attention.layer_norm_rms_epsilon", float),
                tied="output.weight" not in self.file.entries,
                reach=(window,) * layers if 0 < window < WINDOW else (),
                divisors=divisors,
                score_factor=score_factor,
                still=tuple(range(STILL - 1, layers, STILL)) if self.kind == "smollm3" else (),
                head_norms=self.kind == "qwen3",
            ),
            tokenizer_json=gguf_tokenizer(meta),
            specials=self._specials(),
            licence=str(meta.get("general.license", "unknown")),
            source=str(meta.get("general.source.huggingface.repository", path.name)),
        )

    def _stretch(self, theta: float, head_dim: int, context: int) -> Stretch:
        """How the file says that rotary positions are scaled."""
        if ROTARY_FACTORS in self.file.entries:
            return tuple(self.file.tensor(ROTARY_FACTORS).reshape(-1).tolist()), 1.0
        at, meta = f"{self.kind}.rope.scaling.", self.file.metadata
        rule = meta.get(at + "type", "none")
        options = {
            "rope_type": "default" if rule == "none" else rule,
            "factor": meta.get(at + "factor"),
            "original_max_position_embeddings": meta.get(at + "original_context_length"),
        }
        return stretch(options, theta, head_dim, context)

    def _specials(self) -> frozenset[int]:
        kinds = self.file.field("tokenizer.ggml.token_type", list)
        return frozenset(i for i, kind in enumerate(kinds) if kind in NO_TEXT)

    def load(self, name: str) -> Floats | None:
        if name in WHOLE:
            theirs = WHOLE[name]
        else:
            layer, ours = name.removeprefix("layers.").split(".", 1)
            theirs = f"blk.{layer}.{NAMES[ours]}"
        if theirs not in self.file.entries:
            return None
        tensor = self.file.tensor(theirs)
        if self.kind in INTERLEAVED and tensor.ndim and ".attn_q." in theirs:
            return _unpermute(tensor, self.shape.heads)
        if self.kind in INTERLEAVED and tensor.ndim and ".attn_k." in theirs:
            return _unpermute(tensor, self.shape.kv_heads)
        return tensor


# How text is split before the merges, by the name in tokenizer.ggml.pre.
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|"
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _byte_level(use_regex: bool) -> dict[str, Any]:
    return {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": use_regex,
    }


def _sequence(first: dict[str, Any], use_regex: bool) -> dict[str, Any]:
    return {"type": "Sequence", "pretokenizers": [first, _byte_level(use_regex)]}


def _split(pattern: str) -> dict[str, Any]:
    return {
        "type": "Split",
        "pattern": {"Regex": pattern},
        "behavior": "Isolated",
        "invert": False,
    }


PRETOKENIZERS = {
    "smollm": _sequence({"type": "Digits", "individual_digits": True}, True),
    "gpt-2": _byte_level(True),
    "default": _byte_level(True),
    "llama-bpe": _sequence(_split(_LLAMA3), False),
    "llama3": _sequence(_split(_LLAMA3), False),
    "qwen2": _sequence(_split(_QWEN2), False),
    "deepseek-r1-qwen": _sequence(_split(_QWEN2), False),
    "tekken": _sequence(_split(_TEKKEN), False),
}
# These take a piece that is a token as it is, without its merges.
WHOLE_PIECES = ("llama-bpe", "llama3", "tekken")


def _sentencepiece(metadata: dict[str, Any]) -> str:
    """The tokenizer of Llama 2 and the first Mistral: BPE over characters, spaces as U+2581, bytes
    for what has no token.

    SentencePiece joins the neighbours whose union has the best score, so its merges are all pairs
    that make a token, best first.
    """
    tokens, scores = metadata.get("tokenizer.ggml.tokens"), metadata.get("tokenizer.ggml.scores")
    if not isinstance(tokens, list) or not isinstance(scores, list) or len(tokens) != len(scores):
        raise Corrupt("the GGUF file has no token list, or no scores for it")
    vocabulary = {str(token): i for i, token in enumerate(tokens)}
    merges = []
    for token, i in vocabulary.items():
        for cut in range(1, len(token)):
            left, right = token[:cut], token[cut:]
            if left in vocabulary and right in vocabulary:
                merges.append((-float(scores[i]), vocabulary[left], vocabulary[right], left, right))
    merges.sort()
    return json.dumps(
        {
            "version": "1.0",
            "added_tokens": [],
            "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
            "pre_tokenizer": None,
            "decoder": {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            "model": {
                "type": "BPE",
                "unk_token": None,
                "fuse_unk": False,
                "byte_fallback": True,
                "vocab": vocabulary,
                "merges": [[left, right] for *_order, left, right in merges],
            },
        },
        ensure_ascii=False,
    )


def gguf_tokenizer(metadata: dict[str, Any]) -> str:
    """The tokenizer of a GGUF file as Hugging Face tokenizers JSON.

    Added tokens are left out: lmc codes what looks like one as plain text.
    """
    model, pre = metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre", "default")
    if model == "llama":
        return _sentencepiece(metadata)
    if model != "gpt2":
        raise Unsupported(f"lmc builds BPE tokenizers from GGUF only, not {model!r}")
    if pre not in PRETOKENIZERS:
        raise Unsupported(
            f"the GGUF file splits text by {pre!r}; lmc knows {', '.join(PRETOKENIZERS)}"
        )
    tokens, merges = metadata.get("tokenizer.ggml.tokens"), metadata.get("tokenizer.ggml.merges")
    if not isinstance(tokens, list) or not isinstance(merges, list):
        raise Corrupt("the GGUF file has no token list or no merges")
    pairs = [str(merge).split(" ") for merge in merges]
    if any(len(pair) != 2 for pair in pairs):
        raise Corrupt("the GGUF file has a merge that is not a pair of tokens")
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [],
            "normalizer": None,
            "pre_tokenizer": PRETOKENIZERS[pre],
            "post_processor": None,
            "decoder": _byte_level(True),
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": pre in WHOLE_PIECES,
                "vocab": {token: i for i, token in enumerate(tokens)},
                "merges": pairs,
            },
        },
        ensure_ascii=False,
    )
