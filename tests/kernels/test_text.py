"""Distribution, online bias and token table: the native loops against the plain integers."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lmc.kernels import _native, reference_text


def some_logits(rng: np.random.Generator, n: int) -> np.ndarray:
    logits: np.ndarray = (rng.standard_normal(n) * rng.choice([0.1, 3, 40]) * 65536).astype(
        np.int32
    )
    if rng.random() < 0.3:
        logits[rng.integers(0, n)] += 1 << 24
    return logits


def check_everything(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for n in (1, 7, 8, 16, 17, 300, 1000):
        logits = some_logits(rng, n)
        bias = rng.integers(-(1 << 26), 1 << 26, n).astype(np.int32)
        assert _native.token_weights(logits).tolist() == reference_text.weights(logits.tolist())
        assert _native.token_weights(logits, bias).tolist() == reference_text.weights(
            logits.tolist(), bias.tolist()
        )
        native, plain = _native.Bias(n), reference_text.Bias(n)
        for _ in range(30):
            logits = some_logits(rng, n)
            token = int(rng.integers(0, n)) if rng.random() < 0.5 else 0
            seen = reference_text.weights(logits.tolist(), plain.values)
            native.learn(logits, token)
            plain.learn(seen, token)
            assert native.values.tolist() == plain.values


@pytest.mark.parametrize("seed", range(3))
def test_equal_to_reference(seed: int) -> None:
    check_everything(seed)


@pytest.mark.parametrize("variant", _native.kernel_names()[:-1])
def test_slower_loops_are_equal_too(variant: str) -> None:
    environment = {**os.environ, "LMC_KERNELS": variant}
    subprocess.run([sys.executable, __file__], env=environment, check=True, timeout=120)


def test_weights_are_close_to_powers_of_two() -> None:
    distances = np.arange(0, 14 << 16, 997)
    found = np.array([reference_text.weight(int(d)) for d in distances])
    exact = 2.0 ** (28 - distances / 65536)
    assert np.abs(found / exact - 1).max() < 0.0035


SINGLES = [bytes([b]) for b in range(256)]


def table(tokens: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.cumsum([0, *map(len, tokens)]).astype(np.uint32)
    return np.frombuffer(b"".join(tokens), np.uint8), offsets


def test_vocabulary_accepts_a_sorted_table() -> None:
    assert len(_native.Vocabulary(*table(sorted([*SINGLES, b"the", b"th"])))) == 258


@pytest.mark.parametrize(
    "tokens",
    [
        SINGLES[1:],
        [*SINGLES, b""],
        [*SINGLES, b"a"],
        [b"the", *SINGLES],
        [],
        [*SINGLES[:-1], b"zz"],
    ],
)
def test_vocabulary_refuses(tokens: list[bytes]) -> None:
    with pytest.raises(ValueError, match="token table"):
        _native.Vocabulary(*table(tokens))


if __name__ == "__main__":
    check_everything(0)


def test_views_made_afar_give_the_same_bytes(tmp_path: Path) -> None:
    """What a frame asks of a GPU, answered by the processor (views.cpp)."""
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if compiler is None:
        pytest.skip("there is no compiler")
    sources = Path(__file__).parents[2] / "kernels" / "src"
    program = tmp_path / "views"
    flags = ["-std=c++17", "-O1", "-pthread", f"-I{sources}"]
    parts = [sources / f"{name}.cpp" for name in ("distribution", "threads")]
    inputs = [Path(__file__).with_name("views.cpp"), *parts]
    call = [compiler, *flags, *map(str, inputs), "-o", str(program)]
    subprocess.run(call, check=True)
    run = subprocess.run([program], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
    assert len(run.stdout.splitlines()) == 3
