"""Lossless coders of frames: those of FFmpeg in the package PyAV, each in Matroska."""

from __future__ import annotations

import io
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmc.bench.content import Content
from lmc.bench.sound_tools import av_version
from lmc.bench.way import NotTaken, Way

RATE = 25  # frames a second, of which nothing coded depends


def _by_av(codec: str, formats: tuple[str, ...], **options: str) -> Way:
    """formats: of pixels, those that the encoder takes."""

    def pack(content: Content) -> bytes:
        assert content.samples is not None
        if content.facts["format"] not in formats:
            raise NotTaken(f"frames of {content.facts['format']}")
        return _encode(codec, options, content.samples, content.facts)

    said = " ".join(f"{name}={value}" for name, value in options.items())
    return Way(f"PyAV: {codec} {said}", av_version, pack, _decode, ("av",), get="pip: av")


BOTH = ("yuv420p", "yuv444p")


def x264() -> Way:
    return _by_av("libx264", BOTH, qp="0", preset="veryslow")


def x265() -> Way:
    # Frame threads would not change the result; the pool is told to have one.
    told = "lossless=1:log-level=none:pools=1:frame-threads=1"
    return _by_av("libx265", BOTH, **{"preset": "slower", "x265-params": told})


def ffv1() -> Way:
    return _by_av("ffv1", BOTH, level="3", coder="1", context="1", g="1", slices="4")


def av1() -> Way:
    """By SVT-AV1, as PyAV has no libaom."""
    return _by_av("libsvtav1", BOTH[:1], **{"preset": "4", "svtav1-params": "lossless=1:lp=1"})


def _shape(width: int, height: int, form: str) -> tuple[int, ...]:
    """Of a frame's array in PyAV: the planes below each other, or one axis for them."""
    return (height * 3 // 2, width) if form == "yuv420p" else (3, height, width)


def _encode(
    codec: str, options: dict[str, str], frames: NDArray[Any], facts: dict[str, Any]
) -> bytes:
    av = import_module("av")
    out = io.BytesIO()
    width, height, form = facts["width"], facts["height"], facts["format"]
    with av.open(out, "w", format="matroska") as file:
        stream = file.add_stream(codec, rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, form
        stream.codec_context.thread_count = 1
        for number, samples in enumerate(frames):
            shaped = samples.reshape(_shape(width, height, form))
            frame = av.VideoFrame.from_ndarray(shaped, format=form)
            frame.pts = number
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return out.getvalue()


def _decode(coded: bytes) -> NDArray[Any]:
    av = import_module("av")
    with av.open(io.BytesIO(coded)) as file:
        stream = file.streams.video[0]
        stream.codec_context.thread_count = 1
        frames = [frame.to_ndarray().reshape(-1) for frame in file.decode(video=0)]
    return np.stack(frames)
