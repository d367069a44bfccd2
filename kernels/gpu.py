"""GPUs that may run the network: which ones there are, and which are in use.

What is computed there is what the processor computes, bit for bit (kernels/cuda), so that the
choice decides speed alone and is the whole process's: no file says where it was made.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from threading import Condition, Thread
from typing import TYPE_CHECKING, Any, TypeVar

from lmc.errors import Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from lmc.kernels._native import Engine

T = TypeVar("T")

LIBRARY = Path(__file__).with_name("_cuda.so")
"""Made by the build where CUDA's compiler is found."""

WORTH = 1 << 20
"""Bytes of a file from which on "auto" waits for a GPU to start."""

DEVICES = ("auto", "cpu", "cuda")

_choice: tuple[int, ...] | _Search = ()


@cache
def names() -> tuple[str, ...]:
    """The GPUs that lmc can use, in CUDA's order. Raises Usage, which says why there is none."""
    if not LIBRARY.exists():
        raise Usage("this lmc was built without CUDA", hint="install it where nvcc is on the PATH")
    from lmc.kernels._native import cuda_devices

    try:
        return tuple(cuda_devices(str(LIBRARY)))
    except RuntimeError as error:
        raise Usage(f"no GPU can be used: {error}") from error


def use(device: str, size: int | None = None) -> None:
    """Run networks on "cpu", on "cuda", which is all GPUs, on "cuda:0", … or on what "auto" finds
    best for content of `size` bytes (None: nobody knows). Raises Usage for what no machine has."""
    global _choice
    kind, colon, number = device.partition(":")
    numbered = kind == "cuda" and number.isdecimal() and len(number) < 4
    if kind not in DEVICES or (colon and not numbered):
        raise Usage(f"there is no device {device!r}", hint="devices: auto, cpu, cuda, cuda:0, …")
    certain = kind == "cuda"
    worth = kind == "auto" and LIBRARY.exists() and (size is None or size >= WORTH)
    _choice = _Search(number, certain) if certain or worth else ()


def chosen() -> tuple[int, ...]:
    """The numbers of the GPUs in use; none: the processor is. Raises Usage if there is none of
    those that were asked for."""
    return _choice if isinstance(_choice, tuple) else _choice.found()


class _Search(Thread):
    """Finds GPUs, and starts them, while files and models are opened: it takes half a second."""

    def __init__(self, number: str, certain: bool) -> None:
        """number: of the one that is asked for; none: all. certain: it is an error if there is
        none; else they may not be wanted (of pictures nobody asks a network), and are not started.
        """
        super().__init__()
        self._number, self._certain = number, certain
        self._gpus: tuple[int, ...] = ()
        self._error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            found = names()
        except Exception as error:  # a thread's are lost
            self._error = error if self._certain or not isinstance(error, Usage) else None
            return
        if self._number and int(self._number) >= len(found):
            why = f"there is no device 'cuda:{self._number}'"
            self._error = Usage(why, hint=f"there are {len(found)} GPUs")
            return
        self._gpus = (int(self._number),) if self._number else tuple(range(len(found)))
        for place in self._gpus if self._certain else ():
            Thread(target=_wake, args=(place,)).start()

    def found(self) -> tuple[int, ...]:
        self.join()
        if self._error:
            raise self._error
        return self._gpus


def _wake(place: int) -> None:
    """What fails is told when the GPU is used."""
    from lmc.kernels._native import cuda_wake

    with suppress(RuntimeError):
        cuda_wake(str(LIBRARY), place)


def code(frame: Callable[[], T], model: str) -> T:
    """Run `frame`, which codes one. Where a GPU's memory is full it waits until another frame has
    ended, and begins again: from then on there are as many at a time as there were beside it.
    Raises Usage, which says what a GPU's memory cannot hold, where it is alone."""
    if not chosen():
        return frame()
    while True:
        with _seats.taken():
            try:
                return frame()
            except MemoryError as error:
                if not _seats.fewer():
                    why = f"the GPU has no room for a frame with {model}: {error}"
                    raise Usage(why, hint="--device cpu, or smaller lanes or frames") from error


class _Seats:
    """Frames at work on GPUs: any number, until one finds a memory full."""

    def __init__(self) -> None:
        self._change = Condition()
        self._taken = 0
        self._most: int | None = None

    @contextmanager
    def taken(self) -> Iterator[None]:
        with self._change:
            self._change.wait_for(lambda: self._most is None or self._taken < self._most)
            self._taken += 1
        try:
            yield
        finally:
            with self._change:
                self._taken -= 1
                self._change.notify_all()

    def fewer(self) -> bool:
        """From now on only as many as the others are, but one at least; False if it was alone,
        and known to be."""
        with self._change:
            before, others = self._most, self._taken - 1
            self._most = max(1, others if before is None else min(others, before))
            return others > 0 or before != 1


_seats = _Seats()


def engine(tensors: Mapping[str, Any], config: Mapping[str, Any], threads: int, gpu: int) -> Engine:
    """A network on a GPU, whose frames have so many threads each for their other work. Raises
    ValueError for what the arithmetic does not allow, RuntimeError for what the GPU does not."""
    from lmc.kernels._native import cuda_engine

    return cuda_engine(str(LIBRARY), dict(tensors), dict(config), threads, gpu)
