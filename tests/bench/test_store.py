"""Results outlive interrupts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lmc.bench.store import Store, latest, read
from lmc.errors import LmcError


def record(**facts: Any) -> dict[str, Any]:
    return {"sha256": "00", "name": "a", "tool": "gzip -9", "version": "1", "protocol": "whole"} | (
        facts
    )


def test_what_was_added_is_known_later(tmp_path: Path) -> None:
    path = tmp_path / "below" / "results.jsonl"
    store = Store(path)
    assert store.get(record()) is None
    store.add(record(bytes=1))
    store.add(record(version="2", bytes=2))
    again = Store(path)
    assert again.get(record()) == record(bytes=1)
    assert again.get(record(version="2")) == record(version="2", bytes=2)
    assert again.get(record(version="3")) is None
    assert again.get(record(threads=2)) is None


def test_failures_are_tried_again(tmp_path: Path) -> None:
    store = Store(tmp_path / "r")
    store.add(record(failed="no"))
    assert Store(tmp_path / "r").get(record()) is None


def test_a_line_that_was_cut_off_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "r"
    store = Store(path)
    store.add(record(bytes=1))
    store.add(record(version="2", bytes=2))
    path.write_bytes(path.read_bytes()[:-20])
    again = Store(path)
    assert again.get(record()) == record(bytes=1)
    assert again.get(record(version="2")) is None
    again.add(record(version="3", bytes=3))
    assert [one["bytes"] for one in read(path)] == [1, 3]


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "r"
    path.write_text("dear diary\nnothing\n")
    with pytest.raises(LmcError, match="line 1 is no result"):
        Store(path)
    assert path.read_text() == "dear diary\nnothing\n"


def test_the_later_counts() -> None:
    found = latest([record(bytes=1), record(name="b"), record(version="2", bytes=2)])
    assert found == [record(version="2", bytes=2), record(name="b")]
