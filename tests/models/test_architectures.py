"""Checkpoints of the Llama family as transformers saves them: what is read is the same network,
and so is what it becomes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmc.errors import Corrupt, Unsupported
from lmc.models.card import HEADS, PLAIN, REACH
from lmc.models.checkpoint import INDEX, HfCheckpoint
from lmc.models.evaluate import compare
from lmc.models.floatnet import FloatNet, Weights
from lmc.models.gguf import GgufCheckpoint
from lmc.models.modelfile import Model, check
from lmc.models.quantize import Recipe, quantize

LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
}  # fmt: skip
YARN = {
    "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip
LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 3.0}


@dataclass(frozen=True)
class Case:
    """An architecture of transformers, and the revision of the arithmetic that it needs."""

    kind: str
    options: dict[str, Any] = field(default_factory=dict)
    revision: int = PLAIN


CASES = {
    "llama": Case("Llama"),
    "llama 3": Case("Llama", {"rope_parameters": LLAMA3}),
    "linear": Case("Llama", {"rope_parameters": LINEAR}),
    "yarn": Case("Llama", {"rope_parameters": YARN}),
    "heads of 40": Case("Llama", {"head_dim": 40}),
    "untied": Case("Llama", {"tie_word_embeddings": False}),
    "mistral": Case("Mistral", {"sliding_window": 20}, REACH),
    "mistral, long window": Case("Mistral", {"sliding_window": 4096}),
    "qwen2": Case("Qwen2"),
    "qwen2, windows": Case(
        "Qwen2", {"use_sliding_window": True, "sliding_window": 20, "max_window_layers": 2}, REACH
    ),
    "qwen3": Case("Qwen3", revision=HEADS),
    "qwen3, heads of 24": Case("Qwen3", {"head_dim": 24}, HEADS),
    "smollm3": Case("SmolLM3", {"no_rope_layer_interval": 3, "pad_token_id": None}, HEADS),
}


def build(case: Case, tokenizer: Path, folder: Path, **saving: Any) -> Any:
    """A random model whose logits mean something, saved in `folder`."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    shutil.copy(tokenizer / "tokenizer.json", folder / "tokenizer.json")
    options = {
        "vocab_size": json.loads((tokenizer / "config.json").read_text())["vocab_size"],
        "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32,
        "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "tie_word_embeddings": True,
        "attn_implementation": "eager",
    }  # fmt: skip
    if case.kind in ("Qwen2", "SmolLM3"):
        options |= {"num_attention_heads": 2, "num_key_value_heads": 1}  # hidden / heads channels
        del options["head_dim"]
    config = getattr(transformers, case.kind + "Config")(**(options | case.options))
    torch.manual_seed(3)
    model = getattr(transformers, case.kind + "ForCausalLM")(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.copy_(torch.rand_like(parameter) * 1.5 + 0.3)
            elif name.endswith("bias"):
                parameter.copy_(torch.randn_like(parameter))
            else:
                parameter.mul_(6)
    model.save_pretrained(folder, **saving)
    return model


@pytest.mark.parametrize("name", CASES)
def test_every_architecture(name: str, tiny: Path, tmp_path: Path, text: str) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    case = CASES[name]
    theirs = build(case, tiny, tmp_path)
    checkpoint = HfCheckpoint(tmp_path)
    ours = FloatNet(checkpoint.shape, Weights(checkpoint))
    ids = torch.arange(5, 95)
    with torch.no_grad():
        want = theirs(ids[None]).logits[0]
        got = ours.hidden([ids])[0] @ torch.from_numpy(ours.weights["head"].T)
    torch.testing.assert_close(got, want, rtol=1e-3, atol=2e-3)

    recipe = Recipe(0, residual=1)
    card, tensors = quantize(checkpoint, recipe, "made")
    check(card.architecture, tensors)
    assert card.arithmetic == case.revision
    model = Model(card, tensors)
    report = compare(checkpoint, recipe, model, text.encode()[:800], 1)
    assert report.tokens > 200
    assert abs(report.loss) < 0.01
    stored = tensors["tokenizer.ids"]
    integers = logits_of(model, stored[ids.numpy()]) * np.log(2)
    known = stored >= 0
    error = integers[:, stored[known]] - want.numpy()[:, known]
    assert (error - error.mean(axis=1, keepdims=True)).std() < 0.1 * want.std().item()


@pytest.mark.parametrize("name", ["llama", "untied", "qwen2"])
def test_tuning_begins_with_the_checkpoint(name: str, tiny: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from lmc.models.train.adapt import Network

    theirs = build(CASES[name], tiny, tmp_path)
    checkpoint = HfCheckpoint(tmp_path)
    net = Network(checkpoint, [*range(checkpoint.shape.vocab), 3], 4, 0, "cpu")
    rows = torch.arange(5, 95).reshape(2, 45)
    with torch.no_grad():
        got = net(rows)
        logits = theirs(torch.cat([torch.full((2, 1), 3), rows[:, :-1]], 1)).logits
    want = torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows.flatten(), reduction="none")
    torch.testing.assert_close(got, want, rtol=1e-3, atol=2e-3)


def logits_of(model: Model, ids: Any) -> Any:
    from lmc.kernels._native import Cache

    network = model.network(1)
    cache = Cache(network, 1, 1024, 0, 128)
    rows = ids.astype(np.int32)
    return network.forward(cache, np.zeros(len(rows), np.int32), rows).astype(np.float64) / 65536


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("llama 3", "llama"), ("linear", "llama"), ("mistral", "llama"), ("qwen2", "qwen2"),
        ("qwen3", "qwen3"), ("smollm3", "smollm3"),
    ],
)  # fmt: skip
def test_gguf_files_are_the_same_model(
    name: str, kind: str, tiny: Path, tmp_path: Path, to_gguf: Callable[..., None]
) -> None:
    case = CASES[name]
    options = {"no_rope_layer_interval": 4} if kind == "smollm3" else {}
    build(replace(case, options=case.options | options), tiny, tmp_path)
    to_gguf(tmp_path, tmp_path / "same.gguf", kind)
    ours, theirs = (
        quantize(checkpoint, Recipe(0), "made")
        for checkpoint in (HfCheckpoint(tmp_path), GgufCheckpoint(tmp_path / "same.gguf"))
    )
    assert ours[0].arithmetic == theirs[0].arithmetic == case.revision
    differ = [
        name
        for name, tensor in ours[1].items()
        if name != "tokenizer.json" and not np.array_equal(tensor, theirs[1][name])
    ]
    if name == "llama 3":  # the file has the factors as float32
        assert differ == ["rotary.frequency"]
        a, b = (made[1]["rotary.frequency"].astype(float) for made in (ours, theirs))
        np.testing.assert_allclose(a, b, rtol=1e-6)
    else:
        assert differ == []
    assert ours[1].keys() == theirs[1].keys()


def test_gguf_files_of_other_networks(
    tiny: Path, tmp_path: Path, to_gguf: Callable[..., None]
) -> None:
    for options, message in (
        ({"kind": "gemma"}, "gemma"),
        ({"rotated": 16}, "a part"),
        ({"experts": 8}, "experts"),
    ):
        to_gguf(tiny, tmp_path / "other.gguf", **options)
        with pytest.raises(Unsupported, match=message):
            GgufCheckpoint(tmp_path / "other.gguf")


@pytest.mark.parametrize("packed", ["Q5_0", "Q5_1", "Q4_0", "Q8_0"])
def test_gguf_files_of_packed_matrices(
    packed: str, tiny: Path, tmp_path: Path, to_gguf: Callable[..., None]
) -> None:
    build(CASES["llama"], tiny, tmp_path)
    to_gguf(tmp_path, tmp_path / "packed.gguf", packed=packed)
    whole, read = HfCheckpoint(tmp_path), GgufCheckpoint(tmp_path / "packed.gguf")
    for name in ("q.weight", "out", "down"):
        want, got = (checkpoint.tensor(f"layers.2.{name}") for checkpoint in (whole, read))
        error = np.abs(got - want).max() / np.abs(want).max()
        assert 0 < error < 2.0 ** (1 - int(packed[1]))


def test_a_checkpoint_in_pieces(tiny: Path, tmp_path: Path) -> None:
    build(CASES["llama"], tiny, tmp_path, max_shard_size="60KB")
    pieces = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(pieces) > 2
    (tmp_path / "other.safetensors").write_bytes(b"not named by the index")
    checkpoint = HfCheckpoint(tmp_path)
    assert all(checkpoint.tensor(f"layers.{i}.down").any() for i in range(4))
    index = json.loads((tmp_path / INDEX).read_text())
    pieces[0].rename(tmp_path / "elsewhere")
    with pytest.raises(Corrupt, match="lacks"):
        HfCheckpoint(tmp_path)
    index["weight_map"]["lm_head.weight"] = "../secret.safetensors"
    (tmp_path / INDEX).write_text(json.dumps(index))
    with pytest.raises(Corrupt, match="strange"):
        HfCheckpoint(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rope_parameters": {**YARN, "rope_type": "dynamic"}}, "dynamic"),
        ({"rope_parameters": {**YARN, "factor": None}}, "factor"),
        ({"rope_parameters": {**LLAMA3, "low_freq_factor": 4.0}}, "low_freq_factor"),
        ({"rope_parameters": {**LLAMA3, "factor": -1}}, "factor"),
        ({"rope_parameters": {**LLAMA3, "factor": 0.5}}, "factor"),
        ({"rope_parameters": {**LLAMA3, "rope_theta": -1.0}}, "base"),
        ({"rope_parameters": LINEAR, "head_dim": 1 << 40}, "head"),
        ({"model_type": "smollm3", "no_rope_layers": {"a": 0}}, "size"),
        ({"rope_parameters": {"sliding_attention": {"rope_theta": 1e4}}}, "different"),
        ({"partial_rotary_factor": 0.5}, "a part"),
        ({"layer_types": ["linear_attention"] * 2}, "linear_attention"),
        ({"model_type": "mistral", "sliding_window": 7, "layer_types": ["x"] * 2}, "x"),
        ({"attention_bias": True}, "bias"),
    ],
)
def test_what_lmc_does_not_compute_is_named(
    change: dict[str, Any], message: str, tiny: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "changed"
    shutil.copytree(tiny, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises((Corrupt, Unsupported), match=message):
        HfCheckpoint(folder)


def test_training_knows_plain_attention_only(tiny: Path, tmp_path: Path) -> None:
    HfCheckpoint(tiny).shape.require_plain()
    build(CASES["qwen3"], tiny, tmp_path)
    with pytest.raises(Unsupported, match="train"):
        HfCheckpoint(tmp_path).shape.require_plain()
