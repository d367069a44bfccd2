"""Bytes to symbols with contexts and back: one module for each kind of data.

The numbers are on the wire (FORMAT.md, section 5): they are literals, and only ever appended to.
Codecs are imported when a frame asks for them, so that importing lmc stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import cast

from lmc.codecs.base import Codec, Frame, Plan, Settings
from lmc.errors import Unsupported

# method number: (its name for people, the module that codes it)
BY_NUMBER = {
    0: ("stored", "raw"),
    1: ("bytes-fast", "text"),
    2: ("bytes-normal", "text"),
    3: ("segments", "text"),
}


def plan(settings: Settings) -> Plan:
    """What the frames of `encode_frame` may need; raises ModelMissing."""
    return _codec(_choose(settings)).plan(settings)


def encode_frame(data: bytes | memoryview, settings: Settings) -> Frame:
    """Encode a frame's content (1 byte or more), stored if nothing makes it smaller."""
    frame = _codec(_choose(settings)).encode_frame(data, settings)
    if len(frame.params) + len(frame.payload) >= len(data):
        return _codec("raw").encode_frame(data, settings)
    return frame


def decode_frame(
    method: int, params: bytes, payload: bytes, size: int, model: object | None, threads: int
) -> bytes:
    """Decode a frame; raises Corrupt, or Unsupported for a method of a newer lmc."""
    if method not in BY_NUMBER:
        raise Unsupported(f"a frame is coded by method {method}, which this lmc does not know")
    return _codec(BY_NUMBER[method][1]).decode_frame(method, params, payload, size, model, threads)


def _choose(settings: Settings) -> str:
    return "text" if settings.level and find_spec("lmc.codecs.text") else "raw"


def _codec(name: str) -> Codec:
    return cast(Codec, import_module(f"lmc.codecs.{name}"))
