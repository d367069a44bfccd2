"""Sums over files, and what must not be summed."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from lmc.bench import tables
from lmc.bench.listing import as_csv, as_json
from lmc.bench.summary import Summary, front, summarise


def record(name: str, tool: str, **facts: Any) -> dict[str, Any]:
    return {
        "sha256": "00",
        "name": name,
        "tool": tool,
        "protocol": "whole",
        "version": "1",
        "command": "c",
        "threads": 1,
        "cpu": "x",
        "cores": 2,
        "modality": "image",
        "file_bytes": 900,
        "content_bytes": 1000,
        "unit": "sub-pixel",
        "units": 500,
        **facts,
    }


def done(name: str, tool: str, size: int, **facts: Any) -> dict[str, Any]:
    measured = {
        "bytes": size,
        "restores": "pixels",
        "restored": True,
        **{f"{way}_{what}": 2.0 for way in ("encode", "decode") for what in ("s", "cpu_s")},
        **{f"{way}_{what}": 3 for way in ("encode", "decode") for what in ("runs", "memory")},
    }
    return record(name, tool, **measured | facts)


def summary() -> Summary:
    return summarise(
        [
            done("a/1", "webp x", 100),
            done("a/1", "lmc -6", 50, model="photo-2", embedded_model_bytes=2_000_000),
            record("b/2", "webp x", not_taken="pixels of 16 bits"),
            done("b/2", "lmc -6", 150, encode_s=6.0, decode_memory=9),
            done("b/3", "webp x", 300),
            record("b/3", "lmc -6", failed="no luck"),
            done("c", "gzip -9", 10, modality="text", unit="byte"),
        ],
        {},
        ["b/3: lmc -6 failed: no luck"],
    )


def test_groups() -> None:
    found = summary()
    assert [(group.modality, group.folder, len(group.inputs)) for group in found.groups] == [
        ("text", "", 1),
        ("image", "", 3),
        ("image", "a", 1),
        ("image", "b", 2),
    ]
    assert [group.folder for group in found.folders(found.groups[1])] == ["a", "b"]
    images = found.groups[1]
    assert (images.file_bytes, images.content_bytes) == (2700, 3000)


def test_rows_are_sums() -> None:
    webp, lmc = summary().groups[1].rows
    assert (webp.tool, webp.files, webp.whole, webp.bytes) == ("webp x", 2, False, 400)
    assert (lmc.files, lmc.whole, lmc.bytes, lmc.units) == (2, False, 200, 1000)
    assert lmc.bits == pytest.approx(1.6)
    assert lmc.ratio == pytest.approx(10)
    assert lmc.share == pytest.approx(200 / 1800)
    assert lmc.encode_rate == pytest.approx(2000 / 8)
    assert lmc.decode_memory == 9
    assert (lmc.model, lmc.embedded_model_bytes) == ("photo-2", 2_000_000)
    assert summary().groups[2].rows[0].whole


def test_tables_tell_what_is_incomplete() -> None:
    text = tables.plain(summary())
    assert "pixels, 2 of 3" in text
    assert "(400)" in text
    assert "Not taken: webp x does not take pixels of 16 bits (1 files)" in text
    assert "Failed: b/3: lmc -6 failed: no luck" in text
    assert "2 (comes with lmc)" in text
    lines = tables.markdown(summary().groups[1]).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert lines[0].startswith("| tool | bytes |")


def test_programs_get_everything() -> None:
    document = json.loads(as_json(summary()))
    assert len(document["results"]) == 7
    assert document["results"][0]["bits_per_unit"] == 1.6
    assert document["groups"][1]["rows"][1]["bits_per_unit"] == 1.6
    rows = list(csv.DictReader(io.StringIO(as_csv(summary()))))
    assert [row["failed"] for row in rows].count("no luck") == 1
    assert rows[0]["ratio"] == "10.0"


def test_nothing_is_no_trouble() -> None:
    empty = summarise([], {"flif -e": "program: flif"}, [])
    assert tables.plain(empty) == "Not installed: flif -e (program: flif)"
    assert json.loads(as_json(empty))["results"] == []


def test_front() -> None:
    points = [(1.0, 5.0), (2.0, 4.0), (3.0, 4.0), (4.0, 6.0), (0.5, 9.0)]
    assert front(points) == [(3.0, 4.0), (4.0, 6.0)]
