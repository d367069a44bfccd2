"""Files of several formats, taken apart and rebuilt byte for byte: what a kind of files shares."""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar

from numpy.typing import NDArray

from lmc.codecs.recipe import Odd
from lmc.errors import Corrupt
from lmc.kernels import _native


class Taken(Protocol):
    """A file as samples and a recipe that gives the file again."""

    @property
    def samples(self) -> NDArray[Any]: ...
    @property
    def format(self) -> int: ...
    @property
    def recipe(self) -> bytes: ...


T = TypeVar("T", bound=Taken)
G = TypeVar("G")
T_co = TypeVar("T_co", bound=Taken, covariant=True)
G_co = TypeVar("G_co", covariant=True)


class Format(Protocol[T_co, G_co]):
    """What the module of a file format offers: as the methods of `Formats`, but raising Odd."""

    def take_apart(self, data: bytes, most_samples: int, /) -> T_co: ...
    def rebuild(self, recipe: bytes, samples: NDArray[Any]) -> bytes: ...
    def geometry(self, prefix: bytes) -> G_co: ...


class Formats(Generic[T, G]):
    """The formats of a kind of files, by their number on the wire and by how files begin."""

    def __init__(
        self,
        kind: str,
        by_number: dict[int, Format[T, G]],
        magics: tuple[tuple[bytes, Format[T, G]], ...],
    ) -> None:
        """kind: "an image", "a sound"; for messages."""
        self._kind, self.by_number, self.magics = kind, by_number, magics

    def take_apart(self, data: bytes, most_samples: int) -> T | None:
        """A file within the limit, tried by rebuilding it; None for anything else, and for a file
        that its format cannot say or could only say at length."""
        module = self._module(data)
        if module is None:
            return None
        try:
            taken = module.take_apart(data, most_samples)
            return (
                taken if self.rebuild(taken.format, taken.recipe, taken.samples) == data else None
            )
        except (Odd, Corrupt):
            return None

    def rebuild(self, format: int, recipe: bytes, samples: NDArray[Any]) -> bytes:
        """The file that was taken apart into these samples and this recipe. Raises Corrupt."""
        if format not in self.by_number:
            raise Corrupt(f"{self._kind} is of no file format that is known")
        try:
            return self.by_number[format].rebuild(recipe, samples)
        except _native.Damaged as error:
            raise Corrupt(str(error)) from None

    def geometry(self, prefix: bytes) -> G | None:
        """What the file that begins so says of its size; None if it is none."""
        module = self._module(prefix)
        try:
            return None if module is None else module.geometry(prefix)
        except Odd:
            return None

    def _module(self, prefix: bytes) -> Format[T, G] | None:
        return next((module for magic, module in self.magics if prefix.startswith(magic)), None)
