"""Results for programs: JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict
from typing import Any

from lmc.bench.summary import Row, Summary

FIELDS = (
    "protocol",
    "modality",
    "name",
    "sha256",
    "tool",
    "restores",
    "bytes",
    "file_bytes",
    "content_bytes",
    "unit",
    "units",
    "bits_per_unit",
    "ratio",
    "encode_s",
    "decode_s",
    "encode_cpu_s",
    "decode_cpu_s",
    "encode_runs",
    "decode_runs",
    "encode_memory",
    "decode_memory",
    "model",
    "model_bytes",
    "embedded_model_bytes",
    "threads",
    "version",
    "command",
    "cpu",
    "cores",
    "system",
    "date",
    "failed",
    "not_taken",
)


def _with_rates(record: dict[str, Any]) -> dict[str, Any]:
    if "bytes" not in record:
        return record
    bits = 8 * record["bytes"] / record["units"]
    ratio = record["content_bytes"] / record["bytes"]
    return {**record, "bits_per_unit": round(bits, 4), "ratio": round(ratio, 4)}


def as_json(summary: Summary) -> str:
    """All of it: `results`, one for each file, tool and protocol; `groups`, added up."""

    def row(one: Row) -> dict[str, Any]:
        return {
            **asdict(one),
            "ratio": round(one.ratio, 4),
            "bits_per_unit": round(one.bits, 4),
            "encode_mb_s": round(one.encode_rate / 1e6, 4),
            "decode_mb_s": round(one.decode_rate / 1e6, 4),
        }

    groups = [
        {**asdict(group), "rows": [row(one) for one in group.rows]} for group in summary.groups
    ]
    document = {
        "results": [_with_rates(record) for record in summary.records],
        "groups": groups,
        "missing": summary.missing,
        "failed": summary.failed,
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def as_csv(summary: Summary) -> str:
    """A line for each file, tool and protocol, after one of names."""
    out = io.StringIO()
    writer = csv.DictWriter(out, FIELDS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(_with_rates(record) for record in summary.records)
    return out.getvalue()
