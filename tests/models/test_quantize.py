"""The integer model computes what the float model does, and is the same on every machine."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from lmc.errors import Unsupported
from lmc.models.checkpoint import HfCheckpoint
from lmc.models.floatnet import FloatNet, Weights, from_integers
from lmc.models.gguf import GgufCheckpoint
from lmc.models.quantize import (
    NEVER,
    Recipe,
    hartley,
    integer_scales,
    matrix,
    quantize,
    rotate,
)
from lmc.models.rotary import frequencies

# The tiny model's identity cannot be pinned: torch may draw other weights tomorrow.


@pytest.mark.parametrize("size", [8, 48, 80, 576, 1536])
def test_rotation_is_orthogonal_and_its_own_inverse(size: int) -> None:
    eye = np.eye(size)
    turned = rotate(eye)
    np.testing.assert_allclose(turned, turned.T, atol=1e-15)
    np.testing.assert_allclose(turned @ turned, eye, atol=1e-13)
    assert np.abs(turned).max() * math.sqrt(size) < 1.5  # it spreads an outlier over all channels


def test_rotation_is_pinned() -> None:
    """The bits of this sum are part of every identity."""
    values = (np.arange(3 * 12).reshape(3, 12) % 7 - 3) / 8
    assert [float(x).hex() for x in rotate(values)[1, :3]] == PINNED
    assert hartley(9)[1] == float.fromhex("0x1.e0e19f8b24439p-2")


PINNED = ["-0x1.279a74590331cp-5", "0x1.279a74590331cp-5", "0x1.4c8dc2e423980p-2"]


def test_frequencies_are_turns_of_2_to_the_64() -> None:
    found = frequencies(10000.0, 16)
    real = [10000.0 ** (-2 * i / 16) / (2 * math.pi) for i in range(8)]
    np.testing.assert_allclose(found.astype(np.float64) / 2.0**64, real, rtol=1e-13)
    assert int(found[0]) == 2935890503282001226  # 2^64 / 2 pi


def test_scales_fill_their_range() -> None:
    for peak in (1e-9, 0.37, 1.0, 1 - 2**-53, 5e8):
        scale, exponent = integer_scales(np.array([peak, peak / 3]), 23)
        assert 1 << 23 <= scale[0] < 1 << 24
        np.testing.assert_allclose(np.ldexp(scale.astype(float), -exponent)[0], peak, rtol=1e-6)


def test_a_row_of_zeros_has_no_scale() -> None:
    made = matrix("m", np.array([[0.0, 0.0], [0.5, -1.0]]))
    assert made["m.scale"][0] == 0
    assert made["m.weight"].tolist() == [[0, 0], [64, -127]]


def test_integers_stand_for_the_same_network(tiny: Path, text: str) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    checkpoint = HfCheckpoint(tiny)
    chance = np.random.default_rng(0)
    balance = chance.integers(-1, 2, (checkpoint.shape.layers, checkpoint.shape.hidden)).tolist()
    _card, tensors = quantize(checkpoint, Recipe(0, residual=2, balance=balance), "tiny")
    floats = FloatNet(checkpoint.shape, Weights(checkpoint))
    shape = replace(checkpoint.shape, epsilon=checkpoint.shape.epsilon / 2**4)
    integers = FloatNet(shape, from_integers(tensors, shape))
    ids = torch.from_numpy(np.flatnonzero(tensors["tokenizer.ids"] >= 0)[10:150])
    want = floats.hidden([ids])[0] @ torch.from_numpy(floats.weights["head"].T)
    stored = torch.from_numpy(tensors["tokenizer.ids"].astype(np.int64))
    got = integers.hidden([stored[ids]])[0] @ torch.from_numpy(integers.weights["head"].T)
    known = stored >= 0
    error = (got[:, stored[known]] - want[:, known]).std()
    assert error < 0.15 * want.std()


def test_vocabulary_is_sorted_and_whole(tiny: Path) -> None:
    checkpoint = HfCheckpoint(tiny)
    card, tensors = quantize(checkpoint, Recipe(1), "tiny")
    offsets = tensors["tokens.offsets"]
    tokens = [tensors["tokens.bytes"][a:b].tobytes() for a, b in pairwise(offsets)]
    assert tokens == sorted(set(tokens))
    assert {bytes([byte]) for byte in range(256)} <= set(tokens)
    assert b"<|endoftext|>" not in tokens
    assert len(tokens) == card.architecture.vocab
    virtual = tensors["head.bias"] == NEVER
    assert virtual.sum() == 1
    assert not tensors["head.weight"][virtual].any()
    assert len(tensors["embed.weight"]) == len(tokens) + 1


def test_the_same_checkpoint_gives_the_same_identity(tiny: Path, tiny_gguf: Path) -> None:
    recipe = Recipe(0)
    a, _ = quantize(HfCheckpoint(tiny), recipe, "a")
    b, _ = quantize(GgufCheckpoint(tiny_gguf), recipe, "b")
    assert a.identity == b.identity
    other, _ = quantize(HfCheckpoint(tiny), Recipe(1), "a")
    assert other.identity != a.identity


def test_unsupported_checkpoints_are_named(tiny: Path, tmp_path: Path) -> None:
    import json
    import shutil

    for key, value, message in (
        ("model_type", "gpt_neox", "gpt_neox"),
        ("rope_scaling", {"rope_type": "dynamic", "factor": 4.0}, "dynamic"),
        ("hidden_act", "gelu", "gelu"),
        ("mlp_bias", True, "bias"),
    ):
        folder = tmp_path / key
        shutil.copytree(tiny, folder)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, key: value}))
        with pytest.raises(Unsupported, match=message):
            HfCheckpoint(folder)


def test_float_network_is_that_of_transformers(tiny: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    model = transformers.LlamaForCausalLM.from_pretrained(tiny)
    net = FloatNet(HfCheckpoint(tiny).shape, Weights(HfCheckpoint(tiny)))
    ids = torch.arange(5, 60)
    with torch.no_grad():
        want = model(ids[None]).logits[0]
        got = net.hidden([ids])[0] @ torch.from_numpy(net.weights["head"].T)
    torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-3)
