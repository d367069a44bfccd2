"""Results come in order, late at a width above one, and with their errors."""

from __future__ import annotations

import time
from functools import partial

import pytest

from lmc.pipeline import Pipeline, cores


def job(number: int) -> int:
    time.sleep(0.02 / (number + 1))
    if number == 5:
        raise ValueError("five")
    return number


@pytest.mark.parametrize("width", [1, 2, 3, 10])
def test_order(width: int) -> None:
    pipeline: Pipeline[int] = Pipeline(width)
    out = []
    for number in range(5):
        pipeline.put(partial(job, number))
        result = pipeline.get()
        assert (result is None) == (number + 1 < width)
        out += [] if result is None else [result]
    out += iter(lambda: pipeline.get(drain=True), None)
    assert out == list(range(5))


@pytest.mark.parametrize("width", [1, 3])
def test_errors_come_at_their_place(width: int) -> None:
    pipeline: Pipeline[int] = Pipeline(width)
    for number in (4, 5):
        pipeline.put(partial(job, number))
    assert pipeline.get(drain=True) == 4
    with pytest.raises(ValueError, match="five"):
        pipeline.get(drain=True)
    assert pipeline.get(drain=True) is None


def test_cores() -> None:
    assert cores(3) == 3
    assert cores(0) >= 1
