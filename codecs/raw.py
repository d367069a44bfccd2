"""Wire number 0, stored: the floor under every other codec."""

from __future__ import annotations

from lmc.codecs.base import Frame, Plan, Report, Settings
from lmc.errors import Corrupt

STORED = 0


def plan(settings: Settings) -> Plan:
    """Stored frames need nothing."""
    return Plan()


def pieces(data: bytes, settings: Settings) -> list[int]:
    """One frame is as good as several."""
    return [len(data)]


def encode_frame(data: bytes, settings: Settings, report: Report | None = None) -> Frame:
    """The payload is the content."""
    return Frame(STORED, b"", data)


def decode_frame(
    method: int,
    params: bytes,
    payload: bytes,
    size: int,
    model: object | None,
    threads: int,
    report: Report | None = None,
) -> bytes:
    """The content is the payload; raises Corrupt if it has parameters or another size."""
    if params or len(payload) != size:
        raise Corrupt("a stored frame has parameters, or not the size it states")
    return payload
