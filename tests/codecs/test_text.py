"""The text codec: what goes in comes out, for every method, layout, variant and thread count."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmc.codecs import encode_frame, text
from lmc.codecs.base import Frame, Settings
from lmc.codecs.text import FAST, LANES, NETWORK, NORMAL, PRIMED, STRONG, Layout
from lmc.errors import Corrupt, ModelMissing, Usage
from lmc.kernels import _native
from lmc.models import registry
from lmc.models.modelfile import Model, read

ROOT = Path(__file__).parents[2]
PROSE = (ROOT / "FORMAT.md").read_bytes()[:6000]


@pytest.fixture(scope="module")
def model() -> Model:
    return read(ROOT / "tests" / "golden" / "tiny.safetensors")


def back(frame: Frame, size: int, model: Model | None = None, threads: int = 1) -> bytes:
    return text.decode_frame(frame.method, frame.params, frame.payload, size, model, threads)


def noise(size: int) -> bytes:
    return random.Random(3).randbytes(size)


SAMPLES = {
    "one byte": b"\0",
    "prose": PROSE,
    "zeros": bytes(5000),
    "noise": noise(3000),
    "broken UTF-8": "naïve façade ".encode()[:-3] * 50 + b"\xff\xfe\xc3" * 9,
    "nul in text": b"a line\0of text\r\n" * 60,
}


@pytest.mark.parametrize("method", [FAST, NORMAL, STRONG, *range(PRIMED + 1, PRIMED + 4)])
@pytest.mark.parametrize("name", SAMPLES)
def test_bytes_come_back(name: str, method: int) -> None:
    data = SAMPLES[name]
    frame = text.encode_bytes(data, method)
    assert back(frame, len(data)) == data


@pytest.mark.parametrize("layout", [Layout(1, 16, 0), Layout(1, 64, 16), Layout(5, 32, 7)])
@pytest.mark.parametrize("name", SAMPLES)
def test_network_frames_come_back(name: str, layout: Layout, model: Model) -> None:
    data = SAMPLES[name]
    if layout.lanes > len(data):
        return
    frame = text.encode_network(data, model, layout, threads=2)
    assert frame.method == (NETWORK if layout.lanes == 1 else LANES)
    assert frame.model == model.card.wire_id
    assert back(frame, len(data), model, threads=1) == data
    assert back(frame, len(data), model, threads=2) == data


@given(st.binary(min_size=1, max_size=300), st.integers(1, 6), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_any_bytes_in_any_layout(data: bytes, lanes: int, anchor: int) -> None:
    model = read(ROOT / "tests" / "golden" / "tiny.safetensors")
    layout = Layout(min(lanes, len(data)), 16, anchor)
    assert back(text.encode_network(data, model, layout, 1), len(data), model) == data


@pytest.mark.parametrize("name", ["lmc-tiny", "lmc-small"])
def test_embedded_models_code_in_lanes(name: str) -> None:
    model = registry.open_model(name)
    model.verify()
    for layout in (Layout(1, 64, 16), Layout(7, 160, 40)):
        frame = text.encode_network(PROSE, model, layout, threads=2)
        assert len(frame.payload) < len(PROSE) / 3
        assert back(frame, len(PROSE), model, threads=1) == PROSE


@given(st.integers(1, 5000), st.integers(1, 256), st.integers(0, 255))
def test_all_lanes_end_in_the_same_step(tokens: int, lanes: int, anchor: int) -> None:
    layout = Layout(lanes, 16, anchor).fitted(tokens)
    ends = layout.deal(tokens)
    first, *others = np.diff([0, *ends]).tolist()
    assert len(ends) == layout.lanes
    assert ends[-1] == tokens
    if others:
        begun = layout.anchor  # when the other lanes do
        assert first > begun
        assert min(others) >= 1
        assert max(first - begun, *others) - min(first - begun, *others) <= 1


@given(st.sets(st.integers(1, 1 << 20), min_size=1, max_size=256))
def test_sizes_of_lanes_come_back(ends: set[int]) -> None:
    table = text.write_sizes(sorted(ends))
    assert text.read_sizes(table + b"bits", len(ends), max(ends)) == (sorted(ends), b"bits")


@pytest.mark.parametrize(
    "table", [b"", b"\x13", b"\x14\x80", b"\x80\x80\x01", b"\x27"], ids=bytes.hex
)
def test_impossible_sizes_of_lanes_are_corrupt(table: bytes, model: Model) -> None:
    with pytest.raises(Corrupt):
        text.decode_frame(LANES, b"\x01\x00\x00", table, 20, model, 1)


@pytest.mark.parametrize(("lane_size", "lanes"), [(0, 1), (1024, 5), (1500, 4), (6000, 1)])
def test_lanes_of_a_size(lane_size: int, lanes: int) -> None:
    frame = encode_frame(PROSE, Settings(6, codec="text", lane_size=lane_size))
    assert frame.params[0] + 1 == lanes
    assert back(frame, len(PROSE), registry.open_model("lmc-small")) == PROSE


@pytest.mark.parametrize(("window", "found"), [(0, 768), (16, 16), (100, 96), (4096, 1008)])
def test_a_window_of_a_size(window: int, found: int) -> None:
    """As far as the model has learned to look, the anchor included."""
    frame = encode_frame(PROSE, Settings(6, codec="text", window=window))
    assert Layout.from_params(frame.params, len(PROSE)).window == found
    assert back(frame, len(PROSE), registry.open_model("lmc-small")) == PROSE


def test_a_start_makes_small_files_smaller() -> None:
    for size in (256, 1024, 4096):
        cold = text.encode_bytes(PROSE[:size], NORMAL).payload
        assert len(text.encode_bytes(PROSE[:size], PRIMED + NORMAL).payload) < 0.96 * len(cold)


def test_a_start_of_another_mixer_is_corrupt(model: Model) -> None:
    wrong = Model(model.card, {**model.tensors, "mixer.start": np.zeros(5, np.uint32)})
    with pytest.raises(Corrupt, match="start of another mixer"):
        text.encode_network(PROSE[:100], wrong, Layout(1, 16, 0), 1)


def payloads() -> str:
    model = read(ROOT / "tests" / "golden" / "tiny.safetensors")
    digest = hashlib.sha256()
    for data in SAMPLES.values():
        for method in (FAST, NORMAL, STRONG, PRIMED + NORMAL):
            digest.update(text.encode_bytes(data, method).payload)
        layout = Layout(min(3, len(data)), 48, 5)
        digest.update(text.encode_network(data, model, layout, 1).payload)
    return digest.hexdigest()


@pytest.mark.parametrize("variant", _native.kernel_names()[:-1])
def test_slower_kernels_write_the_same_bytes(variant: str) -> None:
    environment = {**os.environ, "LMC_KERNELS": variant}
    run = [sys.executable, __file__]
    forced = subprocess.run(run, env=environment, capture_output=True, text=True, timeout=300)
    assert forced.stdout.strip() == payloads(), forced.stderr


def test_damage_never_crashes(model: Model) -> None:
    data = PROSE[:1500]
    frame = text.encode_network(data, model, Layout(2, 64, 9), 1)
    rng = random.Random(5)
    for _ in range(40):
        payload = bytearray(frame.payload[: rng.randrange(len(frame.payload))])
        if payload:
            payload[rng.randrange(len(payload))] ^= 1 << rng.randrange(8)
        damaged = Frame(frame.method, frame.params, bytes(payload))
        with suppress(Corrupt):
            assert back(damaged, len(data), model) != data


@pytest.mark.parametrize("params", [b"", b"\0\0", b"\0\xff\xff", b"\xff\x01\x00", b"\0\0\0\0"])
def test_impossible_parameters_are_corrupt(params: bytes, model: Model) -> None:
    with pytest.raises(Corrupt):
        text.decode_frame(NETWORK, params, b"abc", 100, model, 1)
    for method in (NORMAL, PRIMED + NORMAL):
        with pytest.raises(Corrupt):
            text.decode_frame(method, b"\0", b"abc", 100, None, 1)


def test_a_size_that_lies_ends_early() -> None:
    frame = text.encode_bytes(noise(64), FAST)
    with pytest.raises(Corrupt, match="cannot hold"):
        back(frame, 1 << 30)
    with pytest.raises(Corrupt, match="lead nowhere"):
        back(frame, 1 << 20)


def test_levels_with_nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LMC_HOME", str(tmp_path))
    assert text.encode_frame(PROSE, Settings(level=1)).method == PRIMED + FAST
    assert text.encode_frame(PROSE, Settings(level=2)).method == PRIMED + NORMAL
    for level, name in ((3, "lmc-tiny"), (4, "lmc-tiny"), (5, "lmc-small"), (9, "lmc-small")):
        assert text.model_of(Settings(level=level)).card.name == name
        assert text.encode_frame(PROSE, Settings(level=level)).method == NETWORK
    with pytest.raises(ModelMissing, match="nobody"):
        text.plan(Settings(level=2, model="nobody"))


@pytest.mark.usefixtures("tiny_home")
def test_a_mode_for_each_run() -> None:
    prose, rubbish = PROSE * 30, noise(3 * text.BLOCK)
    data = prose[: 2 * text.BLOCK] + rubbish + prose[: 2 * text.BLOCK]
    sizes = text.pieces(data, Settings(level=9))
    assert sizes == [2 * text.BLOCK, 3 * text.BLOCK, 2 * text.BLOCK]
    assert text.encode_frame(rubbish, Settings(level=9)).method == PRIMED + STRONG
    assert text.encode_frame(prose[:500], Settings(level=9)).method == NETWORK


@pytest.mark.usefixtures("tiny_home")
def test_a_codec_for_all_of_it() -> None:
    noisy = noise(500)
    assert text.encode_frame(noisy, Settings(level=9)).method == PRIMED + STRONG
    assert text.encode_frame(noisy, Settings(level=9, codec="text")).method == NETWORK
    assert text.pieces(PROSE * 40 + noise(1 << 18), Settings(level=9, codec="text")) == [502144]
    for level, method in ((1, FAST), (2, NORMAL), (6, STRONG)):
        choice = Settings(level=level, codec="bytes")
        assert text.encode_frame(PROSE, choice).method == PRIMED + method
        assert text.plan(choice).model is None
    assert encode_frame(PROSE, Settings(codec="raw")).method == 0
    with pytest.raises(Usage, match="no codec 'png'"):
        Settings(codec="png")


@pytest.mark.usefixtures("tiny_home")
def test_the_plan_covers_its_frames() -> None:
    for level in (1, 2, 7, 9):
        choice = Settings(level=level)
        plan = text.plan(choice)
        frame = text.encode_frame(PROSE, choice)
        assert frame.memory <= plan.memory
        assert frame.model in (None, plan.model)


def test_no_level_loses_to_the_byte_models() -> None:
    block = bytes(random.Random(1).choices(b"<a b='0'/>\n", k=20_000))
    data = block * 8
    bytes_alone = text.encode_bytes(data, text.PRIMED + text.STRONG)
    frame = text.encode_frame(data, Settings(level=4))
    assert len(frame.payload) <= len(bytes_alone.payload)
    assert len(frame.payload) < len(data) // 8  # where the comparison is made


@pytest.mark.parametrize(
    ("share", "content"),
    [
        (0.0, random.Random(1).randbytes(200_000)),
        (0.5, 2 * random.Random(1).randbytes(1_500_000)),  # farther apart than a block
        (0.2, random.Random(1).randbytes(90_000) + 2 * random.Random(2).randbytes(30_000)),
        (1.0, b"0123456789" * 10_000),
        (1.0, b"Few strings to judge by."),
        (1.0, b""),
    ],
)
def test_what_is_repeated_is_found(share: float, content: bytes) -> None:
    assert text.repeated(content) == pytest.approx(share, abs=0.04)


def test_prose_does_not_repeat_itself_and_source_does() -> None:
    prose = (ROOT / "corpora" / "time-machine.txt").read_bytes()
    source = Path(text.__file__).read_bytes()
    assert text.repeated(prose) < 0.01
    assert text.repeated(source + prose + source) > 0.05


@pytest.mark.parametrize("kind", ["counter", "measured", "numbers", "far apart"])
def test_no_level_loses_where_lanes_are_in_the_way(kind: str) -> None:
    chance = random.Random(7)
    data = {
        "counter": "".join(f"item {i:07d} done\n" for i in range(6000)),
        "measured": "".join(
            f"2024-01-01 {i // 60 % 60:02d}:{i % 60:02d},{chance.gauss(24, 1):.2f},OK\n"
            for i in range(3000)
        ),
        "numbers": "".join(f"{7919 * i % 100_003},{1_234_577 * i % 99_991}\n" for i in range(7000)),
        "far apart": 2 * "".join(chance.choices("0123456789abcdef\n", k=40_000)),
    }[kind].encode()
    frame = text.encode_frame(data, Settings(level=3))
    alone = text.encode_bytes(data, PRIMED + STRONG)
    assert len(frame.payload) <= len(alone.payload)


def test_of_prose_the_byte_models_are_tried_on_a_sample_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried = []
    encode_bytes = text.encode_bytes

    def counted(data: bytes, method: int) -> Frame:
        tried.append(len(data))
        return encode_bytes(data, method)

    monkeypatch.setattr(text, "encode_bytes", counted)
    prose = (ROOT / "corpora" / "time-machine.txt").read_bytes()
    assert text.encode_frame(prose, Settings(level=3)).method == LANES
    assert tried == [text.PROBE]


if __name__ == "__main__":
    print(payloads())
