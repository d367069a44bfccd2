"""Corpora by name: found, fetched, checked."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from lmc.bench import corpora
from lmc.errors import LmcError, Usage

CONTENT = b"to be, or not to be\n"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def quiet(_: str) -> None:
    pass


def entry(**facts: Any) -> dict[str, Any]:
    return {
        "about": "",
        "licence": "",
        "page": "",
        "archives": [],
        "files": [{"name": "a", "bytes": len(CONTENT), "sha256": DIGEST}],
    } | facts


def test_the_table_is_sound() -> None:
    for name, facts in corpora.known().items():
        assert facts["about"]
        assert facts["licence"], name
        for archive in facts["archives"]:
            assert archive["url"].startswith(("https://", "http://"))
        assert facts["archives"] or "each" in facts or name == corpora.SYNTHETIC
        assert facts["files"] or "suffix" in facts or name == corpora.SYNTHETIC
        for one in [*facts["files"], *facts["archives"]]:
            assert len(one.get("sha256", 64 * "0")) == 64
    assert {"enwik8", "enwik9", "silesia", "canterbury", "calgary", "kodak", "clic", "div2k"} < set(
        corpora.known()
    )
    assert {"librispeech", "ljspeech", "derf"} < set(corpora.known())


def test_listing() -> None:
    assert "enwik8" in corpora.listing(False)
    assert set(json.loads(corpora.listing(True))["corpora"]) == set(corpora.known())


def test_what_is_here_is_found(tmp_path: Path) -> None:
    assert corpora.here("own", entry(), tmp_path) is None
    (tmp_path / "a").write_bytes(CONTENT)
    assert corpora.here("own", entry(), tmp_path) == [tmp_path / "a"]
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "a").write_bytes(CONTENT)
    assert corpora.here("own", entry(), tmp_path) == [tmp_path / "own" / "a"]
    loose = entry(files=[], suffix=".wav")
    assert corpora.here("own", loose, tmp_path) is None
    (tmp_path / "own" / "b.wav").write_bytes(b"")
    assert corpora.here("own", loose, tmp_path) == [tmp_path / "own" / "b.wav"]


def test_what_differs_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(LmcError, match="has not the 20 bytes"):
        corpora.verify("own", entry(), [path], quiet)
    path.write_bytes(CONTENT[::-1])
    with pytest.raises(LmcError, match="SHA-256 differs"):
        corpora.verify("own", entry(), [path], quiet)
    said: list[str] = []
    corpora.verify("own", entry(files=[{"name": "a"}]), [path], said.append)
    assert said == ["own: 1 of 1 files are not verified, their hashes are not known"]


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_archives_are_fetched_and_unpacked(tmp_path: Path, kind: str) -> None:
    archive = tmp_path / f"own.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as packed:
            packed.writestr("a", CONTENT)
    else:
        with tarfile.open(archive, "w:gz") as packed_tar:
            info = tarfile.TarInfo("a")
            info.size = len(CONTENT)
            packed_tar.addfile(info, io.BytesIO(CONTENT))
    where = {"url": archive.as_uri(), "sha256": corpora.digest(archive)}
    corpora.fetch("own", entry(archives=[where]), tmp_path / "data" / "own", quiet)
    found = corpora.here("own", entry(), tmp_path / "data")
    assert found == [tmp_path / "data" / "own" / "a"]
    wrong = {"url": archive.as_uri(), "sha256": 64 * "0"}
    with pytest.raises(LmcError, match="SHA-256 differs"):
        corpora.fetch("own", entry(archives=[wrong]), tmp_path / "again" / "own", quiet)
    assert list((tmp_path / "again").iterdir()) == []


def test_archives_write_nowhere_else(tmp_path: Path) -> None:
    archive = tmp_path / "bad.tar"
    with tarfile.open(archive, "w") as packed:
        packed.addfile(tarfile.TarInfo("../outside"), io.BytesIO(b""))
    (tmp_path / "in").mkdir()
    with pytest.raises(LmcError, match="cannot be unpacked"):
        corpora.unpack(archive, tmp_path / "in")
    assert not (tmp_path / "outside").exists()


def test_files_are_fetched_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "a").write_bytes(CONTENT)
    each = entry(each=(tmp_path / "there").as_uri() + "/")
    corpora.fetch("own", each, tmp_path / "data" / "own", quiet)
    assert (tmp_path / "data" / "own" / "a").read_bytes() == CONTENT


def test_without_a_network(tmp_path: Path) -> None:
    gone = entry(archives=[{"url": (tmp_path / "none.zip").as_uri()}])
    with pytest.raises(LmcError, match="cannot be fetched"):
        corpora.fetch("own", gone, tmp_path / "data" / "own", quiet)
    assert list((tmp_path / "data").iterdir()) == []


def test_names_that_are_not_known() -> None:
    with pytest.raises(Usage, match="there is no corpus 'own'"):
        corpora.locate("own", None, quiet)
