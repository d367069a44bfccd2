"""Results added up: of each kind of files and each folder, a row for each tool."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from lmc.bench.content import MODALITIES
from lmc.bench.store import Record

KINDS = {
    "text": "Text",
    "bytes": "Other bytes",
    "image": "Images",
    "jpeg": "JPEG files",
    "audio": "Audio",
    "video": "Video",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A tool over some files: sums of bytes and seconds, the most of memory and of models' bytes.

    files: of how many it has results; whole: whether these are all of its group, so that its sums
    may be compared. restores: "file", or what of it. methods: of lmc, how it coded them.
    """

    tool: str
    files: int
    whole: bool
    bytes: int
    file_bytes: int
    content_bytes: int
    units: int
    encode_s: float
    decode_s: float
    encode_cpu_s: float
    decode_cpu_s: float
    encode_memory: int
    decode_memory: int
    model: str
    model_bytes: int
    embedded_model_bytes: int
    threads: int
    restores: str

    @property
    def is_lmc(self) -> bool:
        return self.tool.startswith("lmc ")

    @property
    def ratio(self) -> float:
        """Bytes of bare content for each that was written."""
        return self.content_bytes / self.bytes

    @property
    def bits(self) -> float:
        """Written for each byte, sub-pixel or sample."""
        return 8 * self.bytes / self.units

    @property
    def share(self) -> float:
        """Of the files' bytes."""
        return self.bytes / self.file_bytes

    @property
    def encode_rate(self) -> float:
        """Bytes of bare content a second."""
        return self.content_bytes / self.encode_s if self.encode_s else 0.0

    @property
    def decode_rate(self) -> float:
        return self.content_bytes / self.decode_s if self.decode_s else 0.0

    @property
    def encode_work(self) -> float:
        """Bytes of bare content for each second of a processor: threads, and whatever else the
        machine does, make no difference to it."""
        return self.content_bytes / self.encode_cpu_s if self.encode_cpu_s else 0.0

    @property
    def decode_work(self) -> float:
        return self.content_bytes / self.decode_cpu_s if self.decode_cpu_s else 0.0


@dataclass(frozen=True, slots=True)
class Group:
    """Files of one kind, by one protocol. folder: "" for all of the kind. inputs: names."""

    protocol: str
    modality: str
    folder: str
    inputs: list[str]
    file_bytes: int
    content_bytes: int
    unit: str
    rows: list[Row]

    @property
    def title(self) -> str:
        kind = KINDS[self.modality]
        return f"{kind}: {self.folder}" if self.folder else kind


@dataclass(slots=True)
class Summary:
    """groups: of each kind all files first, then its folders, if there are several. missing: by
    tool, how to get it."""

    groups: list[Group]
    records: list[Record]
    missing: dict[str, str] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    def of_kinds(self) -> list[Group]:
        return [group for group in self.groups if not group.folder]

    def folders(self, whole: Group) -> list[Group]:
        """Those of the same kind and protocol."""
        return [
            group
            for group in self.groups
            if group.folder and (group.protocol, group.modality) == (whole.protocol, whole.modality)
        ]

    def distinct(self, of: Callable[[Record], Any]) -> list[Any]:
        """What the records say, in order, each once."""
        return list(dict.fromkeys(of(record) for record in self.records))


def summarise(records: Iterable[Record], missing: dict[str, str], failed: list[str]) -> Summary:
    """Add up. Records that failed, or were not taken, only make their tool's row incomplete."""
    kept = list(records)
    groups = []
    for protocol in dict.fromkeys(record["protocol"] for record in kept):
        for modality in MODALITIES:
            here = [
                record
                for record in kept
                if record["protocol"] == protocol and record.get("modality") == modality
            ]
            if not here:
                continue
            groups.append(_group(protocol, modality, "", here))
            folders = dict.fromkeys(os.path.dirname(record["name"]) for record in here)
            if len(folders) > 1:
                groups += [
                    _group(
                        protocol,
                        modality,
                        folder,
                        [record for record in here if os.path.dirname(record["name"]) == folder],
                    )
                    for folder in folders
                    if folder
                ]
    return Summary(groups, kept, missing, failed)


def _group(protocol: str, modality: str, folder: str, records: list[Record]) -> Group:
    inputs = {record["name"]: record for record in records}
    by_tool: dict[str, list[Record]] = {}
    for record in records:
        by_tool.setdefault(record["tool"], [])
        if "bytes" in record:
            by_tool[record["tool"]].append(record)
    rows = [_row(tool, done, len(inputs)) for tool, done in by_tool.items() if done]
    rows.sort(key=lambda row: row.is_lmc)
    return Group(
        protocol,
        modality,
        folder,
        list(inputs),
        sum(record["file_bytes"] for record in inputs.values()),
        sum(record["content_bytes"] for record in inputs.values()),
        records[0]["unit"],
        rows,
    )


def _row(tool: str, records: list[Record], files: int) -> Row:
    def total(name: str) -> Any:
        return sum(record[name] for record in records)

    def most(name: str) -> int:
        return max(int(record.get(name, 0)) for record in records)

    return Row(
        tool,
        len(records),
        len(records) == files,
        total("bytes"),
        total("file_bytes"),
        total("content_bytes"),
        total("units"),
        total("encode_s"),
        total("decode_s"),
        total("encode_cpu_s"),
        total("decode_cpu_s"),
        most("encode_memory"),
        most("decode_memory"),
        "+".join(dict.fromkeys(r["model"] for r in records if r.get("model"))),
        most("model_bytes"),
        most("embedded_model_bytes"),
        most("threads"),
        records[0]["restores"],
    )


def front(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of points (speed, size) those that no other beats in both, from the slowest on.

    >>> front([(1.0, 2.0), (3.0, 4.0), (2.0, 5.0)])
    [(1.0, 2.0), (3.0, 4.0)]
    """
    kept: list[tuple[float, float]] = []
    for point in sorted(points, key=lambda p: (-p[0], p[1])):
        if not kept or point[1] < kept[-1][1]:
            kept.append(point)
    return kept[::-1]
