"""Deltas: what they make of a checkpoint, and the way from texts to a model that `pull` makes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmc.errors import Corrupt
from lmc.models import registry
from lmc.models.checkpoint import HfCheckpoint
from lmc.models.delta import MATRICES, Adapted, factors, gains, matrices
from lmc.models.gguf import GgufCheckpoint

RECIPE: dict[str, Any] = {
    "steps": 30, "warmup": 3, "rows": 4, "part": 2, "length": 32, "rank": 2, "rate": 0.02,
    "seed": 1,
}  # fmt: skip


def save(path: Path, tensors: dict[str, Any]) -> Path:
    from safetensors.numpy import save_file

    save_file(tensors, path)
    return path


def made_up(base: GgufCheckpoint) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    out: dict[str, Any] = {}
    for name in matrices(base.shape.layers):
        rows, columns = base.expected(name)
        parts = factors(rng.normal(size=(3, columns)), rng.normal(size=(rows, 3)))
        out.update({f"{name}.{part}": array for part, array in parts.items()})
    for name in gains(base.shape.layers):
        out[name] = rng.uniform(0.5, 2, base.expected(name)).astype(np.float32)
    return out


def test_factors_are_close() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(4, 60)) * [[1], [100], [0.01], [0]], rng.normal(size=(30, 4))
    parts = factors(a, b)
    assert parts["a"].dtype == parts["b"].dtype == np.int8
    made = (parts["b"].astype(float) @ parts["a"]) * parts["scale"][:, None]
    assert np.abs(made - b @ a).max() < 0.02 * np.abs(b @ a).max()


def test_a_delta_changes_the_checkpoint_exactly(tiny_gguf: Path, tmp_path: Path) -> None:
    base = GgufCheckpoint(tiny_gguf)
    tensors = made_up(base)
    adapted = Adapted(base, save(tmp_path / "a.delta", tensors))
    for name in matrices(base.shape.layers):
        a, b, scale = (tensors[f"{name}.{part}"] for part in ("a", "b", "scale"))
        exact = np.array([[sum(map(int, row * col)) for col in a.astype(int).T] for row in b])
        want = base.tensor(name) + exact * scale.astype(np.float64)[:, None]
        assert (adapted.tensor(name) == want.astype(np.float32)).all()
    assert (adapted.tensor("final_norm") == tensors["final_norm"]).all()
    assert (adapted.tensor("embed") == base.tensor("embed")).all()


def test_a_checkpoint_is_imported_with_its_delta(
    tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMC_HOME", str(tmp_path))
    delta = save(tmp_path / "a.delta", made_up(GgufCheckpoint(tiny_gguf)))
    plain = registry.import_checkpoint(tiny_gguf, "plain", threads=1)
    tuned = registry.import_checkpoint(tiny_gguf, "tuned", threads=1, delta=delta)
    assert tuned.card.source == plain.card.source + ", tuned"
    assert tuned.card.identity != plain.card.identity


def test_the_delta_of_another_network_is_refused(
    tiny: Path, tiny_gguf: Path, tmp_path: Path
) -> None:
    base = GgufCheckpoint(tiny_gguf)
    tensors = made_up(base)
    less = {name: tensor for name, tensor in tensors.items() if name != "layers.1.out.a"}
    with pytest.raises(Corrupt, match="not a delta"):
        Adapted(base, save(tmp_path / "less.delta", less))
    tensors["layers.0.up.a"] = tensors["layers.0.up.a"][:, 1:]
    odd = Adapted(HfCheckpoint(tiny), save(tmp_path / "odd.delta", tensors))
    with pytest.raises(Corrupt, match=r"layers\.0\.up"):
        odd.tensor("layers.0.up")


@pytest.mark.slow
def test_from_texts_to_a_model_that_pull_makes(
    tiny_gguf: Path,
    tmp_path: Path,
    text: str,
    training: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    corpus, tokens, out = tmp_path / "corpus", tmp_path / "tokens", tmp_path / "out"
    (corpus / "held-out").mkdir(parents=True)
    (corpus / "books").write_text(text)
    (corpus / "held-out" / "books").write_text(text[:2000])
    training("split", "apply", corpus, tiny_gguf, tokens)
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "dry.json").write_text(json.dumps(RECIPE))
    (tmp_path / "mixture.json").write_text('{"books": 1}')
    recipe = tmp_path / "recipes" / "dry.json"
    lines = training("adapt", recipe, tiny_gguf, out, tokens, "--device", "cpu").splitlines()
    first, last = json.loads(lines[0]), json.loads(lines[-1])
    assert last["held_out"]["books"] < 0.9 * first["held_out"]["books"]

    (tmp_path / "sample.txt").write_text(text[:1500])
    training("known", "dry", "smollm2-135m", tiny_gguf, out / "final.delta", tmp_path,
        "--compare", tmp_path / "sample.txt")  # fmt: skip
    entry = registry.Known(**json.loads((tmp_path / "dry.json").read_text()))
    assert entry.delta == "dry.delta"
    digest = hashlib.sha256(tiny_gguf.read_bytes()).hexdigest()
    entry = replace(entry, sha256=digest, delta=str(tmp_path / entry.delta))
    monkeypatch.setenv("LMC_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(registry, "known", lambda: {"dry": entry})
    made = registry.pull("dry", source=tiny_gguf)
    assert made.card.identity == entry.identity
    assert registry.verify("dry") == made.card


def test_every_matrix_of_a_layer_is_named_once() -> None:
    assert len(matrices(3)) == 3 * len(set(MATRICES))
