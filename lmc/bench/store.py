"""Results, one JSON object a line, in a file that only grows. Of two for the same the later counts.

What has been measured need not be measured again: a result is known by the content, the tool, its
version and setting, the protocol and the machine.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lmc.errors import LmcError

Record = dict[str, Any]

BEGIN = '{"sha256": "'
KEY = ("sha256", "name", "tool", "version", "protocol", "threads", "runs", "cpu", "cores")


def key(record: Record) -> tuple[Any, ...]:
    """What a result is known by."""
    return tuple(record.get(name) for name in KEY)


class Store:
    """The file. Results are written as they are added, whole lines at once."""

    def __init__(self, path: Path) -> None:
        """Reads what is there; raises LmcError if it holds something else."""
        self.path = path
        self._known = {key(record): record for record in read(path)} if path.exists() else {}
        self._cut = path.exists() and not path.read_bytes().endswith(b"\n") and path.stat().st_size

    def get(self, wanted: Record) -> Record | None:
        """The result with the key of `wanted`; one that failed is not known."""
        found = self._known.get(key(wanted))
        return None if found is None or "failed" in found else found

    def add(self, record: Record) -> None:
        line = json.dumps(record, ensure_ascii=False) + "\n"
        if self._cut:  # the last line was not finished
            line, self._cut = "\n" + line, 0
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(file, line.encode())
        finally:
            os.close(file)
        self._known[key(record)] = record


def read(path: Path) -> list[Record]:
    """The results in a file, of which lines may have been cut off; raises LmcError."""
    records: list[Record] = []
    text = path.read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(text.split("\n"), 1):
        try:
            record = json.loads(line) if line else None
        except ValueError:
            record = None
            if not (line.startswith(BEGIN) or BEGIN.startswith(line)):
                record = line
        if record is None:
            continue  # empty, or cut off by an interrupt
        if not isinstance(record, dict) or not {"sha256", "tool"} <= record.keys():
            raise LmcError(
                f"{path}: line {number} is no result", hint="name another file with --results"
            )
        records.append(record)
    return records


def latest(records: Iterable[Record]) -> list[Record]:
    """Of several results for the same content, tool, setting and protocol the last one, in the
    order in which the first came."""
    found: dict[tuple[Any, ...], Record] = {}
    for record in records:
        known = ("sha256", "name", "tool", "protocol")
        found[tuple(record.get(name) for name in known)] = record
    return list(found.values())
