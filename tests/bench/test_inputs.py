"""The files of a run."""

from __future__ import annotations

import hashlib
from pathlib import Path

from lmc.bench import synthetic
from lmc.bench.inputs import find


def test_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "in" / "below").mkdir(parents=True)
    (tmp_path / "in" / "b.txt").write_bytes(b"to be\n")
    (tmp_path / "in" / "below" / "a.txt").write_bytes(b"or not\n")
    (tmp_path / "in" / "empty").touch()
    (tmp_path / "in" / "link").symlink_to("b.txt")
    failed: list[str] = []
    paths = [str(tmp_path / "in"), str(tmp_path / "in" / "b.txt"), str(tmp_path / "none")]
    found = list(find(paths, None, lambda path, _: failed.append(Path(path).name)))
    assert [one.name for one in found] == ["in/b.txt", "in/below/a.txt", "b.txt"]
    assert [one.folder for one in found] == ["in", "in/below", ""]
    assert found[1].sha256 == hashlib.sha256(b"or not\n").hexdigest()
    assert [one.modality for one in found] == ["text"] * 3
    assert failed == ["empty", "none"]


def test_the_beginning_alone(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"to be, or not to be")
    (one,) = find([str(tmp_path / "a")], 5, lambda *_: None)
    assert (one.size, one.sha256) == (5, hashlib.sha256(b"to be").hexdigest())


def test_names_for_people(tmp_path: Path) -> None:
    (tmp_path / "bell\a").write_bytes(b"x")
    (one,) = find([str(tmp_path / "bell\a")], None, lambda *_: None)
    assert one.name == r"bell\x07"


def test_media_are_whole(tmp_path: Path) -> None:
    data = synthetic.clip(2, 16, 16)
    (tmp_path / "a.y4m").write_bytes(data)
    (one,) = find([str(tmp_path / "a.y4m")], 100, lambda *_: None)
    assert (one.size, one.modality) == (len(data), "video")
