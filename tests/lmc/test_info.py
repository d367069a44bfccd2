"""What `inspect` says is true, and adds up."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

import lmc
from lmc.codecs.base import MIN_FRAME_SIZE
from lmc.container import Description, Header, content_check, write_header

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.mark.usefixtures("tiny_home")
@pytest.mark.parametrize("path", sorted(GOLDEN.glob("good-*.lmc")), ids=lambda path: path.stem)
def test_sizes_add_up(path: Path) -> None:
    data = path.read_bytes()
    info = lmc.inspect(io.BytesIO(data))
    assert info.compressed_size == len(data)
    assert info.size == len(lmc.decompress(data)) == sum(info.methods.values())
    for member in info.members:
        payloads = sum(frame.payload_size for frame in member.frames)
        assert member.compressed_size == member.overhead + member.skipped + payloads
        assert member.overhead > 0


def test_a_long_member() -> None:
    content = bytes(2 * MIN_FRAME_SIZE + 5)
    data = lmc.compress(content, 0, frame_size=MIN_FRAME_SIZE)
    info = lmc.inspect(io.BytesIO(data))
    (member,) = info.members
    assert (member.version, member.form, member.model) == (1, "long", None)
    assert [frame.size for frame in member.frames] == [MIN_FRAME_SIZE, MIN_FRAME_SIZE, 5]
    assert info.memory == 2 * MIN_FRAME_SIZE
    assert info.ratio is not None
    assert info.ratio < 1
    parsed = json.loads(info.to_json())
    assert parsed["members"][0]["frames"][2] == {
        "method": "stored",
        "params": "",
        "size": 5,
        "payload_size": 5,
        "check": f"{content_check(bytes(5)):016x}",
        "picture": None,
        "sub_pixel_bits": None,
        "sound": None,
        "sample_bits": None,
        "video": None,
    }
    assert parsed["methods"] == {"stored": len(content)}


def test_neither_model_nor_method_nor_memory_is_needed_to_list() -> None:
    description = Description(9, 200, b"\x01\x02", 2, 0)
    data = write_header(Header(False, 1 << 40, bytes(8), description)) + b"??"
    info = lmc.inspect(io.BytesIO(data))
    assert info.members[0].model == "00" * 8
    assert info.members[0].model_name is None
    assert info.members[0].frames[0].method == "method 200"
    assert info.memory == 1 << 40


def test_cut_files_are_not_listed() -> None:
    data = lmc.compress(bytes(300000), 0, frame_size=MIN_FRAME_SIZE)
    for cut in (0, 5, 20, 1000, 70000, len(data) - 1):
        with pytest.raises((lmc.Truncated, lmc.NotLmc)):
            lmc.inspect(io.BytesIO(data[:cut]))


def test_an_empty_file_has_no_ratio() -> None:
    assert lmc.inspect(io.BytesIO(lmc.compress(b""))).ratio is None


def test_streams_cannot_be_listed() -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    with pytest.raises(lmc.Usage):
        lmc.inspect(Pipe(lmc.compress(b"")))
