"""Trained weights as a model file, and what the integers cost.

    python -m lmc.models.train.export NAME CHECKPOINT TOKENIZER.json CARD.json OUT.safetensors
        [--compare FILE…]

CARD.json states licence and source for people. Nothing is chosen here: the roundings are those that
training imitated. --compare reports the bits per byte of files under the float weights and under
the integers.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lmc.models.card import Architecture, Card
from lmc.models.checkpoint import Shape
from lmc.models.modelfile import Model, identity, revision, write
from lmc.models.quantize import LOG2E, integer_scales, matrix, norm
from lmc.models.rotary import frequencies
from lmc.models.tokenizer import Ids, TokenTable, prepare
from lmc.models.train.network import WEIGHT_LIMIT

Array = npt.NDArray[Any]
WINDOW = 1024
TEXT = 1 << 16  # bytes of a file that are compared


def read(path: Path) -> tuple[dict[str, Array], Shape]:
    """The parameters of a checkpoint in float64, and the shape of its network."""
    from safetensors import safe_open

    with safe_open(path, "numpy") as file:
        recipe = json.loads(file.metadata()["recipe"])
        names = file.keys()
        shape = Shape(**{**recipe["shape"], "reach": tuple(recipe["shape"]["reach"])})
        return {n: file.get_tensor(n).astype(np.float64) for n in names}, shape


def export(
    p: Mapping[str, Array], s: Shape, tokenizer_json: str, name: str, licence: str, source: str
) -> tuple[Card, dict[str, Array]]:
    """Card and tensors of the integer network that training imitated."""
    text, spelled = prepare(tokenizer_json, s.vocab, frozenset())
    table = TokenTable.of(spelled)
    place = {token: i for i, token in enumerate(table.tokens)}
    tensors: dict[str, Array] = {
        "tokens.bytes": table.data,
        "tokens.offsets": table.offsets,
        "tokenizer.json": np.frombuffer(text.encode(), np.uint8),
        "tokenizer.ids": np.array([place[token] for token in spelled], np.int32),
        "rotary.frequency": frequencies(s.rope_theta, s.head_dim),
    }

    if any(s.reach):
        tensors["reach"] = np.array(s.reach, np.int32)

    def stored(name: str, rows: Array, unit: float | Array = 1.0) -> None:
        tensors.update(matrix(name, rows, unit, WEIGHT_LIMIT))

    stored("embed", p["embed"])
    # The same integers serve as head, where a row counts by its scale, and as embedding, where it
    # is normed.
    step = np.abs(p["embed"]).max(axis=1) / WEIGHT_LIMIT
    size = np.sqrt(np.square(tensors["embed.weight"].astype(np.float64)).mean(axis=1))
    for name_of, scales in (("embed", 1 / size), ("head", step[: s.vocab] * LOG2E)):
        fixed, exponent = integer_scales(scales, 23)
        tensors[name_of + ".scale"] = fixed
        tensors[name_of + ".exponent"] = np.array([exponent], np.int32)
    tensors.update(norm("final_norm", p["final_norm"]))
    query, key = s.heads * s.head_dim, s.kv_heads * s.head_dim
    score = np.concatenate([np.full(query, LOG2E / math.sqrt(s.head_dim)), np.ones(2 * key)])
    for i in range(s.layers):
        at = f"layers.{i}."
        tensors.update(norm(at + "attn_norm", p["attn_norm"][i]))
        tensors.update(norm(at + "ffn_norm", p["ffn_norm"][i]))
        stored(at + "qkv", np.concatenate([p[part][i] for part in "qkv"]), score)
        stored(at + "out", p["out"][i])
        stored(at + "gate_up", np.concatenate([p["gate"][i], p["up"][i]]))
        stored(at + "down", p["down"][i])
    architecture = Architecture(
        dim=s.dim,
        layers=s.layers,
        heads=s.heads,
        kv_heads=s.kv_heads,
        head_dim=s.head_dim,
        hidden=s.hidden,
        vocab=s.vocab,
        extra=1,
        context=s.context,
        tied=True,
        eps=round(s.epsilon * 2.0**32),
    )
    card = Card(
        name=name,
        licence=licence,
        source=source,
        arithmetic=revision(tensors),
        architecture=architecture,
        identity=identity(architecture, tensors),
        recipe="7-bit weights, one scale a row; 8-bit activations",
    )
    return card, tensors


def float_bits(p: Mapping[str, Array], s: Shape, ids: Ids) -> float:
    """Bits of `ids` under the weights without any rounding, in windows as `evaluate` has them."""
    import torch

    from lmc.models.train.network import Runner

    parameters = {name: torch.from_numpy(array.astype(np.float32)) for name, array in p.items()}
    runner = Runner(s, "cpu", False)
    nats = 0.0
    with torch.inference_mode():
        for at in range(0, len(ids), WINDOW):
            rows = torch.from_numpy(ids[at : at + WINDOW].astype(np.int64))[None]
            nats += float(runner(parameters, rows, False).double().sum())
    return nats / math.log(2)


def main() -> None:
    from lmc.models.evaluate import Report, integer_bits

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("card", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--compare", type=Path, nargs="*", default=[])
    args = parser.parse_args()
    parameters, shape = read(args.checkpoint)
    facts = json.loads(args.card.read_text())
    card, tensors = export(
        parameters, shape, args.tokenizer.read_text(), args.name, facts["licence"], facts["source"]
    )
    write(args.out, card, tensors)
    model = Model(card, tensors)
    for path in args.compare:
        text = path.read_bytes()[:TEXT]
        ids = model.tokenizer.encode(text)
        bits = float_bits(parameters, shape, ids), integer_bits(model, ids, 0)
        print(f"{path.name}: {Report(len(ids), len(text), *bits)}")


if __name__ == "__main__":
    main()
