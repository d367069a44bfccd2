"""Makes tiny.safetensors and tiny2.safetensors, the models of the network golden files.

    python tests/golden/make_model.py

tiny2 needs revision 2 of the arithmetic: a layer with a reach, and a start for the mixer.

Their weights are noise from a linear congruential generator, so they know nothing; what matters is
that every machine computes the same noise. They are part of what the golden files promise: they
never change.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from lmc.kernels import _native
from lmc.models.card import PLAIN, REACH, Architecture, Card
from lmc.models.modelfile import NETWORK_PROFILE, Model, identity, write
from lmc.models.tokenizer import TokenTable, prepare

PATH = Path(__file__).with_name("tiny.safetensors")
PATH2 = Path(__file__).with_name("tiny2.safetensors")
WORDS = ["th", "the", "Ġthe", "in", "ing", "Ġa", "an", "and", "Ġand", "er", "Ġ0", "0x"]
MERGES = ["t h", "th e", "Ġ the", "i n", "in g", "Ġ a", "a n", "an d", "Ġ and", "e r", "Ġ 0", "0 x"]
SIZES = Architecture(
    dim=32, layers=2, heads=2, kv_heads=1, head_dim=32, hidden=48, vocab=256 + len(WORDS),
    extra=1, context=512, tied=False, eps=42950,
)  # fmt: skip


def noise(seed: int = 11) -> Iterator[int]:
    state = seed
    while True:
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        yield state >> 33


def tensors() -> dict[str, Any]:
    source = noise()
    out: dict[str, Any] = {}

    def matrix(name: str, rows: int, columns: int, exponent: int = 33) -> None:
        weights = [next(source) % 255 - 127 for _ in range(rows * columns)]
        out[f"{name}.weight"] = np.array(weights, np.int8).reshape(rows, columns)
        out[f"{name}.scale"] = np.full(rows, (1 << 24) - 1, np.int32)
        out[f"{name}.exponent"] = np.array([exponent], np.int32)

    def norm(name: str) -> None:
        out[f"{name}.source"] = np.arange(SIZES.dim, dtype=np.int32)
        out[f"{name}.gain"] = np.full(SIZES.dim, 1 << 30, np.int32)
        out[f"{name}.exponent"] = np.array([30], np.int32)

    width = SIZES.heads * SIZES.head_dim
    matrix("embed", SIZES.vocab + SIZES.extra, SIZES.dim, 29)
    for i in range(SIZES.layers):
        norm(f"layers.{i}.attn_norm")
        matrix(f"layers.{i}.qkv", width + 2 * SIZES.kv_heads * SIZES.head_dim, SIZES.dim)
        matrix(f"layers.{i}.out", SIZES.dim, width)
        norm(f"layers.{i}.ffn_norm")
        matrix(f"layers.{i}.gate_up", 2 * SIZES.hidden, SIZES.dim)
        matrix(f"layers.{i}.down", SIZES.dim, SIZES.hidden)
    norm("final_norm")
    matrix("head", SIZES.vocab, SIZES.dim)
    frequencies = [(1 << 64) // 40 >> i for i in range(SIZES.head_dim // 2)]
    out["rotary.frequency"] = np.array(frequencies, np.uint64)
    return out


def tokens() -> dict[str, Any]:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe = models.BPE(
        {w: i for i, w in enumerate(alphabet + WORDS)},
        [(m.split()[0], m.split()[1]) for m in MERGES],
    )
    tokenizer = Tokenizer(bpe)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    prepared, spelling = prepare(tokenizer.to_str(), len(alphabet + WORDS), frozenset())
    table = TokenTable.of(spelling)
    index = {token: i for i, token in enumerate(table.tokens)}
    return {
        "tokens.bytes": table.data,
        "tokens.offsets": table.offsets,
        "tokenizer.json": np.frombuffer(prepared.encode(), np.uint8),
        "tokenizer.ids": np.array([index[token] for token in spelling], np.int32),
    }


def card(name: str, revision: int, everything: dict[str, Any]) -> Card:
    return Card(
        name, "Apache-2.0", "tests/golden/make_model.py", revision, SIZES,
        identity(SIZES, everything), "noise",
    )  # fmt: skip


def start(everything: dict[str, Any], text: bytes) -> Any:
    """What the mixer has learned beside the network from a text."""
    model = Model(card("tiny2", REACH, everything), everything)
    ids = model.tokenizer.encode(text)
    _, learned = _native.encode_network(
        model.network(1), model.vocabulary, [len(text)], 64, 4, ids,
        np.array([len(ids)], np.uint32), start=_native.unlearned(NETWORK_PROFILE), learn=True,
    )  # fmt: skip
    return np.frombuffer(learned, "<u4").copy()


def make() -> None:
    everything = {**tensors(), **tokens()}
    if not PATH.exists():
        write(PATH, card("tiny", PLAIN, everything), everything)
    if not PATH2.exists():
        everything["reach"] = np.array([5, 0], np.int32)
        everything["mixer.start"] = start(everything, b"the hen and the thing in the ring, " * 40)
        write(PATH2, card("tiny2", REACH, everything), everything)


if __name__ == "__main__":
    make()
