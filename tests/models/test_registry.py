"""The data directory: listing, finding, verifying, removing, getting."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from lmc.errors import Corrupt, LmcError, ModelMissing, Unsupported, Usage
from lmc.models import registry
from lmc.models.checkpoint import HfCheckpoint
from lmc.models.modelfile import write
from lmc.models.quantize import Recipe, quantize


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LMC_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def model(home: Path, tiny: Path) -> str:
    (home / "models").mkdir()
    write(home / "models" / "tiny.safetensors", *quantize(HfCheckpoint(tiny), Recipe(0), "tiny"))
    return "tiny"


EMBEDDED = ["lmc-small", "lmc-tiny"]


def test_two_models_come_with_lmc(home: Path) -> None:
    assert [entry.name for entry in registry.installed()] == EMBEDDED
    assert registry.largest().name == "lmc-small"
    for entry in registry.installed():
        assert entry.embedded
        assert registry.verify(entry.name) == entry.card
        assert registry.find(entry.card.wire_id).card == entry.card
        with pytest.raises(Usage, match="comes with lmc"):
            registry.remove(entry.name)
        with pytest.raises(Usage, match="comes with lmc"):
            registry.import_checkpoint(home, entry.name)
    limits = {"lmc-small": 24_000_000, "lmc-tiny": 6_000_000}
    assert all(entry.size_bytes <= limits[entry.name] for entry in registry.installed())


def test_nothing_else_is_installed_at_first(home: Path) -> None:
    assert registry.home() == home
    for call in (registry.verify, registry.remove, registry.open_model):
        with pytest.raises(ModelMissing):
            call("tiny")


def test_home_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LMC_HOME", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert registry.home() == tmp_path / "lmc"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert registry.home().name == "lmc"


def test_a_model_is_found_by_name_and_by_identity(model: str, home: Path) -> None:
    (home / "models" / "junk.safetensors").write_bytes(b"no model")
    assert [entry.card.name for entry in registry.installed()] == [*EMBEDDED, model]
    card = registry.verify(model)
    assert registry.find(card.wire_id).card == card
    assert registry.largest() == registry.installed()[0]
    assert registry.installed()[-1].size_bytes > 0
    with pytest.raises(Corrupt):
        registry.verify("junk")
    with pytest.raises(ModelMissing):
        registry.find(b"12345678")
    registry.remove(model)
    assert [entry.name for entry in registry.installed()] == EMBEDDED


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a" * 65, "a\nb"])
def test_names_stay_in_the_folder(home: Path, name: str) -> None:
    with pytest.raises(Usage):
        registry.verify(name)


def test_a_missing_known_model_says_how_to_get_it(home: Path) -> None:
    entry = registry.known()["smollm2-135m"]
    with pytest.raises(ModelMissing) as caught:
        registry.find(bytes.fromhex(entry.identity)[:8])
    assert caught.value.hint == "lmc models pull smollm2-135m"


def test_pull_refuses_other_weights(home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    other.write_bytes(b"GGUF and nothing else")
    with pytest.raises(Corrupt, match="is not the file"):
        registry.pull("smollm2-135m", source=other)
    with pytest.raises(ModelMissing):
        registry.pull("smollm2-135m", source=tmp_path / "none")
    with pytest.raises(Usage):
        registry.pull("no-such-model")
    assert not (home / "models").exists()


def test_import_makes_a_model(home: Path, tiny_gguf: Path) -> None:
    kernels = pytest.importorskip("lmc.kernels._native", reason="the C++ kernels are not built")
    if not hasattr(kernels, "Network"):
        pytest.skip("the C++ kernels have no network")
    lines: list[str] = []
    made = registry.import_checkpoint(tiny_gguf, "mine", lines.append, threads=1)
    assert registry.verify("mine") == made.card
    assert "bits per byte" in lines[-2]
    assert made.card.identity in lines[-1]
    with pytest.raises(Usage):
        registry.import_checkpoint(tiny_gguf, "smollm2-135m")
    with pytest.raises(ModelMissing):
        registry.import_checkpoint(tiny_gguf.with_name("none"), "other")


def test_hugging_face_needs_its_package(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(Unsupported, match="needs a package"):
        registry.import_checkpoint("someone/something", "mine")
    with pytest.raises(ModelMissing, match="no file"):
        registry.import_checkpoint("someone/some/thing", "mine")


def test_importing_lmc_models_is_cheap() -> None:
    import subprocess
    import sys

    code = (
        "import sys, lmc.models, lmc.models.registry, lmc.models.evaluate, lmc.models.calibrate;"
        "print([m for m in ('torch', 'transformers', 'tokenizers') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.skipif("LMC_TEST_GGUF" not in os.environ, reason="LMC_TEST_GGUF names no file")
def test_the_known_model_has_its_known_identity(home: Path) -> None:
    made = registry.pull("smollm2-135m", source=Path(os.environ["LMC_TEST_GGUF"]))
    assert made.card.identity == registry.known()["smollm2-135m"].identity
    assert json.loads(made.card.to_json())["name"] == "smollm2-135m"


def test_pull_never_leaves_half_a_model(
    home: Path, monkeypatch: pytest.MonkeyPatch, tiny_gguf: Path
) -> None:
    import dataclasses
    import hashlib

    entry = dataclasses.replace(
        registry.known()["smollm2-135m"],
        sha256=hashlib.sha256(tiny_gguf.read_bytes()).hexdigest(),
        recipe={"begin": 0},
    )
    monkeypatch.setattr(registry, "known", lambda: {entry.name: entry})
    with pytest.raises(LmcError, match="came out with identity"):
        registry.pull(entry.name, source=tiny_gguf)
    assert list((home / "models").iterdir()) == []
