"""Corpora by name: where they come from, what is in them, and where they lie on this machine.

`corpora.json` has for each: archives, or the address that each file is at; files with sizes and
hashes, as far as they are known; the licence. Where a hash is not known it is left out, and what is
fetched is said to be not verified.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

from lmc.bench import synthetic
from lmc.errors import LmcError, Usage
from lmc.models import registry

Say = Callable[[str], None]
Entry = dict[str, Any]

SYNTHETIC = "synthetic"
TIMEOUT = 60  # seconds without a byte


def known() -> dict[str, Entry]:
    """By name."""
    table: dict[str, Entry] = json.loads(
        resources("lmc.bench").joinpath("corpora.json").read_text(encoding="utf-8")
    )
    table[SYNTHETIC] = {
        "about": "a little of every kind, made by rule: to try things, not to judge by",
        "licence": "none needed",
        "page": "",
        "archives": [],
        "files": [],
    }
    return table


def listing(as_json: bool) -> str:
    """All corpora, for people or for programs."""
    table = known()
    if as_json:
        return json.dumps({"corpora": table}, indent=2)
    lines = []
    for name, entry in table.items():
        count = f"{len(entry['files'])} files" if entry["files"] else ""
        sizes = [one.get("bytes") for one in entry["files"]]
        size = f"{sum(sizes):,} bytes" if sizes and all(sizes) else ""
        facts = ", ".join(part for part in (count, size, entry["licence"]) if part)
        lines += [f"{name:12}  {entry['about']}", f"{'':12}  {facts}"]
        lines += [f"{'':12}  {entry['page']}"] if entry["page"] else []
    return "\n".join(lines)


def locate(name: str, data: str | None, say: Say) -> list[str]:
    """Paths of the corpus's files or of its folder: in the folder `data` (or lmc's own), directly
    or in one of the corpus's name; fetched into it where they are not. Raises LmcError."""
    table = known()
    if name not in table:
        raise Usage(f"there is no corpus {name!r}", hint="lmc bench --corpus list shows them")
    entry = table[name]
    root = Path(data) if data else registry.home() / "corpora"
    if name == SYNTHETIC:
        synthetic.make(root / name)
        return [str(root / name)]
    found = here(name, entry, root)
    if found is None:
        fetch(name, entry, root / name, say)
        found = here(name, entry, root)
    if found is None:
        raise LmcError(f"{name}: what was fetched is not the corpus")
    verify(name, entry, found, say)
    return [str(path) for path in found]


def here(name: str, entry: Entry, root: Path) -> list[Path] | None:
    """Its files below `root`, in order, or None if it is not there as a whole."""
    for folder in (root / name, root):
        if entry["files"]:
            paths = [_below(folder, one["name"]) for one in entry["files"]]
            if None not in paths:
                return [path for path in paths if path]
        elif folder.name == name and folder.is_dir():
            found = sorted(folder.rglob(f"*{entry['suffix']}"))
            if found:
                return found
    return None


def _below(folder: Path, name: str) -> Path | None:
    direct = folder / name
    if direct.is_file():
        return direct
    return next((path for path in sorted(folder.glob(f"*/{name}")) if path.is_file()), None)


def verify(name: str, entry: Entry, paths: list[Path], say: Say) -> None:
    """Compare with the sizes and hashes that are known; says how many are not. Raises LmcError."""
    unknown = 0
    facts = {one["name"]: one for one in entry["files"]}
    for path in paths:
        one = facts.get(path.name, {})
        if "bytes" in one and path.stat().st_size != one["bytes"]:
            raise LmcError(f"{path} has not the {one['bytes']:,} bytes that {name} has")
        if "sha256" not in one:
            unknown += 1
        elif digest(path) != one["sha256"]:
            raise LmcError(f"{path} is not the file of {name}: its SHA-256 differs")
    if unknown:
        say(f"{name}: {unknown} of {len(paths)} files are not verified, their hashes are not known")


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(name: str, entry: Entry, folder: Path, say: Say) -> None:
    """Get the corpus and put it into a folder, which appears complete or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{name}-") as scratch:
        inside = Path(scratch) / name
        inside.mkdir()
        for archive in entry["archives"]:
            target = Path(scratch) / archive["url"].rpartition("/")[2]
            _get(name, archive["url"], target, say)
            if "bytes" in archive and target.stat().st_size != archive["bytes"]:
                raise LmcError(f"{archive['url']} has not the size that it should have")
            if "sha256" not in archive:
                say(f"{archive['url']} is not verified, its hash is not known")
            elif digest(target) != archive["sha256"]:
                raise LmcError(f"{archive['url']} is not what it should be: its SHA-256 differs")
            unpack(target, inside)
            target.unlink()
        if not entry["archives"]:
            for one in entry["files"]:
                _get(name, entry["each"] + one["name"], inside / one["name"], say)
        shutil.rmtree(folder, ignore_errors=True)
        inside.replace(folder)


def _get(name: str, url: str, target: Path, say: Say) -> None:
    say(f"fetching {url}")
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as source, target.open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise LmcError(
            f"{name} is not here, and {url} cannot be fetched: {reason}",
            hint="get it by other means, and name its folder with --data",
        ) from None


def unpack(archive: Path, folder: Path) -> None:
    """A zip or tar archive. Raises LmcError where it is none, or would write elsewhere."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as packed:
                packed.extractall(folder)
        else:
            with tarfile.open(archive) as unpacked:
                unpacked.extractall(folder, filter="data")
    except (tarfile.TarError, zipfile.BadZipFile, OSError) as error:
        raise LmcError(f"{archive.name} cannot be unpacked: {error}") from None
