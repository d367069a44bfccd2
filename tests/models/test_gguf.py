"""GGUF: dequantisation against the gguf package, the checkpoint, and hostile files."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import numpy as np
import pytest

from lmc.errors import Corrupt, LmcError, Unsupported
from lmc.models.checkpoint import HfCheckpoint
from lmc.models.gguf import (
    BLOCKS,
    PRETOKENIZERS,
    Gguf,
    GgufCheckpoint,
    block,
    gguf_tokenizer,
)
from lmc.models.tokenizer import prepare


@pytest.mark.parametrize("kind", sorted(BLOCKS))
def test_blocks_decode_like_the_gguf_package(kind: int) -> None:
    gguf = pytest.importorskip("gguf", reason="the gguf package is not installed")
    block = BLOCKS[kind]
    raw = np.random.default_rng(kind).integers(0, 256, (300, block.size), np.uint8)
    with np.errstate(all="ignore"):
        ours = block.decode(raw)
        theirs = gguf.quants.dequantize(raw, gguf.GGMLQuantizationType(kind))
    sane = np.isfinite(theirs)
    assert sane.any()
    np.testing.assert_array_equal(ours[sane], theirs.reshape(ours.shape)[sane])


@pytest.mark.parametrize("name", ["Q2_K", "Q3_K", "Q5_K", "Q5_0", "Q5_1", "IQ4_XS", "IQ4_NL"])
def test_other_blocks_are_the_packages(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gguf = pytest.importorskip("gguf", reason="the gguf package is not installed")
    kind = int(gguf.GGMLQuantizationType[name])
    found = block(kind)
    raw = np.random.default_rng(kind).integers(0, 60, (40, found.size), np.uint8)
    assert np.isfinite(found.decode(raw)).all()
    assert found.decode(raw).size == 40 * found.count
    with pytest.raises(Unsupported, match="unknown"):
        block(9999)
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(Unsupported, match="alone"):
        block(kind)


def test_sentencepiece_joins_what_scores_best() -> None:
    from tokenizers import Tokenizer

    plain = ["▁", "a", "b", "c", "d", "ab", "bc", "abc", "▁a", "▁abc", "é"]
    scores = {"ab": -4.0, "bc": -3.0, "abc": -2.0, "▁a": -9.0, "▁abc": -8.0}
    tokens = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *plain]
    metadata = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [0.0] * 257 + [scores.get(token, -20.0) for token in plain],
    }
    text, spelled = prepare(gguf_tokenizer(metadata), len(tokens), frozenset({0}))
    assert spelled[tokens.index("▁abc")] == b" abc"
    assert spelled[tokens.index("<0x0A>")] == b"\n"
    split = Tokenizer.from_str(text).encode(" abc abd\né", add_special_tokens=False)
    # "bc" is better than "ab", and nothing joins "a" and "b" but the token "ab".
    assert split.tokens == ["▁abc", "▁", "ab", "d", "<0x0A>", "é"]
    with pytest.raises(Corrupt, match="scores"):
        gguf_tokenizer({**metadata, "tokenizer.ggml.scores": [0.0]})


def test_the_two_forms_of_a_checkpoint_agree(tiny: Path, tiny_gguf: Path) -> None:
    a, b = HfCheckpoint(tiny), GgufCheckpoint(tiny_gguf)
    assert a.shape.vocab == b.shape.vocab
    names = [f"layers.1.{part}" for part in ("q.weight", "k.weight", "v.weight", "out", "down")]
    for name in ["embed", "final_norm", *names]:
        np.testing.assert_array_equal(a.tensor(name), b.tensor(name))


def test_the_tokenizer_is_the_one_it_was_made_from(tiny: Path, tiny_gguf: Path, text: str) -> None:
    from tokenizers import Tokenizer

    theirs = Tokenizer.from_file(str(tiny / "tokenizer.json"))
    ours = Tokenizer.from_str(GgufCheckpoint(tiny_gguf).tokenizer_json)
    assert ours.encode(text).ids == theirs.encode(text).ids


@pytest.mark.parametrize("name", sorted(PRETOKENIZERS))
def test_every_pretokenizer_loads_and_keeps_the_text(name: str, text: str) -> None:
    from tokenizers import Tokenizer

    tree = {"version": "1.0", "pre_tokenizer": PRETOKENIZERS[name], "added_tokens": []}
    tree["model"] = {"type": "BPE", "vocab": {"a": 0}, "merges": []}
    splitter = Tokenizer.from_str(json.dumps(tree)).pre_tokenizer
    spans = [span for _piece, span in splitter.pre_tokenize_str(text)]
    assert spans[0][0] == 0
    assert spans[-1][1] == len(text)


def test_damaged_files_are_refused_without_a_traceback(tiny_gguf: Path, tmp_path: Path) -> None:
    whole, chance = tiny_gguf.read_bytes(), random.Random(5)
    path = tmp_path / "damaged.gguf"
    refused = 0
    for trial in range(150):
        data = bytearray(whole)
        if trial % 3 == 0:
            del data[chance.randrange(len(data)) :]
        else:  # the header is where lengths and types lie
            for _ in range(1 + trial % 4):
                data[chance.randrange(6000)] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
        path.write_bytes(data)
        try:
            checkpoint = GgufCheckpoint(path)
            checkpoint.tensor("embed")
        except LmcError:
            refused += 1
    assert refused > 75


def test_a_forged_count_costs_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "forged.gguf"
    for kind, count in ((8, 1 << 60), (4, 1 << 62), (9, 3)):
        key = b"\x01\0\0\0\0\0\0\0k" + (9).to_bytes(4, "little")
        head = b"GGUF" + (3).to_bytes(4, "little") + (0).to_bytes(8, "little")
        head += (1).to_bytes(8, "little") + key
        path.write_bytes(head + kind.to_bytes(4, "little") + count.to_bytes(8, "little"))
        with pytest.raises(LmcError):
            Gguf(path)
