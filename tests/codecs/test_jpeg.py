"""The JPEG codec: files come back bit for bit, whatever wrote them, or are left to others.

The files in jpeg/ are small pictures by libjpeg-turbo's cjpeg and by Pillow (cmyk).
"""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from contextlib import suppress
from itertools import product
from pathlib import Path

import pytest

from lmc import codecs
from lmc.codecs import jpeg
from lmc.codecs.base import Frame
from lmc.errors import Corrupt
from lmc.kernels import _native

FILES = {path.stem: path.read_bytes() for path in (Path(__file__).parent / "jpeg").glob("*.jpg")}
UNKNOWN = {"arithmetic"}
KNOWN = sorted(FILES.keys() - UNKNOWN)


def restore(frame: Frame, size: int, threads: int = 1) -> bytes:
    return codecs.decode_frame(
        frame.method, frame.params, frame.payload, size, frame.model, threads
    )


def frame_of(data: bytes, bands: int = 1) -> Frame:
    """A frame also where it is no smaller, as for most of what is damaged on purpose."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jpeg, "BAND_BYTES", len(data) // bands)
        frame = jpeg.encode(data, 1)
    assert frame is not None
    return frame


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body


def find(data: bytes, marker: int) -> int:
    """Where the first segment of this marker begins."""
    at = 2
    while data[at + 1] != marker:
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return at


@pytest.mark.parametrize("name", KNOWN)
def test_files_come_back(name: str) -> None:
    data = FILES[name]
    frame = jpeg.encode(data, 2)
    assert frame is not None
    assert frame.method == jpeg.METHOD
    assert len(frame.payload) < 0.88 * len(data)
    assert restore(frame, len(data)) == data


@pytest.mark.parametrize("name", ["420", "progressive", "three-scans", "cmyk", "422-restarts"])
@pytest.mark.parametrize("bands", [2, 3])
def test_bands_come_back_by_any_number_of_threads(name: str, bands: int) -> None:
    data = FILES[name]
    frame = frame_of(data, bands)
    assert frame.params == bytes([bands - 1])
    assert restore(frame, len(data), 1) == restore(frame, len(data), 3) == data


def test_whatever_surrounds_the_scans_is_kept() -> None:
    data = FILES["progressive"]
    odd = (
        data[:2]
        + segment(0xE1, b"Exif\0\0" + bytes(range(256)))
        + segment(0xFE, b"\xff\xd8 a comment \xff\xd9")
        + data[2:]
        + b"behind the end\xff\xda\xff"
    )
    assert restore(frame_of(odd), len(odd)) == odd
    no_end = data[:-2]
    assert restore(frame_of(no_end), len(no_end)) == no_end


def test_padding_is_kept() -> None:
    """The last bits of a segment are ones by rule, and zeros or anything by some encoders."""
    data = FILES["422-restarts"]
    ends = [i for i in range(find(data, 0xDA), len(data) - 1) if data[i] == 0xFF and data[i + 1]]
    changed = 0
    for every in (1, 3):
        odd = bytearray(data)
        for i in ends[1::every]:
            if odd[i - 1] & 1 and odd[i - 1] != 0xFF and odd[i - 2] != 0xFF:
                odd[i - 1] &= 0xFE
        if odd == data:
            continue
        frame = jpeg.encode(bytes(odd), 1)
        if frame is not None:  # a bit may have been no padding, and have changed the picture
            changed += 1
            assert restore(frame, len(odd)) == odd
    assert changed


def other_runs(data: bytes) -> bytes:
    """The same picture by an encoder that ends a scan's first run sooner, where the
    tables have a code for it."""
    parts = _native.jpeg_encode(data)
    assert parts is not None
    assert parts[0][0] & 4 == 0  # libjpeg's own runs need not be said
    for scan, run in product(range(10), (1, 2, 3, 4)):
        outside = bytes([parts[0][0] | 4, scan + 1, *bytes(scan), 1, run]) + parts[0][1:]
        for size in range(len(data) - 4, len(data) + 5):  # which size, only the writer knows
            with suppress(_native.Damaged):
                other = _native.jpeg_decode(outside, parts[1], size)
                if other != data:
                    return other
    raise AssertionError("no scan can be written so")


@pytest.mark.parametrize("name", ["progressive", "progressive-grey-restarts"])
def test_runs_of_ended_blocks_are_kept(name: str) -> None:
    data = FILES[name]
    other = other_runs(data)
    parts = _native.jpeg_encode(other)
    assert parts is not None
    assert parts[0][0] & 4
    assert _native.jpeg_decode(parts[0], parts[1], len(other)) == other
    assert _native.jpeg_blocks(other) == _native.jpeg_blocks(data)


@pytest.mark.parametrize("name", sorted(UNKNOWN))
def test_what_is_not_known_is_left_to_others(name: str) -> None:
    assert jpeg.encode(FILES[name], 1) is None


def test_what_is_no_file_is_left_to_others() -> None:
    data = FILES["420"]
    frame = find(data, 0xC0)
    twelve = data[: frame + 4] + b"\x0c" + data[frame + 5 :]
    lossless = data[: frame + 1] + b"\xc3" + data[frame + 2 :]
    no_height = data[: frame + 5] + b"\0\0" + data[frame + 7 :]
    claims = data[: frame + 5] + b"\xff\xff\xff\xff" + data[frame + 9 :]
    cut = data[:-40]
    for bad in (b"", b"\xff\xd8\xff", data[:100], twelve, lossless, no_height, claims, cut):
        assert jpeg.encode(bad, 1) is None
    assert jpeg.encode(random.Random(1).randbytes(3000), 1) is None


def test_damaged_files_come_back_or_are_left_to_others() -> None:
    rng = random.Random(4)
    kept = 0
    for _ in range(100):
        odd = bytearray(FILES[rng.choice(KNOWN)])
        for _ in range(rng.choice((1, 1, 2, 5))):
            odd[rng.randrange(2, len(odd))] = rng.randrange(256)
        data = bytes(odd)
        frame = jpeg.encode(data, 1)
        if frame is not None:
            kept += 1
            assert restore(frame, len(data)) == data
    assert kept > 15


def test_damaged_frames_do_no_harm() -> None:
    rng = random.Random(5)
    refused = 0
    for _ in range(100):
        data = FILES[rng.choice(KNOWN)]
        frame = frame_of(data, rng.choice((1, 2)))
        payload = bytearray(frame.payload)
        for _ in range(rng.choice((1, 2, 9))):
            payload[rng.randrange(len(payload))] = rng.randrange(256)
        try:
            back = jpeg.decode_frame(jpeg.METHOD, frame.params, bytes(payload), len(data), None, 2)
            assert len(back) == len(data)
        except Corrupt:
            refused += 1
    assert refused > 30


def test_damaged_headers_do_no_harm() -> None:
    """The headers as a decoder gets them, damaged at will: no check stands before them."""
    rng = random.Random(6)
    refused = 0
    for _ in range(200):
        data = FILES[rng.choice(KNOWN)]
        parts = _native.jpeg_encode(data, rng.choice((1, 2)), 1)
        assert parts is not None
        outside = bytearray(parts[0])
        for _ in range(rng.choice((1, 1, 2, 9))):
            outside[rng.randrange(len(outside))] = rng.randrange(256)
        try:
            assert len(_native.jpeg_decode(bytes(outside), parts[1], len(data), 1)) == len(data)
        except _native.Damaged:
            refused += 1
    assert refused > 60


def test_claims_are_refused() -> None:
    data = FILES["420"]
    parts = _native.jpeg_encode(data)
    assert parts is not None
    frame = parts[0].find(b"\xff\xc0") + 5
    claim = parts[0][:frame] + b"\xff\xff\xff\xff" + parts[0][frame + 4 :]
    with pytest.raises(_native.Damaged, match="more blocks than bytes"):
        _native.jpeg_decode(claim, parts[1], len(data))


@pytest.mark.parametrize(
    ("params", "payload"),
    [
        (b"", b"\0\1\0"),
        (b"\0\0", b"\0\1\0"),
        (b"\0", b""),
        (b"\0", b"\0\0\0"),
        (b"\xff", b"\0\1\0"),
        (b"\0", b"\0\x80\x00\1"),
        (b"\0", b"\x80" * 9),
        (b"\0", b"\0\x7f\1\0"),
        (b"\0", b"\0\1\x7f"),
    ],
)
def test_frames_that_no_encoder_writes_are_corrupt(params: bytes, payload: bytes) -> None:
    with pytest.raises(Corrupt):
        jpeg.decode_frame(jpeg.METHOD, params, payload, 100, None, 1)


def test_progress_can_stop_the_work() -> None:
    seen: list[int] = []
    data = FILES["420"]
    assert jpeg.encode(data, 1, seen.append) is not None
    assert seen == sorted(seen)
    assert seen[-1] == len(data)

    def stop(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        jpeg.encode(data, 1, stop)


def payloads() -> str:
    digest = hashlib.sha256()
    for name in KNOWN:
        digest.update(frame_of(FILES[name], 2).payload)
    return digest.hexdigest()


def test_the_plain_kernels_write_the_same_bytes() -> None:
    environment = {**os.environ, "LMC_KERNELS": "scalar"}
    run = [sys.executable, __file__]
    forced = subprocess.run(run, env=environment, capture_output=True, text=True, timeout=300)
    assert forced.stdout.strip() == payloads(), forced.stderr


if __name__ == "__main__":
    print(payloads())
