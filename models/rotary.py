"""Rotary positions as checkpoints state them: frequencies, and the rules that stretch them.

Everything is decimal arithmetic, whose exp and ln are correctly rounded, so that unlike with pow
and log a checkpoint gives the same frequencies on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, localcontext
from typing import Any

import numpy as np
import numpy.typing as npt

from lmc.errors import Corrupt, Unsupported

PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")
DIGITS = 50
WIDEST = 4096  # channels of a head that anybody would make

Stretch = tuple[tuple[float, ...], float]
"""What the frequencies of the pairs are divided by (empty: by 1), and what attention scores are
multiplied by."""


def _inverse(theta: float, head_dim: int) -> list[Decimal]:
    """Radians a position of each pair: theta^(-2i/d)."""
    log = Decimal(theta).ln()
    return [(-log * 2 * i / head_dim).exp() for i in range(head_dim // 2)]


def frequencies(
    theta: float, head_dim: int, divisors: tuple[float, ...] = ()
) -> npt.NDArray[np.uint64]:
    """Turns per position of the rotary pairs, in units of 2^-64 turn: theta^(-2i/d) / 2 pi, over
    the pair's divisor."""
    with localcontext() as context:
        context.prec = DIGITS
        turns = [radians / (2 * PI) for radians in _inverse(theta, head_dim)]
        if divisors:
            turns = [turn / Decimal(by) for turn, by in zip(turns, divisors, strict=True)]
        whole = [int((turn * (1 << 64)).to_integral_value()) % (1 << 64) for turn in turns]
        return np.array(whole, np.uint64)


def stretch(options: Mapping[str, Any], theta: float, head_dim: int, context: int) -> Stretch:
    """The effect of a checkpoint's `rope_scaling`, as transformers computes it.

    `context`: positions that the model was made for where the options name no original number.
    Raises Unsupported for rules that depend on the length of the text or that lmc does not know,
    Corrupt for options that are missing or nonsense.
    """
    rule = options.get("rope_type", options.get("type")) or "default"
    if rule == "default":
        return (), 1.0
    if rule not in ("linear", "llama3", "yarn"):
        raise Unsupported(f"the model scales its rotary positions by {rule!r}")
    if not (math.isfinite(theta) and theta > 1 and 2 <= head_dim <= WIDEST):
        raise Corrupt("the checkpoint states an impossible rotary base or size of a head")

    def number(name: str, usual: float | None = None) -> Decimal:
        value = options.get(name)
        value = usual if value is None else value
        if not isinstance(value, int | float) or not (math.isfinite(value) and value > 0):
            raise Corrupt(f"the checkpoint's rotary scaling has no usable {name}")
        return Decimal(value)

    factor = number("factor")
    if factor < 1:
        raise Corrupt("the checkpoint's rotary scaling has no usable factor")
    if rule == "linear":
        return (float(factor),) * (head_dim // 2), 1.0
    made_for = number("original_max_position_embeddings", context)
    with localcontext() as digits:
        digits.prec = DIGITS
        if rule == "llama3":
            low, high = number("low_freq_factor"), number("high_freq_factor")
            return _llama3(_inverse(theta, head_dim), factor, low, high, made_for), 1.0
        return _yarn(options, number, factor, theta, head_dim, made_for)


def _llama3(
    inverse: list[Decimal], factor: Decimal, low: Decimal, high: Decimal, made_for: Decimal
) -> tuple[float, ...]:
    """Long waves are stretched by `factor`, short ones are not (Llama 3.1)."""
    if low >= high:
        raise Corrupt("the checkpoint's rotary scaling has no usable low_freq_factor")
    divisors = []
    for radians in inverse:
        waves = made_for * radians / (2 * PI)  # in the original context
        part = min(max((waves - low) / (high - low), Decimal(0)), Decimal(1))
        divisors.append(float(1 / ((1 - part) / factor + part)))
    return tuple(divisors)


def _yarn(
    options: Mapping[str, Any], number: Any, factor: Decimal, theta: float, head_dim: int,
    made_for: Decimal,
) -> Stretch:  # fmt: skip
    """A ramp over the pairs, and sharper attention (YaRN, Peng et al. 2023)."""

    def pair(turns: Decimal) -> Decimal:
        """The pair that turns so often over the original context."""
        return head_dim * (made_for / (turns * 2 * PI)).ln() / (2 * Decimal(theta).ln())

    first, last = pair(number("beta_fast", 32.0)), pair(number("beta_slow", 1.0))
    if options.get("truncate", True):
        first = first.to_integral_value(ROUND_FLOOR)
        last = last.to_integral_value(ROUND_CEILING)
    first, last = max(first, Decimal(0)), min(last, Decimal(head_dim - 1))
    if first == last:
        last += Decimal("0.001")
    divisors = []
    for i in range(head_dim // 2):
        slow = min(max((i - first) / (last - first), Decimal(0)), Decimal(1))
        divisors.append(float(1 / (slow / factor + 1 - slow)))

    def sharper(by: Decimal) -> Decimal:
        return by * factor.ln() / 10 + 1 if factor > 1 else Decimal(1)

    if options.get("attention_factor") is not None:
        sharp = number("attention_factor")
    elif options.get("mscale") and options.get("mscale_all_dim"):
        sharp = sharper(number("mscale")) / sharper(number("mscale_all_dim"))
    else:
        sharp = sharper(Decimal(1))
    return tuple(divisors), float(sharp * sharp)  # queries and keys are both multiplied by it
