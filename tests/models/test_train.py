"""The whole way from texts to a model that compresses, in small: the scripts that made ours."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmc.codecs import text
from lmc.models.card import REACH
from lmc.models.modelfile import read
from lmc.models.train.corpus import END, Filter, pieces

torch = pytest.importorskip("torch", reason="torch is not installed")

ROOT = Path(__file__).parents[2]
BOOK = (ROOT / "corpora" / "time-machine.txt").read_bytes()
SHAPE: dict[str, Any] = {
    "dim": 64, "layers": 2, "heads": 2, "kv_heads": 1, "head_dim": 32, "hidden": 96, "vocab": 512,
    "context": 64, "rope_theta": 10000.0, "epsilon": 1e-5, "tied": True, "reach": [16, 0],
}  # fmt: skip
RECIPE: dict[str, Any] = {
    "shape": SHAPE, "steps": 60, "warmup": 10, "decay": 0.5, "rounded": 0.5, "rows": 8, "part": 8,
    "length": 64, "matrix_rate": 0.02, "rate": 0.01, "weight_decay": 0.1, "seed": 1,
}  # fmt: skip


@pytest.mark.slow
def test_from_texts_to_a_model(tmp_path: Path, training: Callable[..., str]) -> None:
    sources, corpus, tokens = tmp_path / "texts", tmp_path / "corpus", tmp_path / "tokens"
    sources.mkdir()
    secret = BOOK[60_000:64_000]
    (sources / "books__wells.txt").write_bytes(BOOK[:60_000] + END + secret + END + BOOK[64_000:])
    (sources / "code__lmc.txt").write_bytes(
        END.join(path.read_bytes() for path in sorted((ROOT / "models").glob("*.py")))
    )
    (tmp_path / "bench.txt").write_bytes(secret)
    training("corpus", corpus, sources, "--keep-out", tmp_path / "bench.txt")
    assert secret[1000:1200] not in (corpus / "books").read_bytes()

    recipes = tmp_path / "recipes"
    recipes.mkdir()
    (recipes / "dry.json").write_text(json.dumps(RECIPE))
    (tmp_path / "mixture.json").write_text('{"books": 2, "code": 1}')
    tokenizer = tmp_path / "tokenizer.json"
    mixture = ("--mixture", tmp_path / "mixture.json")
    training("split", "learn", corpus, tokenizer, "--vocabulary", 512, *mixture)
    training("split", "apply", corpus, tokenizer, tokens)

    out = tmp_path / "out"
    common = (recipes / "dry.json", out, tokens, "--tokenizer", tokenizer, "--device", "cpu")
    first = [json.loads(line) for line in training("run", *common).splitlines()]
    assert first[-1]["held_out"]["books"] < 3.5
    again = training("run", *common, "--from", out / "final.safetensors", "--set", "steps=70")
    assert json.loads(again.splitlines()[-1])["step"] == 70
    if importlib.util.find_spec("matplotlib"):
        training("curves", out / "log.jsonl", tmp_path / "curve.png")
        assert (tmp_path / "curve.png").read_bytes()[1:4] == b"PNG"

    (tmp_path / "card.json").write_text('{"licence": "Apache-2.0", "source": "this test"}')
    made = tmp_path / "dry.safetensors"
    arguments = ("dry", out / "final.safetensors", tokenizer, tmp_path / "card.json", made)
    report = training("export", *arguments, "--compare", tmp_path / "bench.txt")
    assert abs(float(report.rpartition("(")[2].split()[0])) < 1.0  # per cent
    training("start", "network", corpus, made, "--total", 20_000, *mixture)
    model = read(made)
    assert model.card.arithmetic == REACH
    assert model.tensors["reach"].tolist() == SHAPE["reach"]
    model.verify()
    frame = text.encode_network(secret, model, text.Layout(2, 48, 8), 1)
    assert len(frame.payload) < 0.45 * len(secret)
    back = text.decode_frame(frame.method, frame.params, frame.payload, len(secret), model, 2)
    assert back == secret


def test_attention_in_blocks_is_attention() -> None:
    from lmc.models.train.network import attention

    torch.manual_seed(0)
    q, k, v = torch.randn(2, 4, 96, 32), torch.randn(2, 2, 96, 32), torch.randn(2, 2, 96, 32)
    blocks = attention(q, k, v, 32)
    masked = attention(q[:, :, :90], k[:, :, :90], v[:, :, :90], 32)
    assert torch.allclose(blocks[:, :, :90], masked, atol=1e-5)
    assert torch.allclose(attention(q, k, v, 0), attention(q, k, v, 96), atol=1e-5)


def test_what_was_seen_or_is_kept_out_does_not_pass() -> None:
    parts = list(pieces(BOOK))
    assert b"".join(parts) == BOOK
    assert max(map(len, parts)) <= 64 << 10
    gate = Filter([BOOK[:20_000]])
    assert not gate.passes(BOOK[4_000:12_000])
    assert gate.passes(BOOK[30_000:40_000])
    assert not gate.passes(BOOK[31_000:39_000])
    assert not gate.passes(b"too short")


def test_rows_are_drawn_by_their_shares() -> None:
    from lmc.models.checkpoint import Shape
    from lmc.models.train.run import Recipe, Streams, draw

    streams = Streams.__new__(Streams)
    streams.ranges = {"a": (0, 5000), "b": (5000, 9000)}
    shape = Shape(**{**SHAPE, "reach": ()})
    recipe = Recipe(**{**RECIPE, "shape": shape, "mixture": {"a": 3, "b": 1, "absent": 9}})
    rows = draw(streams, recipe)
    starts = np.concatenate([next(rows) for _ in range(128)])
    assert np.mean(starts < 5000) == pytest.approx(0.75, abs=0.01)
    assert starts.max() + RECIPE["length"] <= 9000
