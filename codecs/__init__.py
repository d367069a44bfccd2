"""Bytes to symbols with contexts and back: one module for each kind of data.

The numbers are on the wire (FORMAT.md, section 5): they are literals, and only ever appended to.
Codecs are imported when a frame asks for them, so that importing lmc stays cheap.
"""

from __future__ import annotations

import re
from importlib import import_module
from typing import cast

from lmc.codecs.base import MOST_WHOLE, Codec, Frame, Plan, Report, Settings
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
    8: ("image", "image"),
    9: ("jpeg", "jpeg"),
    10: ("audio", "audio"),
    11: ("video", "video"),
    12: ("network-lanes", "text"),
}


JPEG = b"\xff\xd8\xff"
PICTURES = (
    JPEG,
    b"\x89PNG\r\n\x1a\n",
    b"BM",
    *(
        b"P" + kind + end
        for kind in (b"4", b"5", b"6", b"7")
        for end in (b"\n", b" ", b"\t", b"\r")
    ),
    b"II*\0",
    b"MM\0*",
)
"""How the image files begin that are taken apart as a whole."""
SOUNDS = re.compile(
    rb"(RIFF|RIFX|RF64|BW64)....WAVE|riff\x2e\x91\xcf\x11|FORM....AIF[FC]|\.snd|fLaC|ID3", re.DOTALL
)
"""How the audio files begin that are."""
VIDEO = b"YUV4MPEG2 "
"""How the video files begin that are, if their frames are not coded."""
CODED_VIDEO = re.compile(
    rb"\x1aE\xdf\xa3|RIFF....AVI |....(ftyp|moov|mdat|wide|free|skip)", re.DOTALL
)
"""How those begin whose frames may be coded without loss: Matroska, AVI, MOV."""


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


def whole_of(
    data: bytes, settings: Settings, report: Report | None = None, *, plain: bool = False
) -> Frame | None:
    """A frame of a whole image, audio or video file, or None: it is none, or is not worth it.

    plain: the file was made by `pixels_of`.
    """
    frame = None
    if settings.level > 0 and settings.codec in ("auto", "audio") and SOUNDS.match(data):
        frame = import_module("lmc.codecs.audio").encode(data, settings, report)
    elif _is_video(data, settings):
        frame = import_module("lmc.codecs.video").encode(data, settings, report)
    elif is_whole(data, settings) and data.startswith(PICTURES):
        if data.startswith(JPEG):
            frame = import_module("lmc.codecs.jpeg").encode(data, settings.threads, report)
        else:
            frame = import_module("lmc.codecs.image").encode(data, settings, report, plain=plain)
    return cast("Frame | None", frame)


def pixels_of(data: bytes) -> bytes | None:
    """A PNG of the pixels of an image file, or None: see `pictures.pixels_of`."""
    return cast("bytes | None", import_module("lmc.codecs.pictures").pixels_of(data, MOST_WHOLE))


def frames_of(data: bytes) -> bytes | None:
    """A Y4M file of the frames of a video, or None: see `clips.decoded`. Raises Usage."""
    if data.startswith((VIDEO, *PICTURES)):  # nothing to be taken off; no video
        return None
    return cast("bytes | None", import_module("lmc.codecs.clips.decoded").to_y4m(data, MOST_WHOLE))


def is_whole(prefix: bytes, settings: Settings) -> bool:
    """Whether content that begins so should be tried as a whole image, audio or video file."""
    if settings.level == 0:
        return False
    if settings.codec in ("auto", "audio") and SOUNDS.match(prefix):
        return True
    if _is_video(prefix, settings):
        return True
    wanted = settings.codec in ("auto", "image")
    return wanted and (settings.pixels or prefix.startswith(PICTURES))


def _is_video(prefix: bytes, settings: Settings) -> bool:
    if settings.level == 0 or settings.codec not in ("auto", "video"):
        return False
    plain = bool(settings.video) or settings.frames or prefix.startswith(VIDEO)
    return plain or CODED_VIDEO.match(prefix) is not None


def needs(method: int, params: bytes, size: int) -> int:
    """Bytes that decoding a frame takes beside payload and content, where its parameters claim more
    than those two show. Raises Corrupt."""
    name = BY_NUMBER.get(method, ("", ""))[1]
    if name in ("image", "audio", "video"):
        return cast(int, import_module(f"lmc.codecs.{name}").needs(params, size))
    return 0


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
