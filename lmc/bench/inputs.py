"""The files of a run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from lmc import files
from lmc.bench.content import MEDIA, modality
from lmc.bench.work import read


@dataclass(frozen=True, slots=True)
class Input:
    """A file. name: the path from the folder that was named on, that folder's own name first.
    size: bytes that are measured, of which sha256 is the hash."""

    path: str
    name: str
    size: int
    sha256: str
    modality: str

    @property
    def folder(self) -> str:
        """By which files are added up; "" for a file that was named itself."""
        return os.path.dirname(self.name)


def find(
    paths: Sequence[str], limit: int | None, failed: Callable[[str, OSError | str], None]
) -> Iterator[Input]:
    """The files, and those in folders, each once. Empty and unreadable ones go to `failed`. limit:
    bytes of each that are taken; of media nobody would understand the beginning."""
    seen = set()
    for path in paths:
        above = os.path.dirname(os.path.abspath(path))
        for found, below in files.expand(path, True, lambda e: failed(str(e.filename), e)):
            name = (
                os.path.relpath(os.path.abspath(found), above) if below else os.path.basename(path)
            )
            try:
                data = read(found, limit)
                kind = modality(data[: 1 << 16], name)
                if limit is not None and kind in MEDIA:
                    data = read(found, None)
            except OSError as error:
                failed(found, error)
                continue
            if not data:
                failed(found, "is empty")
                continue
            one = Input(
                os.path.abspath(found),
                files.printable(name),
                len(data),
                hashlib.sha256(data).hexdigest(),
                kind,
            )
            if (one.name, one.sha256) not in seen:
                seen.add((one.name, one.sha256))
                yield one
