"""Every golden file does what README.md says, however it is read."""

from __future__ import annotations

import importlib.util
import io
import re
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

import lmc

HERE = Path(__file__).parent
ROWS = dict(re.findall(r"^\| ([a-z0-9-]+) \| `([^`]+)` \|", (HERE / "README.md").read_text(), re.M))


pytestmark = pytest.mark.usefixtures("tiny_home")


def in_pieces(data: bytes) -> bytes:
    decompressor = lmc.Decompressor()
    out = b""
    for number in range(len(data)):
        if decompressor.eof:
            decompressor = lmc.Decompressor()
        out += decompressor.decompress(data[number : number + 1])
    assert decompressor.eof
    return out


def through_file(data: bytes) -> bytes:
    with lmc.LmcFile(io.BytesIO(data)) as file:
        return file.read()


def by_places(data: bytes) -> bytes:
    with lmc.LmcFile(io.BytesIO(data)) as file:
        size = file.seek(0, 2)
        file.seek(0)
        content = file.read()
    assert len(content) == size
    return content


@pytest.mark.parametrize("name", [name for name in ROWS if name.startswith("good")])
@pytest.mark.parametrize("read", [lmc.decompress, in_pieces, through_file, by_places])
def test_good(name: str, read: Callable[[bytes], bytes]) -> None:
    content = read((HERE / f"{name}.lmc").read_bytes())
    assert sha256(content).hexdigest().startswith(ROWS[name])


@pytest.mark.parametrize("name", [name for name in ROWS if not name.startswith("good")])
@pytest.mark.parametrize("read", [lmc.decompress, through_file])
def test_refused(name: str, read: Callable[[bytes], bytes]) -> None:
    kind, message = ROWS[name].split(":", 1)
    with pytest.raises(lmc.LmcError, match=re.escape(message.strip())) as caught:
        read((HERE / f"{name}.lmc").read_bytes())
    assert type(caught.value).__name__ == kind


def test_each_file_has_its_line() -> None:
    assert {path.stem for path in HERE.glob("*.lmc")} == set(ROWS)


def test_the_files_are_what_make_would_make() -> None:
    """As long as the writer writes what it wrote; drop those that a later encoder betters."""
    spec = importlib.util.spec_from_file_location("make", HERE / "make.py")
    assert spec is not None
    assert spec.loader is not None
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    for name, expect, _, data in make.cases():
        assert (HERE / f"{name}.lmc").read_bytes() == data, name
        assert ROWS[name] == expect
