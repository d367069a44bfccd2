"""Jobs on several threads whose results come out in the order in which they went in."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

T = TypeVar("T")


def cores(threads: int) -> int:
    """The number of threads that an option of 0 (as many as there are cores) or more means."""
    if threads:
        return threads
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Pipeline(Generic[T]):
    """Holds less than `width` unfinished results; at a width of 1 there are no threads at all.

    `width` may be changed between jobs. This is of use only for jobs that release the
    interpreter's lock, as codecs do.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self._jobs: deque[Callable[[], T]] = deque()
        self._pool: ThreadPoolExecutor | None = None

    def put(self, job: Callable[[], T]) -> None:
        """Start a job, or keep it until its result is asked for."""
        if self.width > 1:
            if self._pool is None:
                from concurrent.futures import ThreadPoolExecutor  # not for one frame

                self._pool = ThreadPoolExecutor(self.width)
            future: Future[T] = self._pool.submit(job)
            job = future.result
        self._jobs.append(job)

    def get(self, *, drain: bool = False) -> T | None:
        """The next result, or None if `width` of them are not begun; with drain, none is held.

        Raises what its job raised.
        """
        if not self._jobs or (len(self._jobs) < self.width and not drain):
            return None
        return self._jobs.popleft()()
