"""What a codec is: a pair of functions that are each other's inverse, and what they exchange.

A codec is a module with the three functions of `Codec`, kept in one file, so that the walk that
encodes and the walk that decodes are read side by side. It knows nothing of files: the container
gives it one frame's content at a time, checks what it returns, and stores a frame that it
could not make smaller.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

from lmc.errors import Usage

Report = Callable[[int], object]
"""Called now and then, from the thread that works, with the bytes of the frame that are done."""

LEVELS = range(10)
DEFAULT_LEVEL = 6
MIN_FRAME_SIZE = 1 << 16  # below it the promise on expansion would not hold (FORMAT.md, 6)
MAX_FRAME_SIZE = 1 << 30
CODECS = ("auto", "raw", "bytes", "text", "image", "audio", "video")
MOST_WHOLE = 1 << 28  # bytes of an image, audio or video file that is taken apart as a whole
FRAME_SIZE = 1 << 24
MIN_LANE_SIZE = 1 << 10  # less is all beginning
WINDOW_UNIT, MAX_WINDOW = 16, 4096  # tokens, those of the anchor included
# One core codes a frame of byte models, so smaller frames are faster, and a little larger.
BYTES_FRAME_SIZES = {1: 1 << 22, 2: 1 << 23}


@dataclass(frozen=True, slots=True)
class Settings:
    """All that may influence what compression writes, and `threads`, which may not.

    level: 0 stores, 1 is fastest, 9 smallest. model: name of an installed model, None for the
    level's own. threads: 0 for as many as there are cores. frame_size: bytes of content in
    each frame but the last; 0, for the level's own, is replaced by it.
    codec: "auto" looks at the content; "raw" stores it; "bytes" never uses a network; "text" never
    looks whether the content is text; "image" takes image files apart, "audio" audio files,
    "video" video files, and all three are else like "bytes". pixels: of image files, keep the
    pixels but not the file. video: what frames without a header are, as `codecs.clips.raw` has it.
    frames: of video files, keep the frames but not the file. lane_size: bytes of content in each
    lane of a network frame, at least. window: tokens that a token looks back at, at most. Both are
    the level's own where they are 0.
    Raises Usage where a value is out of range.
    """

    level: int = DEFAULT_LEVEL
    model: str | None = None
    threads: int = 0
    frame_size: int = 0
    codec: str = "auto"
    pixels: bool = False
    video: str = ""
    frames: bool = False
    lane_size: int = 0
    window: int = 0

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise Usage(f"there is no level {self.level}", hint="levels go from 0 to 9")
        if self.codec not in CODECS:
            raise Usage(f"there is no codec {self.codec!r}", hint="codecs: " + ", ".join(CODECS))
        if self.video:
            state = import_module("lmc.codecs.clips").state  # only then: it takes its time

            state(self.video)
        if self.threads < 0:
            raise Usage("the number of threads cannot be negative")
        if self.frame_size == 0:
            size = BYTES_FRAME_SIZES.get(self.level, FRAME_SIZE)
            object.__setattr__(self, "frame_size", size)  # frozen for everybody else
        if not MIN_FRAME_SIZE <= self.frame_size <= MAX_FRAME_SIZE:
            raise Usage(
                f"a frame of {self.frame_size} bytes is out of range",
                hint=f"from {MIN_FRAME_SIZE} to {MAX_FRAME_SIZE} bytes",
            )
        if self.lane_size != 0 and not MIN_LANE_SIZE <= self.lane_size <= MAX_FRAME_SIZE:
            raise Usage(
                f"a lane of {self.lane_size} bytes is out of range",
                hint=f"from {MIN_LANE_SIZE} to {MAX_FRAME_SIZE} bytes",
            )
        if self.window != 0 and not WINDOW_UNIT <= self.window <= MAX_WINDOW:
            raise Usage(
                f"a window of {self.window} tokens is out of range",
                hint=f"from {WINDOW_UNIT} to {MAX_WINDOW} tokens",
            )


@dataclass(frozen=True, slots=True)
class Plan:
    """What frames made with some settings may need, known before the first one is made.

    model: the first 8 bytes of the identity of the model they may need, or None.
    memory: bytes that decoding one of them takes at most, beside its payload and its content.
    """

    model: bytes | None = None
    memory: int = 0


@dataclass(frozen=True, slots=True)
class Frame:
    """One encoded frame: its method's wire number, parameters and payload, and its own needs.

    model and memory are as in Plan, for this very frame: model is None where the frame does
    not use one, although the plan named one.
    """

    method: int
    params: bytes
    payload: bytes
    model: bytes | None = None
    memory: int = 0


class Codec(Protocol):
    """The functions of a codec module."""

    def plan(self, settings: Settings) -> Plan:
        """Say what frames made with these settings may need.

        Raises ModelMissing if the settings ask for a model that is not installed.
        """

    def pieces(self, data: bytes, settings: Settings) -> list[int]:
        """Sizes of the runs of `data` (1 byte or more) that had better be frames of their own."""

    def encode_frame(self, data: bytes, settings: Settings, report: Report | None) -> Frame:
        """Encode content of 1 byte or more. A function of its arguments, `threads` apart."""

    def decode_frame(
        self,
        method: int,
        params: bytes,
        payload: bytes,
        size: int,
        model: object | None,
        threads: int,
        report: Report | None,
    ) -> bytes:
        """Return the content, of `size` bytes; `model` is what the member's header names.

        `size` is a claim: the output must grow as it is decoded. Raises Corrupt on parameters
        or payloads that no encoder writes; wrong content is found by the caller.
        """
