"""Makes the golden files that do not exist yet: `python tests/golden/make.py`.

A file that exists is never written again: it may have been released, and then it is a promise.
A new case goes to the end of `cases`; its file and its line in README.md are made here.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lmc import compress
from lmc.codecs import audio, image, jpeg, photocd, text, video
from lmc.codecs.base import Frame, Settings
from lmc.container import (
    FRAME,
    USER,
    Description,
    Header,
    content_check,
    index_entry,
    varint,
    write_block,
    write_description,
    write_end,
    write_frame,
    write_header,
    write_skippable,
)
from lmc.models.modelfile import read
from lmc.models.registry import EMBEDDED

HERE = Path(__file__).parent
TEXT = b"The same bytes out.\n"
BGR = "20x20:bgr24"
MODEL = bytes.fromhex("00112233445566ff")  # of no model there is
PROSE = (
    b"In the beginning the hen and the fox shared a thing: the thin end of an island.\n"
    b"And then the rain came in, and in, and the hen said: 0x1F rings of rain, and another thing!\n"
    + "Ein Käfig ging einen Vogel suchen.\n".encode()
) * 3 + bytes(range(0, 256, 5))


def stored(content: bytes, method: int = 0, params: bytes = b"") -> Description:
    return Description(len(content), method, params, len(content), content_check(content))


def short(content: bytes, method: int = 0, model: bytes | None = None, memory: int = 0) -> bytes:
    return write_header(Header(False, memory, model, stored(content, method))) + content


def long(*blocks: tuple[bytes, int, int], memory: int = 0, index: bytes | None = None) -> bytes:
    """A long member of blocks with their content sizes and checks."""
    out = write_header(Header(True, memory))
    entries = varint(len(out))
    for block, size, check in blocks:
        out += block
        entries += index_entry(len(block), size, check)
    return out + write_end(entries if index is None else index)


def coded(encoded: Frame, content: bytes) -> bytes:
    """A short member of a frame of the text codec."""
    check = content_check(content)
    payload = encoded.payload
    about = Description(len(content), encoded.method, encoded.params, len(payload), check)
    return write_header(Header(False, encoded.memory, encoded.model, about)) + payload


def network(lanes: int, window: int, anchor: int, path: Path = HERE / "tiny.safetensors") -> bytes:
    """PROSE in a network frame, by a model that make_model.py makes or one that comes with lmc."""
    layout = text.Layout(lanes, window, anchor)
    return coded(text.encode_network(PROSE, read(path), layout, 1), PROSE)


def kept(name: str) -> bytes:
    """A file of a kind that is read, and no longer written: several lanes by method 4."""
    return (HERE / f"{name}.lmc").read_bytes()


def empty_lane() -> bytes:
    """A frame whose first lane has no bytes."""
    layout = text.Layout(2, 32, 9)
    made = text.encode_network(PROSE, read(HERE / "tiny.safetensors"), layout, 1)
    sizes = varint(len(PROSE) // 2 * 2 - 1)
    return coded(replace(made, payload=sizes + made.payload[2:]), PROSE)


def picture(name: str) -> bytes:
    return (HERE.parent / "codecs" / "jpeg" / f"{name}.jpg").read_bytes()


def png(name: str) -> bytes:
    return (HERE.parent / "codecs" / "image" / f"{name}.png").read_bytes()


def hills(height: int, width: int, channels: int, depth: int = 8) -> NDArray[np.int64]:
    """Samples that rise and fall, a little rough: like a photo, and the same for ever."""
    y, x, c = np.ogrid[:height, :width, :channels]
    slopes = (x * (40 - x) + 2 * y * (30 - y) + 9 * c * x) // 8 + 60
    rough = (x * 7919 ^ y * 104729 ^ (c + 1) * x * y * 1299709) >> 5 & 3
    low = rough * 21 & (1 << depth - 8) - 1
    out: NDArray[np.int64] = (slopes + rough).clip(0, 255) << depth - 8 | low
    return out


def bmp(samples: NDArray[np.int64]) -> bytes:
    """Of 24 bits; rows of whole words."""
    height, width, _ = samples.shape
    head = struct.pack("<IIiiHHIIiiII", 54, 40, width, height, 1, 24, 0, 0, 2835, 2835, 0, 0)
    rows = samples[::-1, :, ::-1].astype(np.uint8).tobytes()
    return b"BM" + struct.pack("<IHH", 54 + len(rows), 0, 0) + head + rows


def pnm(samples: NDArray[np.int64], depth: int = 8) -> bytes:
    height, width, channels = samples.shape
    head = f"P{6 if channels == 3 else 5}\n{width} {height}\n{(1 << depth) - 1}\n"
    return head.encode() + samples.astype(">u2" if depth > 8 else np.uint8).tobytes()


def disc() -> bytes:
    """A picture whose colours lie where a PhotoCD's do."""
    luma, blue, red = (hills(24, 32, 3)[..., i] for i in range(3))
    planes = blue[::2, ::2] // 4 + 120, red[::2, ::2] // 4 + 110
    none = np.zeros((24, 32), np.uint8), np.zeros((0, 3), np.uint8)
    chroma = planes[0].astype(np.uint8), planes[1].astype(np.uint8)
    return pnm(
        photocd.merge(photocd.Disc(luma.astype(np.uint8) // 2, chroma, (0, 0), *none)).astype(int)
    )


def of_image(content: bytes, way: int, level: int = 6) -> bytes:
    made = image.encode(content, Settings(level=level, threads=1))
    assert made is not None
    assert image.Layout.from_params(made.params).way == way
    return coded(made, content)


def beats(channels: int, length: int, bits: int = 16) -> NDArray[np.int64]:
    """Samples (channels, time) that swing and fade, a little rough: the same for ever."""
    c, t = np.ogrid[:channels, :length]
    saw = (t * (97 + c) % 2048 - 1024) * (length - t % (length // 2)) // length
    rough = (t * 7919 ^ (c + 3) * t * t * 104729) >> 5 & 31
    low = rough * 6151 & (1 << max(0, bits - 16)) - 1
    out: NDArray[np.int64] = (saw * 5 + rough << max(0, bits - 16)) + low
    return out


def wav(samples: NDArray[np.int64], bits: int = 16) -> bytes:
    channels, width = len(samples), bits // 8
    parts = samples.T.reshape(-1).astype("<i8").view(np.uint8).reshape(-1, 8)[:, :width]
    body = parts.tobytes()
    form = struct.pack(
        "<HHIIHH", 1, channels, 44100, 44100 * channels * width, channels * width, bits
    )
    size = 36 + len(body)
    return (
        struct.pack("<4sI8sI", b"RIFF", size, b"WAVEfmt ", 16)
        + form
        + b"data"
        + (struct.pack("<I", len(body)) + body)
    )


def copies() -> bytes:
    one = beats(1, 600)
    return wav(np.concatenate([one * 0 - 7, one, one, one * 0]))


def flac(name: str) -> bytes:
    return (HERE.parent / "codecs" / "sounds" / f"{name}.flac").read_bytes()


def of_sound(content: bytes, level: int = 6) -> bytes:
    made = audio.encode(content, Settings(level=level, threads=1))
    assert made is not None
    return coded(made, content)


def film(space: str, coarse: tuple[int, int], bits: int = 8) -> bytes:
    """A Y4M file of four frames of hills that move; the third one repeats the second."""
    width, height = 27, 18
    out = f"YUV4MPEG2 W{width} H{height} F25:1 Ip C{space}\n".encode()
    for step in (0, 1, 1, 2):
        out += b"FRAME\n"
        for r, d in ((0, 0), coarse, coarse):
            rows, columns = -(-height // (1 << d)), -(-width // (1 << r))
            plane = hills(40, 40, 1, bits)[step:, 2 * step :, 0][:rows, :columns]
            out += plane.astype("<u2" if bits > 8 else np.uint8).tobytes()
    return out + b"FRAME"


def coded_video(name: str) -> bytes:
    return (HERE.parent / "codecs" / "video" / name).read_bytes()


def of_video(content: bytes, level: int = 6, stated: str = "") -> bytes:
    made = video.encode(content, Settings(level=level, threads=1, video=stated))
    assert made is not None
    return coded(made, content)


def pictured(content: bytes) -> Frame:
    made = jpeg.encode(content)
    assert made is not None
    return made


def frame(content: bytes) -> tuple[bytes, int, int]:
    return write_frame(stored(content), content), len(content), content_check(content)


def skippable(content: bytes, kind: int = USER) -> tuple[bytes, int, int]:
    return write_skippable(kind, content), 0, content_check(content)


def changed(data: bytes, at: int, to: int) -> bytes:
    return data[:at] + bytes([to]) + data[at + 1 :]


def checked(data: bytes) -> bytes:
    """A header of another layout, with its check (FORMAT.md, 2.1)."""
    from binascii import crc_hqx

    return data + crc_hqx(data, 0xFFFF).to_bytes(2, "little")


def cases() -> list[tuple[str, str, str, bytes]]:
    """Name, expectation, reason, bytes. Good ones expect the start of their content's SHA-256."""
    two = long(frame(TEXT), frame(TEXT[::-1]))
    swapped = long(frame(TEXT[::-1]), frame(TEXT))
    coloured, grey = bmp(hills(20, 24, 3)), pnm(hills(20, 24, 1, 16), 16)
    index = two[len(write_header(Header(True, 0))) + len(frame(TEXT)[0] * 2) :]

    def good(content: bytes) -> str:
        return sha256(content).hexdigest()[:16]

    return [
        ("good-empty", good(b""), "nothing, in nine bytes", compress(b"")),
        ("good-stored", good(TEXT), "a short member", short(TEXT)),
        ("good-one-byte", good(b"!"), "the smallest content", short(b"!")),
        (
            "good-long",
            good(TEXT + TEXT[::-1]),
            "two frames and an index",
            two,
        ),
        ("good-long-empty", good(b""), "a long member without frames", long()),
        (
            "good-skippable",
            good(TEXT * 2),
            "skippable blocks at the begin, between frames and at the end, of two kinds",
            long(
                skippable(b"before"),
                frame(TEXT),
                skippable(b"", 0xFF),
                frame(TEXT),
                skippable(b"after" * 100),
            ),
        ),
        (
            "good-concatenated",
            good(TEXT + TEXT + TEXT[::-1] + TEXT),
            "short, empty, long, short",
            short(TEXT) + compress(b"") + two + short(TEXT),
        ),
        (
            "good-nested",
            good(two),
            "a stored lmc file: its end looks like an index, and is content",
            short(two),
        ),
        ("bad-nothing", "NotLmc: empty", "a file of no bytes", b""),
        ("bad-magic", "NotLmc: not an lmc file", "another format", b"\x28\xb5\x2f\xfd" + bytes(9)),
        (
            "bad-line-ends",
            "Corrupt: damaged by a transfer as text",
            "CR LF became LF",
            short(TEXT).replace(b"\r\n", b"\n"),
        ),
        (
            "bad-header-check",
            "Corrupt: the checksum of the file header",
            "a damaged memory byte",
            changed(short(TEXT), 5, 7),
        ),
        (
            "bad-version-damaged",
            "Corrupt: the checksum of the file header",
            "version 9, but the check is wrong: damaged, not newer",
            changed(short(TEXT), 4, 0x09),
        ),
        (
            "bad-varint",
            "Corrupt: a number is not in its shortest form",
            "a content size of 80 00",
            checked(b"\xacL\r\n\x01\x00\x80\x00"),
        ),
        (
            "bad-content",
            "Corrupt: the checksum of the content",
            "a damaged byte of a stored payload",
            short(TEXT)[:-1] + b"\r",
        ),
        (
            "bad-payload-larger",
            "Corrupt: a frame header states sizes that cannot be",
            "a payload larger than its content",
            write_header(Header(False, 0, None, Description(5, 0, b"", 6, 0))) + b"123456",
        ),
        (
            "bad-memory-lie",
            "Corrupt: a frame is larger than the memory",
            "a frame of 1 GiB in a member that declares 64 KiB",
            write_header(Header(False, 0, None, Description(1 << 30, 0, b"", 1 << 30, 0))),
        ),
        (
            "bad-stored-params",
            "Corrupt: a stored frame has parameters",
            "parameters where the method has none",
            write_header(Header(False, 0, None, stored(TEXT, 0, b"x"))) + TEXT,
        ),
        (
            "bad-frame-empty",
            "Corrupt: a frame without content",
            "a frame block with a content size of 0",
            write_header(Header(True, 0)) + write_block(FRAME, write_description(None)),
        ),
        (
            "bad-fields-short",
            "Corrupt: the fields of a block are incomplete",
            "a frame block whose fields end inside the description",
            write_header(Header(True, 0)) + write_block(FRAME, write_description(stored(b"!"))[:5]),
        ),
        (
            "bad-frames-swapped",
            "Corrupt: the index does not fit the frames",
            "each frame right, their order not",
            swapped[: -len(index)] + index,
        ),
        (
            "bad-skippable",
            "Corrupt: the checksum of a block",
            "damage in what is skipped",
            long(skippable(b"content")).replace(b"content", b"c0ntent"),
        ),
        (
            "bad-trailer",
            "Corrupt: the end of the index",
            "a wrong end size in the trailer",
            changed(two, len(two) - 5, 1),
        ),
        ("bad-cut", "Truncated: the file ends inside", "the last byte is missing", two[:-1]),
        (
            "bad-trailing",
            "Corrupt: bytes that are no lmc file follow",
            "a zero byte behind the end",
            short(TEXT) + b"\0",
        ),
        (
            "unsupported-version",
            "Unsupported: made by a newer lmc (format 2, this one knows 1)",
            "version 2, with the header check that every version has",
            checked(b"\xacL\r\n\x02\x05new"),
        ),
        (
            "unsupported-flag",
            "Unsupported: made by a newer lmc (a format flag",
            "a reserved bit of the layout",
            checked(b"\xacL\r\n\x41\x02"),
        ),
        (
            "unsupported-method",
            "Unsupported: a frame is coded by method 270",
            "a method number that is not given yet, the last there can be",
            short(TEXT, 270),
        ),
        (
            "unsupported-kind",
            "Unsupported: made by a newer lmc (a block of kind 127)",
            "a kind of block that may not be skipped",
            write_header(Header(True, 0)) + write_block(127, b"new"),
        ),
        (
            "unsupported-fields",
            "Unsupported: made by a newer lmc (a block with additional fields)",
            "a frame block with more fields than known",
            write_header(Header(True, 0))
            + write_block(FRAME, write_description(stored(b"!")) + b"!"),
        ),
        (
            "unsupported-memory",
            "TooMuchMemory: decoding needs up to 251658240 MiB",
            "the largest memory that can be declared",
            short(TEXT, 0, None, 15 << 44),
        ),
        (
            "unsupported-model",
            "ModelMissing: 00112233445566ff",
            "a model that does not exist",
            short(TEXT, 0, MODEL),
        ),
        *(
            (f"good-{name}", good(PROSE), why, coded(text.encode_bytes(PROSE, method), PROSE))
            for name, method, why in (
                ("bytes-fast", text.FAST, "method 1"),
                ("bytes-normal", text.NORMAL, "method 2"),
                ("bytes-strong", text.STRONG, "method 3"),
            )
        ),
        ("good-network", good(PROSE), "method 4, with the model tiny", network(1, 64, 4)),
        (
            "good-network-lanes",
            good(PROSE),
            "method 4 with 3 lanes and an anchor",
            kept("good-network-lanes"),
        ),
        *(
            (f"good-{name}", good(PROSE), why, coded(text.encode_bytes(PROSE, method), PROSE))
            for name, method, why in (
                ("primed-fast", text.PRIMED + text.FAST, "method 5"),
                ("primed-normal", text.PRIMED + text.NORMAL, "method 6"),
                ("primed-strong", text.PRIMED + text.STRONG, "method 7"),
            )
        ),
        (
            "good-network2",
            good(PROSE),
            "method 4 with the model tiny2: a reach, and a start of the mixer",
            network(1, 64, 4, HERE / "tiny2.safetensors"),
        ),
        (
            "good-network2-lanes",
            good(PROSE),
            "the same with 3 lanes and an anchor",
            kept("good-network2-lanes"),
        ),
        *(
            (f"good-{name}", good(PROSE), "method 4 with a model that comes with lmc", data)
            for name, data in (
                ("lmc-tiny", network(1, 768, 16, EMBEDDED / "lmc-tiny.safetensors")),
                ("lmc-small", kept("good-lmc-small")),
            )
        ),
        *(
            (f"good-jpeg-{name}", good(data), why, coded(pictured(data), data))
            for name, why, data in (
                ("sequential", "method 9: 4:2:0, with the well-known tables", picture("tiny")),
                ("progressive", "method 9, with restart markers", picture("tiny-progressive")),
            )
        ),
        *(
            (f"good-image-{name}", good(data), f"method 8: {why}", of_image(data, way, level))
            for name, why, data, way, level in (
                ("palette", "drawn, a PNG with a palette", png("palette"), image.DRAWN, 6),
                ("fast", "the same, effort 0", png("palette"), image.DRAWN, 1),
                ("photo", "photo, a BMP", coloured, image.PHOTO, 6),
                ("photo-fast", "the same, the fast networks", coloured, image.PHOTO, 1),
                ("photo-best", "the same, the largest networks", coloured, image.PHOTO, 9),
                ("grey16", "photo, a PNM of 16 bits", grey, image.PHOTO, 6),
                ("alpha", "photo and alpha, an interlaced PNG", png("alpha"), image.PHOTO, 6),
                ("photocd", "photocd, a PNM", disc(), image.DISC, 6),
                ("jpeg-origin", "ex-jpeg, a grey PNG", png("ex-jpeg"), image.EXJPEG, 6),
            )
        ),
        *(
            (f"good-audio-{name}", good(data), f"method 10: {why}", of_sound(data, level))
            for name, why, data, level in (
                ("stereo", "a WAV of two channels", wav(beats(2, 900)), 6),
                ("fast", "the same, effort 0", wav(beats(2, 900)), 1),
                ("best", "the same, effort 2", wav(beats(2, 900)), 9),
                ("deep", "24 bits, one channel", wav(beats(1, 900, 24), 24), 6),
                ("fine", "32 bits, of which 8 are coded apart", wav(beats(1, 400, 32) * 9, 32), 6),
                ("levels", "values that never occur", wav(beats(1, 4000) // 40 * 21), 6),
                ("copies", "channels that are equal or constant", copies(), 6),
                ("silence", "all channels are constant", wav(np.zeros((2, 900), np.int64)), 6),
                ("flac", "a FLAC file", flac("libflac-1.4.2"), 6),
            )
        ),
        *(
            (f"good-video-{name}", good(data), f"method 11: {why}", of_video(data, level, stated))
            for name, why, data, level, stated in (
                ("y4m", "a Y4M of 4:2:0", film("420jpeg", (1, 1)), 6, ""),
                ("fast", "the same, effort 0", film("420jpeg", (1, 1)), 1, ""),
                ("best", "the same, networks 2", film("420jpeg", (1, 1)), 9, ""),
                ("deep", "10 bits of 4:2:2", film("422p10", (1, 0), 10), 6, ""),
                ("packed", "raw BGR", hills(40, 20, 3).astype(np.uint8).tobytes(), 6, BGR),
                ("ut-video", "Ut Video in AVI", coded_video("ut-video.avi"), 6, ""),
                ("huffyuv", "HuffYUV in AVI", coded_video("huffyuv.avi"), 6, ""),
                ("ffv1", "FFV1 3 in Matroska", coded_video("ffv1-3.mkv"), 6, ""),
                (
                    "ffv1-rice",
                    "FFV1 1 of Golomb-Rice codes in AVI",
                    coded_video("ffv1-1.avi"),
                    1,
                    "",
                ),
            )
        ),
        ("good-lanes", good(PROSE), "method 12 with 3 lanes and an anchor", network(3, 32, 9)),
        (
            "bad-lanes",
            "Corrupt: a lane of a network frame has no bytes",
            "method 12: the first lane is empty",
            empty_lane(),
        ),
    ]


def main() -> None:
    readme = HERE / "README.md"
    for name, expect, why, data in cases():
        path = HERE / f"{name}.lmc"
        if not path.exists():
            path.write_bytes(data)
            with readme.open("a") as file:
                file.write(f"| {name} | `{expect}` | {why} |\n")


if __name__ == "__main__":
    main()
