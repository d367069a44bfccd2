"""The starts that belong to the format are the ones that FORMAT.md names."""

from __future__ import annotations

import lzma
from hashlib import sha256
from pathlib import Path

import pytest

from lmc.kernels import _native
from lmc.kernels.start import FILE, PROFILES, start

FORMAT = (Path(__file__).parents[2] / "FORMAT.md").read_text()


def test_the_file_is_the_one_in_the_format() -> None:
    whole = lzma.decompress(FILE.read_bytes())
    assert f"SHA-256 is\n`{sha256(whole).hexdigest()}`" in FORMAT
    assert b"".join(start(profile) for profile in PROFILES) == whole


@pytest.mark.parametrize("profile", range(1, 6))
def test_nothing_learned_changes_nothing(profile: int) -> None:
    unlearned = _native.unlearned(profile)
    assert len(unlearned) == 4 * _native.start_size(profile)
    if profile in PROFILES:
        data = b"what is not primed is cold " * 20
        assert _native.encode_bytes(profile, data, None, unlearned) == _native.encode_bytes(
            profile, data
        )


def test_a_start_of_the_wrong_size_is_refused() -> None:
    for wrong in (start(1)[:-4], start(2), b"abcd"):
        with pytest.raises(ValueError, match="another plan"):
            _native.encode_bytes(1, b"x", None, wrong)
    with pytest.raises(ValueError, match="32-bit"):
        _native.encode_bytes(1, b"x", None, b"abc")
