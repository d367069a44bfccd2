"""The native range coder against constriction."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmc import coder
from lmc.kernels import _native

decisions = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.one_of(
            st.integers(1, coder.ONE - 1), st.sampled_from([1, 2, coder.ONE // 2, coder.ONE - 1])
        ),
    ),
    max_size=200,
)


def split(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([b for b, _ in pairs], np.uint8), np.array([p for _, p in pairs], np.uint32)


@given(decisions)
def test_words_are_constrictions(pairs: list[tuple[int, int]]) -> None:
    bits, p = split(pairs)
    words = _native.encode_words(bits, p)
    assert np.array_equal(words, coder.encode(bits, p))
    assert np.array_equal(_native.decode_bits(words.astype(">u4").tobytes(), p), bits)


@given(decisions)
def test_short_ending_decodes_on_both_sides(pairs: list[tuple[int, int]]) -> None:
    bits, p = split(pairs)
    payload = _native.encode_bits(bits, p)
    assert len(payload) <= 4 * len(_native.encode_words(bits, p))
    assert np.array_equal(_native.decode_bits(payload, p), bits)
    assert coder.decode(payload, p) == bits.tolist()


def test_carries_through_long_runs() -> None:
    # Likely ones drive the lower end towards the top of the interval: words stay undecided.
    rng = np.random.default_rng(7)
    for _ in range(200):
        p = np.where(rng.random(600) < 0.5, coder.ONE - 1, coder.ONE - 3).astype(np.uint32)
        bits = (rng.random(600) < 0.97).astype(np.uint8)
        assert np.array_equal(_native.encode_words(bits, p), coder.encode(bits, p))
        assert np.array_equal(_native.decode_bits(_native.encode_bits(bits, p), p), bits)


def test_pinned_words() -> None:
    rng = np.random.default_rng(1)
    p = rng.integers(1, coder.ONE, 64).astype(np.uint32)
    bits = (rng.integers(0, coder.ONE, 64) < p).astype(np.uint8)
    assert _native.encode_bits(bits, p).hex() == PINNED
    assert coder.decode(bytes.fromhex(PINNED), p) == bits.tolist()


PINNED = "afcd51ed"


@pytest.mark.parametrize("p", [0, coder.ONE])
def test_refuses_impossible_probabilities(p: int) -> None:
    one = np.array([1], np.uint8)
    with pytest.raises(ValueError, match="probability"):
        _native.encode_bits(one, np.array([p], np.uint32))
    with pytest.raises(ValueError, match="probability"):
        coder.encode([1], [p])
