"""The choice of a device, and, where there is a GPU, its logits against the processor's."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from time import sleep
from typing import Any

import numpy as np
import pytest

import lmc
from lmc.errors import Usage
from lmc.kernels import _native, gpu
from lmc.models import registry

SAMPLE = Path(__file__).parents[2] / "corpora" / "time-machine.txt"


@pytest.fixture(autouse=True)
def _back_to_the_processor() -> Iterator[None]:
    gpu.names.cache_clear()
    yield
    gpu.names.cache_clear()
    gpu.use("cpu")


def gpus() -> tuple[str, ...]:
    try:
        return gpu.names()
    except Usage:
        return ()


@pytest.mark.parametrize(
    "device", ["gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:" + 5000 * "1", "cpu:0", "auto:1", ""]
)
def test_devices_that_do_not_exist_are_refused(device: str) -> None:
    with pytest.raises(Usage):
        gpu.use(device)
    assert gpu.chosen() == ()


def test_without_the_library_only_the_processor_is_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(gpu, "LIBRARY", tmp_path / "none.so")
    gpu.use("auto")
    assert gpu.chosen() == ()
    gpu.use("cuda")
    with pytest.raises(Usage, match="without CUDA"):
        gpu.chosen()


def test_a_library_that_does_not_open_is_a_clear_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    library = tmp_path / "_cuda.so"
    library.write_bytes(b"no library")
    monkeypatch.setattr(gpu, "LIBRARY", library)
    gpu.use("auto")  # goes on without
    assert gpu.chosen() == ()
    gpu.use("cuda:0")
    for _ in range(2):
        with pytest.raises(Usage, match="no GPU can be used"):
            gpu.chosen()


def test_what_goes_wrong_in_the_search_is_not_lost(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def names() -> tuple[str, ...]:
        raise OSError("the driver is gone")

    monkeypatch.setattr(gpu, "LIBRARY", SAMPLE)
    monkeypatch.setattr(gpu, "names", names)
    for device in ("cuda", "auto"):
        gpu.use(device)
        with pytest.raises(OSError, match="the driver is gone"):
            gpu.chosen()


def test_small_files_do_not_wait_for_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gpu, "LIBRARY", SAMPLE)
    monkeypatch.setattr(gpu, "names", lambda: ("one", "two"))
    gpu.use("auto", gpu.WORTH - 1)
    assert gpu.chosen() == ()
    gpu.use("auto", gpu.WORTH)
    assert gpu.chosen() == (0, 1)
    gpu.use("auto")
    assert gpu.chosen() == (0, 1)
    gpu.use("cuda:1", 1)
    assert gpu.chosen() == (1,)
    gpu.use("cuda:2")
    with pytest.raises(Usage, match="no device 'cuda:2'"):
        gpu.chosen()


def test_a_full_gpu_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the processor's memory nothing is known: there a MemoryError stays what it is."""

    def full(*_given: object) -> bytes:
        raise MemoryError("the keys of 64 lanes would take 9 bytes of the GPU's memory; 8 are free")

    monkeypatch.setattr(_native, "encode_network", full)
    with pytest.raises(MemoryError):
        lmc.compress(SAMPLE.read_bytes()[:5000], 4)
    monkeypatch.setattr(gpu, "_choice", (0,))
    monkeypatch.setattr(gpu, "_seats", gpu._Seats())
    with pytest.raises(Usage, match="lmc-tiny: the keys of 64 lanes"):
        gpu.code(full, "lmc-tiny")


def test_frames_wait_where_a_gpu_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_choice", (0,))
    monkeypatch.setattr(gpu, "_seats", gpu._Seats())
    lock, room = Lock(), 3
    inside = tries = 0

    def frame(number: int) -> int:
        nonlocal inside, tries
        with lock:
            tries += 1
            if inside == room:
                raise MemoryError("full")
            inside += 1
        sleep(0.01)
        with lock:
            inside -= 1
        return number

    with ThreadPoolExecutor(16) as pool:
        done = pool.map(lambda number: gpu.code(lambda: frame(number), "lmc-tiny"), range(40))
        assert list(done) == list(range(40))
    assert 40 < tries < 40 + 16 * 14  # each of them found it full, at worst with one less each time


needs_gpu = pytest.mark.skipif(not gpus(), reason="there is no GPU")


@needs_gpu
@pytest.mark.parametrize("name", ["lmc-tiny", "lmc-small"])
def test_logits_are_the_processors(name: str) -> None:
    from lmc.kernels.bench_cuda import compared

    model = registry.open_model(name)
    processor = model.network(0)
    gpu.use("cuda:0")
    ids = np.array(model.tokenizer.encode(SAMPLE.read_bytes()), np.int32)
    found = compared(processor, model.network(0), ids, 20_000)
    assert found["rows"] >= 20_000
    assert found["logits that differ"] == 0


@needs_gpu
@pytest.mark.parametrize(
    ("changes", "features"),
    [
        ({"layers": 3}, {"head_norms": "qk", "reach": (0, 9, 0)}),
        ({}, {"head_norms": "k", "bias": False}),
        ({"layers": 4}, {"own_rotary": (0, 5, 1 << 63, 5)}),
        ({"head_dim": 96, "eps": 1 << 38}, {"head_norms": "qk", "own_rotary": (1 << 63, 0)}),
    ],
)
def test_heads_of_every_kind(changes: dict[str, int], features: dict[str, Any]) -> None:
    """Norms of heads and frequencies of a layer's own, on random networks."""
    from lmc.kernels.bench_cuda import compared

    made = runpy.run_path(str(Path(__file__).with_name("test_network.py")))
    config = made["CONFIG"] | changes
    tensors = made["model"](config, **features)
    ids = np.array(made["sequence"](4000, made["CONFIG"] | {"extra": 0}), np.int32)
    processor = _native.Network(tensors, config, 0)
    found = compared(processor, gpu.engine(tensors, config, 1, 0), ids, 20_000)
    assert found["rows"] >= 20_000
    assert found["logits that differ"] == 0


@needs_gpu
def test_files_of_either_open_on_the_other() -> None:
    data = SAMPLE.read_bytes()
    plain = lmc.compress(data, 4, frame_size=1 << 16)
    gpu.use("cuda")
    assert lmc.compress(data, 4, frame_size=1 << 16) == plain
    assert lmc.decompress(plain) == data
    assert lmc.decompress(lmc.compress(data[:5000], 4)) == data[:5000]  # one lane: trees


@needs_gpu
def test_what_does_not_fit_is_refused() -> None:
    """Caches larger than any GPU: told in bytes, and nothing of it is left allocated."""
    model = registry.open_model("lmc-small")
    gpu.use("cuda:0")
    engine = model.network(1)
    for _ in range(3):
        with pytest.raises(MemoryError, match=r"60000 lanes .* bytes .* room for \d+ lanes"):
            _native.Cache(engine, 60000, 4096, 0, 256)
    one = np.zeros(1, np.int32)
    assert engine.forward(_native.Cache(engine, 4, 768), one, one).any()


@needs_gpu
def test_a_cache_belongs_to_its_network() -> None:
    model = registry.open_model("lmc-tiny")
    processor = model.network(1)
    gpu.use("cuda:0")
    other = model.network(1)
    one = np.zeros(1, np.int32)
    for engine, cache in (
        (processor, _native.Cache(other, 1, 64)),
        (other, _native.Cache(processor, 1, 64)),
    ):
        with pytest.raises(ValueError, match="another network"):
            engine.forward(cache, one, one)
