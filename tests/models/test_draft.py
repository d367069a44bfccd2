"""Draft networks at work: the C++ runtime against the numpy reference, and decoding with one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmc.codecs import text
from lmc.codecs.text import Layout
from lmc.errors import Corrupt
from lmc.kernels._native import Speculation
from lmc.models import modelfile, prism
from lmc.models.floatnet import LOG2E

ROOT = Path(__file__).parents[2]
Array = np.ndarray[Any, Any]


def random_draft(path: Path, dim: int, vocab: int, **changes: Any) -> prism.Draft:
    facts: dict[str, Any] = {
        "kind": "prism", "target": "a test", "dim": dim, "heads": 4, "kv_heads": 2, "head_dim": 16,
        "hidden": 40, "rope_theta": 10000.0, "epsilon": 1e-5, "reach": 0, "taps": (0, 1),
        "modules": 2, "steps": (0, 1), "norms": True, "vocab": vocab, "draft_vocab": vocab // 2,
        "own_head": False, "licence": "none", "source": "this test",
    }  # fmt: skip
    d = prism.Definition(**(facts | changes))
    rng = np.random.default_rng(2)
    floats = {n: rng.normal(size=size) / np.sqrt(size[1]) for n, size in d.matrices().items()}
    floats |= {n: rng.normal(size=d.dim) * 0.1 + n.endswith("norm") for n in d.vectors()}
    chosen = np.sort(rng.permutation(vocab)[: d.draft_vocab]).astype(np.int32)
    prism.write(path, d, {n: f.astype(np.float32) for n, f in floats.items()}, chosen)
    return prism.read(path)


def target_tensors(dim: int, vocab: int) -> dict[str, Array]:
    rng = np.random.default_rng(3)
    return {
        "embed.weight": rng.integers(-127, 128, (vocab + 1, dim), np.int8),
        "embed.scale": rng.integers(1000, 9000, vocab + 1, np.int32),
        "embed.exponent": np.array([20], np.int32),
        "head.weight": rng.integers(-127, 128, (vocab, dim), np.int8),
        "head.scale": rng.integers(1000, 2000, vocab, np.int32),
        "head.exponent": np.array([20], np.int32),
        "final_norm.source": np.arange(dim, dtype=np.int32),
        "final_norm.gain": rng.integers(5000, 9000, dim, np.int32),
        "final_norm.exponent": np.array([12], np.int32),
    }


@pytest.mark.parametrize(
    "changes",
    [
        {}, {"norms": False}, {"taps": (1,)}, {"modules": 1, "steps": (0,), "own_head": True},
        {"heads": 3, "kv_heads": 3, "modules": 3, "steps": (0, 2, 1), "hidden": 33},
    ],
)  # fmt: skip
def test_equals_the_reference(changes: dict[str, Any], tmp_path: Path) -> None:
    dim, vocab = 48, 90
    draft = random_draft(tmp_path / "a", dim, vocab, **changes)
    tensors = target_tensors(dim, vocab)
    fast = prism.runtime(draft, tensors)
    embed, head = (
        (tensors[f"{n}.weight"] * tensors[f"{n}.scale"][:, None] / by).astype(np.float32)
        for n, by in (("embed", 1 << 20), ("head", LOG2E * (1 << 20)))
    )
    gain = (tensors["final_norm.gain"] / (1 << 12)).astype(np.float32)
    slow = prism.Drafter(draft, embed, gain, head, 1e-5)
    rng = np.random.default_rng(4)
    for known, guesses in ((1, 0), (7, 1), (30, 4)):
        tokens = rng.integers(0, vocab, known).astype(np.int32)
        taps = rng.normal(size=(known, len(draft.definition.taps), dim)).astype(np.float32)
        guessed = rng.integers(0, vocab, guesses).astype(np.int32)
        slow._keys, slow._values, slow._known = slow._keys[:0], slow._values[:0], 0
        states = slow.extend(tokens, taps)[-1:]
        for i, token in enumerate(guessed):
            states = slow.step(np.array([token]), [i - 1], states)
        logits = slow.logits(states)[0]
        shares = np.exp(logits - logits.max())
        state, p = fast.chain(tokens, taps, guessed)
        np.testing.assert_allclose(state, states[0], rtol=2e-3, atol=2e-4)
        np.testing.assert_allclose(p, shares / shares.sum(), rtol=2e-2, atol=1e-5)


def test_decoding_with_a_draft(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A draft that knows nothing changes no byte."""
    model = modelfile.read(ROOT / "tests" / "golden" / "tiny.safetensors")
    a = model.card.architecture
    for i, changes in enumerate(({}, {"taps": (a.layers - 1,)})):
        monkeypatch.setattr(modelfile, "DRAFTS", tmp_path / str(i))
        (tmp_path / str(i)).mkdir()
        random_draft(tmp_path / str(i) / f"any{prism.SUFFIX}", a.dim, a.vocab, **changes)
        fresh = modelfile.read(ROOT / "tests" / "golden" / "tiny.safetensors")
        assert fresh.draft() is not None
        for data in ((ROOT / "FORMAT.md").read_bytes()[:4000], b"spam and eggs, " * 200):
            frame = text.encode_network(data, model, Layout(1, 64, 16), 1)
            seen = Speculation()
            back = text.decode_frame(
                frame.method, frame.params, frame.payload, len(data), fresh.guessing(seen), 2
            )
            assert back == data
            assert seen.guessing > 0


def test_strangers_are_refused(tmp_path: Path) -> None:
    tensors = target_tensors(48, 90)
    with pytest.raises(Corrupt, match="fit"):
        prism.runtime(random_draft(tmp_path / "a", 32, 90), tensors)
    with pytest.raises(Corrupt, match="fit"):
        prism.runtime(random_draft(tmp_path / "b", 48, 91), tensors)
    with pytest.raises(Corrupt, match="cannot be used"):
        prism.runtime(random_draft(tmp_path / "c", 48, 90, head_dim=18), tensors)
