"""Files as the tool leaves them: modes, times, removal, renaming into place."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from lmc import files
from lmc.errors import LmcError

LMC = str(Path(sys.executable).parent / "lmc")


def lmc(*arguments: str, folder: Path) -> None:
    subprocess.run([LMC, *arguments], cwd=folder, check=True, stdin=subprocess.DEVNULL)


def test_mode_and_times_are_kept(tmp_path: Path) -> None:
    source = tmp_path / "a"
    source.write_bytes(b"text")
    source.chmod(0o640)
    os.utime(source, ns=(1_000_000_000_000_000_000, 1_234_567_890_123_456_789))
    lmc("a", folder=tmp_path)
    source.unlink()
    lmc("-d", "a.lmc", folder=tmp_path)
    for path in (tmp_path / "a.lmc", source):
        status = path.stat()
        assert stat.S_IMODE(status.st_mode) == 0o640
        assert status.st_mtime_ns == 1_234_567_890_123_456_789


def test_the_compressed_file_holds_no_name_and_no_time(tmp_path: Path) -> None:
    for name, when in (("a", 1), ("b", 2)):
        (tmp_path / name).write_bytes(b"text")
        os.utime(tmp_path / name, (when, when))
        lmc(name, folder=tmp_path)
    assert (tmp_path / "a.lmc").read_bytes() == (tmp_path / "b.lmc").read_bytes()


def test_special_bits_are_dropped(tmp_path: Path) -> None:
    source = tmp_path / "a"
    source.write_bytes(b"text")
    source.chmod(0o4755)
    lmc("a", folder=tmp_path)
    assert stat.S_IMODE((tmp_path / "a.lmc").stat().st_mode) == 0o755


def test_a_file_in_the_making_is_private(tmp_path: Path) -> None:
    source = tmp_path / "a"
    source.write_bytes(b"text")
    source.chmod(0o644)
    with files.target(
        str(tmp_path / "b"), like=source.stat(), replace=False, durable=False
    ) as file:
        (temporary,) = tmp_path.glob(".b.*.part")
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600
        file.write(b"x")
        assert not (tmp_path / "b").exists()
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o644


def test_the_umask_decides_without_a_source(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        with files.target(str(tmp_path / "b"), like=None, replace=False, durable=False):
            pass
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o640


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    old = tmp_path / "b"
    old.write_bytes(b"old")

    def fail_halfway() -> None:
        with files.target(str(old), like=None, replace=True, durable=True) as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_halfway()
    assert os.listdir(tmp_path) == ["b"]
    assert old.read_bytes() == b"old"


def test_a_file_that_appears_meanwhile_is_not_lost(tmp_path: Path) -> None:
    late = tmp_path / "b"
    with (
        pytest.raises(LmcError, match="exists already"),
        files.target(str(late), like=None, replace=False, durable=False),
    ):
        late.write_bytes(b"from somebody else")
    assert os.listdir(tmp_path) == ["b"]
    assert late.read_bytes() == b"from somebody else"


def test_a_source_that_was_replaced_is_not_removed(tmp_path: Path) -> None:
    source = tmp_path / "a"
    source.write_bytes(b"text")
    opened = source.stat()
    (tmp_path / "b").write_bytes(b"newer")
    (tmp_path / "b").rename(source)
    with pytest.raises(LmcError, match="replaced meanwhile"):
        files.remove_source(str(source), opened)
    assert source.read_bytes() == b"newer"


def test_rm_keeps_the_source_when_something_fails(tmp_path: Path) -> None:
    (tmp_path / "a.lmc").write_bytes(b"no lmc file")
    done = subprocess.run([LMC, "-qqd", "--rm", "a.lmc"], cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert os.listdir(tmp_path) == ["a.lmc"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"text")
    tmp_path.chmod(0o500)
    done = subprocess.run([LMC, "a"], cwd=tmp_path, check=False, capture_output=True, text=True)
    tmp_path.chmod(0o700)
    assert done.returncode == 1
    assert done.stderr == "lmc: a: a.lmc: permission denied\n"


def test_groups_that_cannot_be_kept_get_no_more_than_everybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "a"
    source.write_bytes(b"text")
    source.chmod(0o664)
    foreign = SimpleNamespace(
        **{name: getattr(source.stat(), name) for name in dir(source.stat()) if name[:3] == "st_"}
    )
    foreign.st_gid += 1

    def refuse(*_arguments: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "fchown", refuse)
    with files.target(
        str(tmp_path / "b"), like=cast(os.stat_result, foreign), replace=False, durable=False
    ):
        pass
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o644


def test_long_names(tmp_path: Path) -> None:
    name = "n" * 250
    (tmp_path / name).write_bytes(b"text")
    lmc(name, folder=tmp_path)
    assert (tmp_path / f"{name}.lmc").exists()


def test_names_that_are_no_text(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\xfe.bin")
    (tmp_path / name).write_bytes(b"text")
    lmc(name, folder=tmp_path)
    done = subprocess.run([LMC, "-l", f"{name}.lmc"], cwd=tmp_path, check=True, capture_output=True)
    assert rb"\udcff\udcfe.bin.lmc" in done.stdout


def test_a_folder_that_cannot_be_read_does_not_stop_the_others(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_bytes(b"text")
    (tmp_path / "c" / "x").unlink()
    (tmp_path / "c" / "x").symlink_to("../a/x")
    errors: list[OSError] = []
    found = files.expand(str(tmp_path), True, errors.append)
    assert next(found) == (str(tmp_path / "a" / "x"), True)
    (tmp_path / "b" / "x").unlink()
    (tmp_path / "b").rmdir()
    assert list(found) == []
    assert [error.filename for error in errors] == [str(tmp_path / "b")]


def test_output_in_a_poor_encoding(tmp_path: Path) -> None:
    (tmp_path / "naïve").write_bytes(b"text")
    lmc("naïve", folder=tmp_path)
    for arguments in (["--help"], ["-l", "naïve.lmc"], ["models", "--help"]):
        subprocess.run(
            [LMC, *arguments],
            cwd=tmp_path,
            env=os.environ | {"PYTHONIOENCODING": "ascii", "LC_ALL": "C.UTF-8"},
            check=True,
            stdout=subprocess.DEVNULL,
        )
