"""FORMAT.md and the code say the same."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

import lmc
from lmc.codecs import BY_NUMBER
from lmc.models.small import PHOTOS

TEXT = (Path(__file__).parents[2] / "FORMAT.md").read_text()
EXAMPLES = re.findall(r'`content: "(.*?)"`:\n\n```\n(.*?)```', TEXT, re.S)


def test_wire_ids_are_only_ever_appended_to() -> None:
    assert BY_NUMBER == {
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


def test_the_method_table_is_the_codec_table() -> None:
    rows = re.findall(
        r"^\| (\d+) \| ([a-z-]+) \|", TEXT[TEXT.index("## 5") : TEXT.index("### 5.1")], re.M
    )
    assert {int(number): name for number, name in rows} == {
        number: name for number, (name, _) in BY_NUMBER.items()
    }


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == 3


@pytest.mark.parametrize(("content", "dump"), EXAMPLES)
def test_example(content: str, dump: str) -> None:
    data = b"".join(
        bytes.fromhex(re.findall(r"^(?:[0-9A-F]{2} ?)+", line)[0]) for line in dump.splitlines()
    )
    assert lmc.decompress(data) == content.encode()
    if data[4] == 0x01:
        assert lmc.compress(content.encode(), 0) == data


@pytest.mark.parametrize("number", [1, 2, 3])
def test_networks_of_photos_are_those_of_the_text(number: int) -> None:
    digest = hashlib.sha256(PHOTOS.path(number).read_bytes()).hexdigest()
    assert f"| {number} | `{digest}` |" in TEXT
