"""Lossless coders of audio samples: programs, and the codecs of FFmpeg in the package PyAV."""

from __future__ import annotations

import io
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmc.bench.content import Content, load, wav
from lmc.bench.way import NotTaken, Way, by_program, of_program

Samples = NDArray[Any]
"""(time, channels), as in `Content`."""

LAYOUTS = {1: "mono", 2: "stereo"}


def _as_wav(content: Content) -> bytes:
    assert content.samples is not None
    return wav(content.samples, content.facts["bits"], content.facts["rate"])


def _of_wav(data: bytes) -> Samples:
    found = load(data, "").samples
    if found is None:
        raise ValueError("the result is no WAV file that is understood")
    return found


def _program(command: str, back: str, suffix: str, get: str) -> Way:
    """A program that reads WAV, and one (mostly the same) that writes it."""
    programs = (command.split()[0], back.split()[0])
    return Way(
        command,
        of_program(programs[0], "--version"),
        lambda content: by_program(command, _as_wav(content), (".wav", suffix)),
        lambda coded: _of_wav(by_program(back, coded, (suffix, ".wav"))),
        programs=programs,
        get=get,
    )


def flac_program() -> Way:
    """Without the 8 KiB of padding that it writes for tags to come."""
    command = "flac -s -8 --no-padding -f -o OUT IN"
    return _program(command, "flac -s -d -f -o OUT IN", ".flac", "apt: flac")


def wavpack_program() -> Way:
    command = "wavpack -q -y -hhx6 IN -o OUT"
    return _program(command, "wvunpack -q -y IN -o OUT", ".wv", "apt: wavpack")


def coded_by_av(codec: str, container: str, formats: str) -> Way:
    """An encoder of FFmpeg's at its highest level of compression, in the container that belongs to
    it. formats: for 16 and for 32 bits, as FFmpeg calls them; 8 bits are coded as 16."""
    shallow, deep = formats.split()
    options = {"compression_level": "8"} if codec in ("flac", "wavpack") else {}

    def pack(content: Content) -> bytes:
        assert content.samples is not None
        channels, bits = content.samples.shape[1], content.facts["bits"]
        if channels not in LAYOUTS or bits not in (8, 16, 24):
            raise NotTaken(f"{channels} channels of {bits} bits")
        form = shallow if bits <= 16 else deep
        # Samples of 24 bits lie in the upper part of 32.
        if bits <= 16:
            samples = content.samples.astype(np.int16)
        else:
            samples = content.samples << np.int32(32 - bits)
        return _encode(codec, container, options, form, samples, content.facts["rate"], bits)

    def unpack(coded: bytes) -> Samples:
        return _decode(coded)

    said = "".join(f", {name}={value}" for name, value in options.items())
    return Way(f"PyAV: {codec}{said}", av_version, pack, unpack, ("av",), get="pip: av")


def av_version() -> str:
    """That of the library of FFmpeg that PyAV brings."""
    numbers = import_module("av").library_versions["libavcodec"]
    return "libavcodec " + ".".join(map(str, numbers))


def _encode(
    codec: str,
    container: str,
    options: dict[str, str],
    form: str,
    samples: Samples,
    rate: int,
    bits: int,
) -> bytes:
    av = import_module("av")
    out = io.BytesIO()
    layout = LAYOUTS[samples.shape[1]]
    with av.open(out, "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate, options=options)
        context = stream.codec_context
        context.layout, context.format, context.thread_count = layout, form, 1
        if bits == 24:
            context.options = {**options, "bits_per_raw_sample": "24"}
        context.open()
        size = context.frame_size or 4096
        for at in range(0, len(samples), size):
            block = samples[at : at + size]
            planes = block.T if form.endswith("p") else block.reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(planes), format=form, layout=layout
            )
            frame.sample_rate, frame.pts = rate, at
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return out.getvalue()


def _decode(coded: bytes) -> Samples:
    av = import_module("av")
    with av.open(io.BytesIO(coded)) as file:
        stream = file.streams.audio[0]
        stream.codec_context.thread_count = 1
        channels, parts = stream.channels, []
        for frame in file.decode(audio=0):
            block = frame.to_ndarray()
            parts.append(block.T if frame.format.is_planar else block.reshape(-1, channels))
    samples = np.concatenate(parts)
    return samples.astype(np.int32) >> (8 if samples.itemsize == 4 else 0)
