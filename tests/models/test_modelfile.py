"""Model files: what is written comes back, what is damaged is refused."""

from __future__ import annotations

import json
import random
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmc.codecs import text
from lmc.errors import Corrupt, LmcError, ModelMissing, Unsupported
from lmc.models.card import Card
from lmc.models.checkpoint import HfCheckpoint
from lmc.models.modelfile import Model, check, identity, once, read, read_card, write
from lmc.models.quantize import Recipe, quantize


@pytest.fixture(scope="module")
def made(tiny: Path) -> tuple[Card, dict[str, np.ndarray]]:
    return quantize(HfCheckpoint(tiny), Recipe(0), "tiny")


@pytest.fixture
def path(made: tuple[Card, dict[str, np.ndarray]], tmp_path: Path) -> Path:
    write(tmp_path / "tiny.safetensors", *made)
    return tmp_path / "tiny.safetensors"


def test_what_is_written_comes_back(made: tuple[Card, dict[str, np.ndarray]], path: Path) -> None:
    card, tensors = made
    model = read(path)
    assert model.card == card == read_card(path)
    assert model.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(model.tensors[name], tensor)
    assert not model.tensors["head.weight"].flags.writeable
    data = "to and fro \xff".encode("latin-1")
    assert model.table.join(model.tokenizer.encode(data)) == data
    assert [p.name for p in path.parent.iterdir()] == ["tiny.safetensors"]


def test_the_library_reads_it_too(made: tuple[Card, dict[str, np.ndarray]], path: Path) -> None:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        assert Card.from_json(file.metadata()["lmc"]) == made[0]
        np.testing.assert_array_equal(file.get_tensor("embed.weight"), made[1]["embed.weight"])


def test_every_flipped_byte_is_noticed(path: Path) -> None:
    whole, chance = path.read_bytes(), random.Random(2)
    (length,) = struct.unpack("<Q", whole[:8])
    for _ in range(60):
        data = bytearray(whole)
        at = chance.randrange(len(data))
        data[at] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        try:
            model = read(path)
            model.verify()
        except LmcError:
            continue
        # Only what does not influence decoding may pass: a word of the card, the tokenizer.
        same = identity(model.card.architecture, model.tensors)
        assert at < 8 + length or same == model.card.identity


@pytest.mark.parametrize(
    "name", ["tokens.offsets", "tokens.bytes", "embed.weight", "layers.0.qkv.scale", "head.weight"]
)
def test_no_frame_leaves_a_damaged_model(path: Path, name: str) -> None:
    """Nothing right is to be had from it, and what is told is the damage."""
    data = b"The hash of a model is made while its first frame is coded."
    layout = text.Layout(1, 64, 4)
    frame = text.encode_network(data, read(path), layout, 1)
    opened = read(path)
    tensors = dict(opened.tensors)
    tensors[name] = tensors[name].copy()
    tensors[name].reshape(-1)[tensors[name].size // 2] ^= 3
    damaged = Model(opened.card, tensors, partial(check_identity, opened.card, tensors))
    with pytest.raises(Corrupt, match="damaged"):
        text.decode_frame(frame.method, frame.params, frame.payload, len(data), damaged, 1)
    again = Model(opened.card, tensors, partial(check_identity, opened.card, tensors))
    with pytest.raises(Corrupt):
        text.encode_network(data, again, layout, 1)


def check_identity(card: Card, tensors: dict[str, np.ndarray]) -> None:
    if identity(card.architecture, tensors) != card.identity:
        raise Corrupt("the model is damaged")


def test_who_interrupts_a_frame_does_not_wait_for_the_hash(path: Path) -> None:
    def whole() -> None:
        raise AssertionError("somebody waits")

    opened = read(path)
    model = Model(opened.card, opened.tensors, whole)
    with pytest.raises(KeyboardInterrupt), model.turn():
        raise KeyboardInterrupt
    with pytest.raises(AssertionError, match="somebody waits"), model.turn():
        raise ValueError


@pytest.mark.parametrize("keep", [0, 7, 100, 5000, -1])
def test_a_short_file_is_refused(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(Corrupt):
        read(path)


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing):
        read(tmp_path / "none.safetensors")


def test_wrong_tensors_are_refused(made: tuple[Card, dict[str, np.ndarray]]) -> None:
    card, tensors = made
    a = card.architecture
    wrong = dict(tensors)
    del wrong["layers.1.down.scale"]
    with pytest.raises(Corrupt, match=r"no tensor layers\.1\.down\.scale"):
        check(a, wrong)
    with pytest.raises(Corrupt, match="shape or type"):
        check(a, {**tensors, "embed.weight": tensors["embed.weight"][1:]})
    with pytest.raises(Corrupt, match="shape or type"):
        check(a, {**tensors, "embed.scale": tensors["embed.scale"].astype(np.int64)})
    with pytest.raises(Corrupt, match="knows: stranger"):
        check(a, {**tensors, "stranger": tensors["embed.scale"]})
    outside = tensors["final_norm.source"] + 1
    with pytest.raises(Corrupt, match="outside"):
        check(a, {**tensors, "final_norm.source": outside})


def test_newer_and_absurd_cards(made: tuple[Card, dict[str, np.ndarray]]) -> None:
    card = made[0]
    raw = json.loads(card.to_json())
    with pytest.raises(Unsupported):
        Card.from_json(json.dumps({**raw, "arithmetic": 99}))
    changes: tuple[dict[str, Any], ...] = (
        {"architecture": {**raw["architecture"], "dim": -3}},
        {"architecture": {**raw["architecture"], "layers": 1 << 39}},
        {"architecture": {**raw["architecture"], "heads": 5}},
        {"architecture": []},
        {"identity": "00"},
        {"arithmetic": "1"},
        {"arithmetic": 0},
        {"name": 3},
    )
    for change in changes:
        with pytest.raises(Corrupt):
            Card.from_json(json.dumps({**raw, **change}))
    for nonsense in (None, "", "[]", "null", "[" * 100_000):
        with pytest.raises(Corrupt):
            Card.from_json(nonsense)


def test_identity_covers_what_decides(made: tuple[Card, dict[str, np.ndarray]]) -> None:
    card, tensors = made
    a = card.architecture
    assert identity(a, tensors) == card.identity
    assert identity(replace(a, context=a.context + 1), tensors) != card.identity
    shorter = {**tensors, "tokenizer.json": tensors["tokenizer.json"][:-1]}
    assert identity(a, shorter) == card.identity
    bent = {**tensors, "rotary.frequency": tensors["rotary.frequency"] + np.uint64(1)}
    assert identity(a, bent) != card.identity
    assert card.wire_id == bytes.fromhex(card.identity[:16])


def test_parts_are_made_once_by_many_threads() -> None:
    made = []

    class Slow:
        @once
        def part(self) -> int:
            time.sleep(0.02)
            made.append(1)
            return len(made)

    slow = Slow()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: slow.part, range(8))) == [1] * 8
