"""What compressors get of a file: its bytes, or the pixels, samples or frames in it.

lmc itself always gets the file. A tool for media gets the content alone, and so restores the
content alone: what it writes is smaller by all that the file says besides, and tables say so.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmc import codecs
from lmc.codecs import pictures, sounds, text

MOST = 1 << 28  # samples of a file that is read whole
BEGINNING = 4096  # bytes; what tools are warmed up with
SEGMENT = 1024  # pixels; the protocol of LMCompress
CHUNK = 2048  # bytes; the same

MODALITIES = ("text", "bytes", "image", "jpeg", "audio", "video")
MEDIA = ("image", "jpeg", "audio", "video")
UNITS = {"image": "sub-pixel", "audio": "sample", "video": "sample"}
CONTENTS = {"image": "pixels", "audio": "samples", "video": "frames"}
"""What tools for the modality restore, where it is not the file."""


@dataclass(frozen=True, slots=True)
class Content:
    """A file, or a part of one.

    data: the file's bytes. samples: pixels (height, width, 1 to 4 channels; 8 or 16 bits), signed
    samples (time, channels) of int32, or frames (frames, bytes of a frame); None for bytes. facts:
    by modality; audio: `bits`, `rate`; video: `width`, `height`, `format` (as FFmpeg calls it).
    """

    modality: str
    data: bytes
    samples: NDArray[Any] | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def unit(self) -> str:
        """What bits are counted for: byte, sub-pixel or sample."""
        return UNITS.get(self.modality, "byte")

    @property
    def units(self) -> int:
        """How many of them there are."""
        return len(self.data) if self.samples is None else int(self.samples.size)

    @property
    def raw_bytes(self) -> int:
        """Bytes of the bare content: that of samples in whole bytes each, without any header."""
        if self.samples is None:
            return len(self.data)
        if self.modality == "audio":
            return self.units * -(-int(self.facts["bits"]) // 8)
        return int(self.samples.nbytes)

    def raw(self) -> bytes:
        """The bare content, samples of audio little-endian."""
        if self.samples is None:
            return self.data
        if self.modality == "audio":
            return pcm(self.samples, self.facts["bits"])
        return self.samples.tobytes()

    def data_as_png(self) -> bytes:
        """Its pixels in a PNG without metadata."""
        assert self.samples is not None
        return png(self.samples)

    def beginning(self) -> Content | None:
        """A little of it, as a whole file of its own; None if none can be made."""
        if self.modality == "jpeg":
            return None
        if self.samples is None or self.modality == "video":
            part = None if self.samples is None else self.samples[:1]
            return Content(self.modality, self.data[:BEGINNING], part, self.facts)
        if self.modality == "image":
            return of_pixels(np.ascontiguousarray(self.samples[:32, :32]))
        return of_sound(self.samples[:BEGINNING], self.facts["bits"], self.facts["rate"])

    def chunks(self) -> list[Content]:
        """Its pieces by the protocol of LMCompress: 1,024 pixels in the order of rows, or 2,048
        bytes of bare content."""
        if self.modality == "image" and self.samples is not None:
            flat = self.samples.reshape(1, -1, self.samples.shape[2])
            return [
                of_pixels(np.ascontiguousarray(flat[:, at : at + SEGMENT]))
                for at in range(0, flat.shape[1], SEGMENT)
            ]
        raw = self.raw()
        kind = "bytes" if self.modality != "text" else "text"
        return [Content(kind, raw[at : at + CHUNK]) for at in range(0, len(raw), CHUNK)]


def modality(prefix: bytes, name: str) -> str:
    """By what lmc's codecs make of a file that begins so; of raw video, by its name."""
    if prefix.startswith(codecs.JPEG):
        return "jpeg"
    if pictures.geometry(prefix) is not None:
        return "image"
    if codecs.SOUNDS.match(prefix):
        return "audio"
    if prefix.startswith(b"YUV4MPEG2 ") or _geometry_in(name):
        return "video"
    return "text" if text.looks_like_text(prefix) else "bytes"


def load(data: bytes, name: str) -> Content:
    """The content of a file. One that is not understood counts as bytes."""
    kind = modality(data[: 1 << 16], name)
    reader = {"image": _image, "audio": _audio, "video": _video}.get(kind)
    found = Content(kind, data) if reader is None else reader(data, name)
    return Content("bytes", data) if found is None else found


# ---- images --------------------------------------------------------------------------------------


def _image(data: bytes, _: str) -> Content | None:
    pixels = read_pixels(data)
    return None if pixels is None else Content("image", data, pixels)


def read_pixels(data: bytes) -> NDArray[Any] | None:
    """(height, width, channels): grey, grey and alpha, RGB or RGBA; palettes are resolved. By
    Pillow, but for 16 bits, of which it would lose half: these by lmc's own reader. None for what
    is not compared here."""
    geometry = pictures.geometry(data[:4096])
    if geometry is not None and geometry.depth > 8:
        picture = pictures.take_apart(data, MOST)
        return None if picture is None else picture.samples
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.mode == "P":
                shown = image.convert("RGBA" if "transparency" in image.info else "RGB")
            else:
                shown = image.convert("L") if image.mode == "1" else image
            samples = np.asarray(shown)
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    if samples.dtype != np.uint8 or samples.shape[2:] > (4,):
        return None
    return samples.reshape(*samples.shape[:2], -1)


def png(samples: NDArray[Any]) -> bytes:
    """A PNG of nothing but pixels."""
    height, width, channels = samples.shape
    rows = samples.astype(samples.dtype.newbyteorder(">")).reshape(height, -1).view(np.uint8)
    lines = np.pad(rows, ((0, 0), (1, 0)))  # filter 0
    head = struct.pack(
        ">IIBBBBB", width, height, 8 * samples.itemsize, (0, 4, 2, 6)[channels - 1], 0, 0, 0
    )
    out = b"\x89PNG\r\n\x1a\n"
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(lines.tobytes(), 6)), (b"IEND", b""))
    for name, body in parts:
        out += struct.pack(">I", len(body)) + name + body
        out += struct.pack(">I", zlib.crc32(name + body))
    return out


def of_pixels(samples: NDArray[Any]) -> Content:
    return Content("image", png(samples), samples)


def same_pixels(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Whether two are the same picture; some decoders write grey as RGB, or the other way round."""

    def whole(samples: NDArray[Any]) -> NDArray[Any]:
        height, width, channels = samples.shape
        colours = samples[..., :1].repeat(3, 2) if channels < 3 else samples[..., :3]
        alpha = np.full((height, width, 1), np.iinfo(samples.dtype).max, samples.dtype)
        return np.concatenate([colours, alpha if channels % 2 else samples[..., -1:]], 2)

    return a.shape[:2] == b.shape[:2] and a.dtype == b.dtype and np.array_equal(whole(a), whole(b))


# ---- audio ---------------------------------------------------------------------------------------


def _audio(data: bytes, _: str) -> Content | None:
    sound = sounds.take_apart(data, MOST)
    if sound is None or sound.kind != "integer":
        return None
    samples = np.ascontiguousarray(sound.samples.T)
    return Content("audio", data, samples, {"bits": sound.bits, "rate": sound.rate})


def pcm(samples: NDArray[Any], bits: int) -> bytes:
    """As in a WAV file: little-endian, of 8 bits or fewer unsigned."""
    width = -(-bits // 8)
    shifted = samples.astype("<i4") << (8 * width - bits)
    if width == 1:
        return (shifted + 128).astype(np.uint8).tobytes()
    return shifted.reshape(-1, 1).view(np.uint8).reshape(-1, 4)[:, :width].tobytes()


def from_pcm(raw: bytes, bits: int, channels: int) -> NDArray[Any]:
    width = -(-bits // 8)
    parts = np.frombuffer(raw, np.uint8).reshape(-1, width)
    if width == 1:
        samples = parts[:, 0].astype(np.int32) - 128
    else:
        padded = np.zeros((len(parts), 4), np.uint8)
        padded[:, 4 - width :] = parts
        samples = padded.view("<i4")[:, 0] >> (32 - 8 * width)
    return (samples >> (8 * width - bits)).reshape(-1, channels)


def wav(samples: NDArray[Any], bits: int, rate: int) -> bytes:
    """A WAV file of nothing but samples."""
    channels, width = samples.shape[1], -(-bits // 8)
    raw = pcm(samples, bits)
    form = struct.pack(
        "<HHIIHH", 1, channels, rate, rate * channels * width, channels * width, 8 * width
    )
    pad = b"\0" * (len(raw) & 1)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form
    body += b"data" + struct.pack("<I", len(raw)) + raw + pad
    return b"RIFF" + struct.pack("<I", len(body)) + body


def of_sound(samples: NDArray[Any], bits: int, rate: int) -> Content:
    facts = {"bits": bits, "rate": rate}
    return Content("audio", wav(samples, bits, rate), samples, facts)


# ---- video ---------------------------------------------------------------------------------------

_IN_NAME = re.compile(r"(?<!\d)(\d{2,5})x(\d{2,5})(?!\d)")
_PLANES = {"420": "yuv420p", "444": "yuv444p"}


def _geometry_in(name: str) -> tuple[int, int] | None:
    """Width and height of a .yuv file, which only its name can tell: …_176x144….yuv."""
    found = _IN_NAME.search(name)
    if not name.lower().endswith(".yuv") or found is None:
        return None
    return int(found[1]), int(found[2])


def _video(data: bytes, name: str) -> Content | None:
    """Y4M and raw YUV of 8 bits, 4:2:0 (raw files always) or 4:4:4, and of even width and height
    as encoders want it."""
    if data.startswith(b"YUV4MPEG2 "):
        return _y4m(data)
    width, height = _geometry_in(name) or (0, 0)
    return _frames(data, data, width, height, "420")


def _y4m(data: bytes) -> Content | None:
    head, _, rest = data.partition(b"\n")
    words = {word[:1]: word[1:].decode("latin-1") for word in head.split(b" ")[1:] if word}
    sampling = words.get(b"C", "420")
    kind = sampling[:3] if re.fullmatch(r"(420|444)(jpeg|mpeg2|paldv)?", sampling) else ""
    try:
        width, height = int(words[b"W"]), int(words[b"H"])
    except (KeyError, ValueError):
        return None
    size = _frame_size(width, height, kind)
    frames, at = [], 0
    while size and at < len(rest):
        end = rest.find(b"\n", at)
        if not rest.startswith(b"FRAME", at) or end < 0 or len(rest) < end + 1 + size:
            return None
        frames.append(rest[end + 1 : end + 1 + size])
        at = end + 1 + size
    return _frames(data, b"".join(frames), width, height, kind)


def _frame_size(width: int, height: int, kind: str) -> int:
    if kind not in _PLANES or width < 2 or height < 2 or width % 2 or height % 2:
        return 0
    return width * height * (3 if kind == "444" else 1) + (width * height // 2) * (kind == "420")


def _frames(data: bytes, raw: bytes, width: int, height: int, kind: str) -> Content | None:
    size = _frame_size(width, height, kind)
    if not size or not raw or len(raw) % size:
        return None
    frames = np.frombuffer(raw, np.uint8).reshape(-1, size)
    facts = {"width": width, "height": height, "format": _PLANES[kind]}
    return Content("video", data, frames, facts)
