"""Parts of a picture or a sound that are coded side by side, and what is told of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from lmc.codecs.base import Report
from lmc.pipeline import Pipeline, cores

Work = TypeVar("Work")
Result = TypeVar("Result")
Tell = Callable[[int], None]


def cuts_of(length: int, parts: int) -> list[slice]:
    """Parts of nearly the same length."""
    return [slice(length * i // parts, length * (i + 1) // parts) for i in range(parts)]


def side_by_side(
    do: Callable[[Work, Report], Result], works: list[Work], threads: int, tell: Tell
) -> list[Result]:
    """The results of all works, done by as many threads as asked for; tell hears their sum."""
    done = [0] * len(works)

    def reporter(i: int) -> Report:
        def hear(count: int) -> None:
            done[i] = count
            tell(sum(done))

        return hear

    jobs: Pipeline[Result] = Pipeline(min(cores(threads), len(works)))
    for i, work in enumerate(works):
        jobs.put(partial(do, work, reporter(i)))
    results = []
    while (result := jobs.get(drain=True)) is not None:
        results.append(result)
    return results


def share(report: Report | None, size: int, samples: int) -> Tell:
    """Report samples as bytes of the file; a way that is tried second counts no more."""
    most = 0

    def tell(done: int) -> None:
        nonlocal most
        now = min(size - 1, size * done // (samples + 1))
        if report is not None and now > most:
            most = now
            report(now)

    return tell
