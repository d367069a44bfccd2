"""The models on this machine, and how to get one.

Models are files named <name>.safetensors. Some come with lmc, in models/data; the others are in the
folder `models` of lmc's data directory: $LMC_HOME, else $XDG_DATA_HOME/lmc, else
~/.local/share/lmc (%LOCALAPPDATA%\\lmc on Windows).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from threading import Lock
from typing import Any, cast

from lmc.errors import Corrupt, LmcError, ModelMissing, Usage
from lmc.models.card import WIRE_ID_BYTES, Card
from lmc.models.modelfile import Model, read, read_card

SUFFIX = ".safetensors"
EMBEDDED = Path(__file__).parent / "data"
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Known:
    """A model that `pull` can get: models/data/<name>.json.

    The recipe is stored, so that making the model needs no calibration and gives the `identity`
    stated here on every machine.
    """

    name: str
    licence: str
    source: str  # the Hugging Face repository that the weights come from
    package: str  # the PyPI release that carries them
    member: str  # their path in the package's wheel
    sha256: str  # of that member
    identity: str
    recipe: dict[str, Any]
    note: str  # the measured loss, for people
    delta: str = ""  # a file beside this one that changes the weights (lmc.models.delta)


@dataclass(frozen=True)
class Installed:
    """A model file: one that comes with lmc, or one in the data directory."""

    path: Path
    card: Card
    embedded: bool = False

    @property
    def name(self) -> str:
        """What people call it by."""
        return self.path.name.removesuffix(SUFFIX)

    @property
    def size_bytes(self) -> int:
        """Size of the file."""
        return self.path.stat().st_size


def home() -> Path:
    """lmc's data directory. It need not exist."""
    if os.environ.get("LMC_HOME"):
        return Path(os.environ["LMC_HOME"])
    if os.environ.get("XDG_DATA_HOME"):
        return Path(os.environ["XDG_DATA_HOME"]) / "lmc"
    if sys.platform == "win32" and os.environ.get("LOCALAPPDATA"):
        return Path(os.environ["LOCALAPPDATA"]) / "lmc"
    return Path.home() / ".local" / "share" / "lmc"


def _path(name: str) -> Path:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise Usage(f"{name!r} cannot be a model's name: letters, digits, '.', '_' and '-' only")
    embedded = EMBEDDED / (name + SUFFIX)
    return embedded if embedded.exists() else home() / "models" / (name + SUFFIX)


def _own_path(name: str) -> Path:
    """The path in the data directory. Raises Usage for the name of an embedded model."""
    path = _path(name)
    if path.parent == EMBEDDED:
        raise Usage(f"{name} comes with lmc: it can be neither replaced nor removed")
    return path


# --- what is here ---


def _candidates() -> Iterator[Installed]:
    names = {path.name for path in EMBEDDED.glob("*" + SUFFIX)}
    own = (home() / "models").glob("[!.]*" + SUFFIX)
    paths = [EMBEDDED / name for name in names] + [p for p in own if p.name not in names]
    for path in sorted(paths):
        try:
            yield Installed(path, read_card(path), path.parent == EMBEDDED)
        except LmcError:
            continue  # no model of this lmc: `verify` says what is wrong with it


def installed() -> list[Installed]:
    """The models that are installed, largest first."""
    found = list(_candidates())
    return sorted(found, key=lambda model: (-model.card.parameters, model.path.name))


def largest() -> Installed:
    """The model that compresses best by its size."""
    return installed()[0]


def _get_hint(name: str | None) -> str:
    name = name or next(iter(sorted(known())), "")
    return f"lmc models pull {name}"


def open_model(name: str) -> Model:
    """The installed model of this name. Raises ModelMissing, or Corrupt."""
    path = _path(name)
    if not path.exists():
        raise ModelMissing(
            f"the model {name} is not installed",
            hint=_get_hint(name) if name in known() else _get_hint(None),
        )
    return _opened(path)


def _opened(path: Path) -> Model:
    """Like `read`, but a file that has not changed since is not read again."""
    status = path.stat()
    key = (path, status.st_ino, status.st_size, status.st_mtime_ns)
    with _opening:  # frames ask side by side
        if _last.get("key") != key:
            _last.update(key=key, model=read(path))
        return cast(Model, _last["model"])


_last: dict[str, Any] = {}
_opening = Lock()


def find(wire_id: bytes) -> Model:
    """The installed model that a compressed file names. Raises ModelMissing."""
    for model in installed():
        if model.card.wire_id == wire_id:
            return _opened(model.path)
    for entry in known().values():
        if bytes.fromhex(entry.identity)[:WIRE_ID_BYTES] == wire_id:
            raise ModelMissing(
                f"the file needs the model {entry.name}, which is not installed",
                hint=_get_hint(entry.name),
            )
    raise ModelMissing(
        f"the file needs the model {wire_id.hex()}, which is not installed",
        hint="import the checkpoint that the file was made with: lmc models import",
    )


def name_of(wire_id: bytes) -> str | None:
    """The name of the model that a compressed file names, installed or known; else None."""
    names = {bytes.fromhex(e.identity)[:WIRE_ID_BYTES]: e.name for e in known().values()}
    names.update((model.card.wire_id, model.card.name) for model in _candidates())
    return names.get(wire_id)


def verify(name: str) -> Card:
    """Check the whole of an installed model. Raises ModelMissing, Corrupt or Unsupported."""
    model = open_model(name)
    model.verify()
    return model.card


def remove(name: str) -> None:
    """Delete an installed model. Raises ModelMissing."""
    try:
        _own_path(name).unlink()
    except FileNotFoundError as error:
        raise ModelMissing(f"the model {name} is not installed") from error


# --- what can be got ---


def known() -> dict[str, Known]:
    """The models that `pull` knows, by name."""
    data = files("lmc.models") / "data"
    entries = [
        Known(**json.loads(item.read_text("utf-8")))
        for item in data.iterdir()
        if item.name.endswith(".json")
    ]
    return {entry.name: entry for entry in entries}


def _install(name: str, make: Callable[[], tuple[Card, dict[str, Any]]]) -> Installed:
    from lmc.models.modelfile import write

    path = _own_path(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        card, tensors = make()
        write(path, card, tensors)
    except OSError as error:
        raise LmcError(f"cannot install {name} at {path}: {error.strerror or error}") from error
    return Installed(path, card)


def _download(entry: Known, folder: Path, progress: Progress) -> Path:
    """Fetch the package with pip and take the weights out of its wheel."""
    progress(f"downloading {entry.package}")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "-d", str(folder), entry.package]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        reason = (run.stderr.strip().splitlines() or ["pip failed"])[-1]
        raise ModelMissing(
            f"cannot download {entry.package}: {reason}",
            hint=f"or get {entry.source} from Hugging Face by other means and import it",
        )
    weights = folder / Path(entry.member).name
    for wheel in folder.glob("*.whl"):
        try:
            with (
                zipfile.ZipFile(wheel) as archive,
                archive.open(entry.member) as member,
                weights.open("wb") as out,
            ):
                shutil.copyfileobj(member, out, 1 << 20)
        except (zipfile.BadZipFile, KeyError) as error:
            raise Corrupt(f"{wheel.name} does not hold {entry.member}") from error
    return weights


def pull(
    name: str, progress: Progress = lambda _line: None, source: Path | None = None
) -> Installed:
    """Get a known model, or make it from `source`, the same weights already downloaded.

    Raises Usage for an unknown name, ModelMissing when it cannot be downloaded, Corrupt when the
    weights are not the known ones.
    """
    from lmc.models.checkpoint import Checkpoint
    from lmc.models.delta import Adapted
    from lmc.models.gguf import GgufCheckpoint
    from lmc.models.quantize import Recipe, quantize

    entry = known().get(name)
    if entry is None:
        raise Usage(f"there is no known model {name!r}", hint="known: " + ", ".join(known()))
    with tempfile.TemporaryDirectory(prefix="lmc-") as folder:
        path = source or _download(entry, Path(folder), progress)
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ModelMissing(f"cannot read {path}: {error.strerror}") from error
        if digest != entry.sha256:
            raise Corrupt(
                f"{path.name} is not the file that {name} is made from (SHA-256 {digest})",
                hint="another checkpoint can be imported under a name of its own",
            )

        def make() -> tuple[Card, dict[str, Any]]:
            checkpoint: Checkpoint = GgufCheckpoint(path)
            if entry.delta:
                checkpoint = Adapted(checkpoint, EMBEDDED / entry.delta)
            checkpoint.licence, checkpoint.source = entry.licence, entry.source
            card, tensors = quantize(checkpoint, Recipe(**entry.recipe), name, progress)
            if card.identity != entry.identity:
                raise LmcError(
                    f"{name} came out with identity {card.identity}, not {entry.identity}: "
                    "this machine's arithmetic differs"
                )
            return card, tensors

        model = _install(name, make)
    progress(entry.note)
    return model


def import_checkpoint(
    path: Path | str,
    name: str,
    progress: Progress = lambda _line: None,
    threads: int = 0,
    bars: bool = False,
    delta: Path | str | None = None,
) -> Installed:
    """Make a model from a GGUF file, a Hugging Face directory, or the id of a Hugging Face
    repository (lmc.models.hub), and report what its integers cost. Needs torch. `delta`: what
    lmc.models.train.adapt has changed the checkpoint by.

    The identity depends on the calibration, and so on this machine: hand on the model file, not
    the recipe to make it. Raises Usage, Unsupported, Corrupt or ModelMissing.
    """
    from importlib.resources import files as resources

    from lmc.models import hub
    from lmc.models.calibrate import calibrate
    from lmc.models.checkpoint import Checkpoint, HfCheckpoint
    from lmc.models.delta import Adapted
    from lmc.models.evaluate import compare
    from lmc.models.gguf import GgufCheckpoint
    from lmc.models.quantize import quantize

    _own_path(name)  # a bad name is told before the work
    if name in known():
        raise Usage(f"{name} is the name of a known model", hint="choose another name")
    place = Path(path)
    fetched: hub.Fetched | None = None
    if not place.exists():
        if not hub.is_id(str(path)):
            raise ModelMissing(f"there is no file or directory {path}")
        fetched = hub.fetch(str(path), progress, bars)
        place = fetched.path
    checkpoint: Checkpoint = HfCheckpoint(place) if place.is_dir() else GgufCheckpoint(place)
    if fetched:
        checkpoint.licence, checkpoint.source = fetched.licence, fetched.source
    if delta:
        checkpoint = Adapted(checkpoint, Path(delta))
        checkpoint.source += ", tuned"
    recipe = calibrate(checkpoint, progress)
    model = _install(name, lambda: quantize(checkpoint, recipe, name, progress))
    progress("comparing with the float model")
    text = (resources("lmc.models") / "data" / "calibration.txt").read_bytes()[:6000]
    try:
        progress(str(compare(checkpoint, recipe, read(model.path), text, threads)))
        progress(f"no sum can overflow; identity {model.card.identity}")
    except LmcError:
        model.path.unlink()  # the network refuses it
        raise
    return model
