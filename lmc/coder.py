"""The range coder, as constriction defines it; the only file that imports constriction.

lmc codes every decision inside its native loops (`kernels/src/rangecoder.hpp`), because each
probability depends on the decision before it. The meaning of those bytes is constriction's range
coder with 32-bit words, a 64-bit state and 24-bit probabilities, in the form below; the tests hold
the native coder to it word for word.
"""

from __future__ import annotations

from collections.abc import Iterable

import constriction
import numpy as np
from numpy.typing import NDArray

PROB_BITS = 24
ONE = 1 << PROB_BITS


def _model(p: int) -> constriction.stream.model.Model:
    """The decision as a distribution over {0, 1} with exactly ONE - p and p counts.

    Raises ValueError unless 1 <= p < ONE. constriction adds one count to each symbol and scales
    the rest; weights that are the counts less one go through unrounded.
    """
    if not 1 <= p < ONE:
        raise ValueError(f"probability {p} lies outside 1 .. 2^{PROB_BITS} - 1")
    return constriction.stream.model.Categorical(
        np.array([ONE - p - 1, p - 1], dtype=np.float64), perfect=False
    )


def encode(bits: Iterable[int], probabilities: Iterable[int]) -> NDArray[np.uint32]:
    """constriction's words for decisions; p is the probability of a 1 in units of 2^-24."""
    encoder = constriction.stream.queue.RangeEncoder()
    for bit, p in zip(bits, probabilities, strict=True):
        encoder.encode(int(bit), _model(int(p)))
    return np.asarray(encoder.get_compressed(), dtype=np.uint32)


def decode(payload: bytes, probabilities: Iterable[int]) -> list[int]:
    """The decisions that a payload (words, highest byte first, zeros behind it) codes."""
    padded = payload + bytes(-len(payload) % 4 + 8)
    decoder = constriction.stream.queue.RangeDecoder(
        np.frombuffer(padded, dtype=">u4").astype(np.uint32)
    )
    return [int(decoder.decode(_model(int(p)))) for p in probabilities]
