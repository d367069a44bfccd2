"""Bytes to symbols with contexts and back: one module for each kind of data.

The numbers are on the wire (FORMAT.md, section 5): they are literals, and only ever appended to.
Codecs are imported when a frame asks for them, so that importing lmc stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import cast

from lmc.codecs.base import Codec, Frame, Plan, Report, Settings
from lmc.errors import Unsupported

# method number: (its name for people, the module that codes it)
BY_NUMBER = {
    0: ("stored", "raw"),
    1: ("bytes-fast", "text"),
    2: ("bytes-normal", "text"),
    3: ("bytes-strong", "text"),
    4: ("network", "text"),
    5: ("primed-fast", "text"),
    6: ("primed-normal", "text"),
    7: ("primed-strong", "text"),
    9: ("jpeg", "jpeg"),
}


def plan(settings: Settings) -> Plan:
    """What the frames of `encode_frame` may need; raises ModelMissing."""
    return _choose(settings).plan(settings)


def pieces(data: bytes, settings: Settings) -> list[int]:
    """Sizes of the runs of a frame's content that had better be frames of their own."""
    return _choose(settings).pieces(data, settings)


def encode_frame(data: bytes, settings: Settings, report: Report | None = None) -> Frame:
    """Encode a frame's content (1 byte or more), stored if nothing makes it smaller."""
    frame = _choose(settings).encode_frame(data, settings, report)
    if len(frame.params) + len(frame.payload) >= len(data):
        return _codec("raw").encode_frame(data, settings, report)
    return frame


def decode_frame(
    method: int,
    params: bytes,
    payload: bytes,
    size: int,
    model: object | None,
    threads: int,
    report: Report | None = None,
) -> bytes:
    """Decode a frame; raises Corrupt, or Unsupported for a method of a newer lmc."""
    if method not in BY_NUMBER:
        raise Unsupported(f"a frame is coded by method {method}, which this lmc does not know")
    codec = _codec(BY_NUMBER[method][1])
    return codec.decode_frame(method, params, payload, size, model, threads, report)


def _choose(settings: Settings) -> Codec:
    return _codec("raw" if settings.level == 0 or settings.codec == "raw" else "text")


def _codec(name: str) -> Codec:
    return cast(Codec, import_module(f"lmc.codecs.{name}"))
