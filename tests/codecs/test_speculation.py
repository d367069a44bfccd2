"""Speculation: whatever is guessed, the decoded bytes are the same."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from lmc.codecs import text
from lmc.codecs.base import Frame
from lmc.codecs.text import Layout
from lmc.errors import Corrupt
from lmc.kernels._native import Speculation
from lmc.models.modelfile import Model, read
from lmc.stream import compress

ROOT = Path(__file__).parents[2]
PROSE = (ROOT / "FORMAT.md").read_bytes()[:6000]
LOG = b"".join(b"2024-05-%02d 12:00:%02d status installed libfoo:amd64 1.%d\n" % (i % 30, i % 60, i)
               for i in range(80))  # fmt: skip
SAMPLES = {
    "one byte": b"\0",
    "prose": PROSE,
    "log": LOG,
    "zeros": bytes(3000),
    "noise": random.Random(3).randbytes(1500),
    "twice": PROSE[:1500] * 2,
}


@pytest.fixture(scope="module")
def model() -> Model:
    return read(ROOT / "tests" / "golden" / "tiny.safetensors")


def back(frame: Frame, size: int, model: Model, threads: int = 1) -> bytes:
    return text.decode_frame(frame.method, frame.params, frame.payload, size, model, threads)


@pytest.mark.parametrize("layout", [Layout(1, 16, 0), Layout(1, 64, 16), Layout(1, 512, 40)])
@pytest.mark.parametrize("name", SAMPLES)
def test_same_bytes(name: str, layout: Layout, model: Model) -> None:
    data = SAMPLES[name]
    frame = text.encode_network(data, model, layout, threads=2)
    for threads in (1, 2):
        seen = Speculation()
        assert back(frame, len(data), model.guessing(seen), threads) == data
        assert seen.tokens == len(model.tokenizer.encode(data))
        assert 0 < seen.passes <= seen.tokens
        assert seen.rows >= seen.tokens
        # The last token may have been guessed, and nothing comes after it.
        assert sum(seen.accepted) - (seen.tokens - seen.passes) in (0, 1)
        assert all(a <= o for a, o in zip(seen.accepted, seen.offered, strict=True))
        assert 0 <= seen.guessing + seen.network <= seen.total


def test_repetition_takes_few_passes(model: Model) -> None:
    for name in ("log", "zeros", "twice"):
        frame = text.encode_network(SAMPLES[name], model, Layout(1, 512, 0), threads=1)
        seen = Speculation()
        assert back(frame, len(SAMPLES[name]), model.guessing(seen)) == SAMPLES[name]
        assert seen.passes < seen.tokens * 0.7


def test_many_lanes_are_not_guessed(model: Model) -> None:
    frame = text.encode_network(PROSE, model, Layout(5, 32, 7), threads=1)
    seen = Speculation()
    assert back(frame, len(PROSE), model.guessing(seen)) == PROSE
    assert seen.passes == 0


def test_damage_is_the_same_damage(model: Model) -> None:
    data = SAMPLES["log"]
    frame = text.encode_network(data, model, Layout(1, 64, 16), threads=1)
    draw = random.Random(5)
    for _ in range(60):
        broken = bytearray(frame.payload)
        at = draw.randrange(len(broken))
        broken[at] ^= 1 << draw.randrange(8)
        if draw.random() < 0.3:
            del broken[at:]
        damaged = Frame(frame.method, frame.params, bytes(broken), frame.model, frame.memory)

        def outcome(model: Model, damaged: Frame = damaged) -> object:
            try:
                return back(damaged, len(data), model)
            except Corrupt as error:
                return str(error)

        assert outcome(model) == outcome(model.guessing(Speculation()))


def test_the_command_tells(tiny_home: Path, tmp_path: Path) -> None:
    file = tmp_path / "prose.lmc"
    file.write_bytes(compress(PROSE, level=7, model="tiny", codec="text"))
    call = [sys.executable, "-m", "lmc", "decompress", "-c", str(file)]
    told = subprocess.run([*call, "-v"], capture_output=True, check=True)
    assert told.stdout == PROSE
    assert b"tokens a pass" in told.stderr
    quiet = subprocess.run([*call, "-v", "--no-speculate"], capture_output=True, check=True)
    assert quiet.stdout == PROSE
    assert b"tokens a pass" not in quiet.stderr
    test = [sys.executable, "-m", "lmc", "test", "--json", str(file)]
    said = json.loads(subprocess.run(test, capture_output=True, check=True).stdout)
    facts = said["files"][0]["speculation"]
    assert sum(facts["accepted"]) - (facts["tokens"] - facts["passes"]) in (0, 1)
