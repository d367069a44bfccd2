"""Checkpoints of the Hugging Face hub, fetched with the package huggingface_hub.

Imported where one is wanted and nowhere else; the package also finds a cache, a mirror
(HF_ENDPOINT) and a login.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmc.errors import LmcError, ModelMissing, Unsupported, Usage
from lmc.models.checkpoint import INDEX

Progress = Callable[[str], None]

# What a Hugging Face directory consists of, as far as lmc reads it.
NEEDED = ("config.json", "tokenizer.json")
# Of several GGUF files the one that an int8 model loses least from; a larger one gains nothing.
BEST = ("Q8_0", "BF16", "F16", "F32", "Q6_K", "Q5_K_M", "Q4_K_M")
_ID = re.compile(r"([\w-][\w.-]*/[\w-][\w.-]*)(?::([\w.-]+\.gguf))?")


@dataclass(frozen=True)
class Fetched:
    """A checkpoint on this machine: a GGUF file or a directory, and where it comes from."""

    path: Path
    licence: str
    source: str


def is_id(name: str) -> bool:
    """Whether `name` looks like OWNER/NAME, or OWNER/NAME:FILE.gguf."""
    return _ID.fullmatch(name) is not None


def short_name(name: str) -> str:
    """What a model is called here if the user does not say: the last part of the id."""
    repository, file = _parts(name)
    return (file.removesuffix(".gguf") if file else repository.split("/")[1]).lower()


def _parts(name: str) -> tuple[str, str | None]:
    match = _ID.fullmatch(name)
    if match is None:
        raise Usage(
            f"{name!r} is no id of a repository", hint="OWNER/NAME, or OWNER/NAME:FILE.gguf"
        )
    return match[1], match[2]


def fetch(name: str, progress: Progress = lambda _line: None, bars: bool = False) -> Fetched:
    """Download the checkpoint `name`, or find it in the package's cache.

    `bars`: whether the package may draw progress bars. Raises Unsupported without the package, or
    where the repository has nothing that lmc reads; ModelMissing where it cannot be had.
    """
    repository, file = _parts(name)
    try:
        import huggingface_hub as package
        from huggingface_hub import utils
    except ImportError as error:
        raise Unsupported(
            f"fetching {repository} from Hugging Face needs a package",
            hint="pip install huggingface_hub, or download it by other means and import it",
        ) from error
    (utils.enable_progress_bars if bars else utils.disable_progress_bars)()
    try:
        found = package.HfApi().model_info(repository, files_metadata=True)
        sizes = {entry.rfilename: entry.size or 0 for entry in found.siblings or []}
        wanted = _choose(repository, sizes, file)
        licence = _licence(found)
        total = sum(sizes[name] for name in wanted)
        progress(f"{repository}: licence {licence}, {len(wanted)} files, {total / 1e6:,.1f} MB")
        paths = []
        for name in wanted:
            progress(f"{name} ({sizes[name] / 1e6:,.1f} MB)")
            paths.append(Path(package.hf_hub_download(repository, name, revision=found.sha)))
    except LmcError:
        raise
    except Exception as error:  # network, permission, missing repository: the library has dozens
        raise _missing(repository, error) from error
    path = paths[0] if wanted[0].endswith(".gguf") else paths[0].parent
    return Fetched(path, licence, f"{repository}@{found.sha[:12]}" if found.sha else repository)


def _choose(repository: str, sizes: dict[str, int], file: str | None) -> list[str]:
    """The files that lmc needs of a repository."""
    packed = sorted(name for name in sizes if name.endswith(".gguf") and "/" not in name)
    if file is not None:
        if file not in packed:
            raise ModelMissing(f"{repository} has no {file}", hint=_listed(packed))
        return [file]
    weights = sorted(name for name in sizes if re.fullmatch(r"model[\w.-]*\.safetensors", name))
    if weights and all(name in sizes for name in NEEDED):
        return [*NEEDED, *([INDEX] if INDEX in sizes else []), *weights]
    if not packed:
        lacking = [name for name in NEEDED if name not in sizes] or ["*.safetensors"]
        raise Unsupported(
            f"{repository} has neither {lacking[0]} nor a GGUF file: nothing to read",
            hint="lmc reads config.json, tokenizer.json and model*.safetensors, or GGUF files",
        )
    if len(packed) == 1:
        return packed
    for form in BEST:
        for name in packed:
            if name.upper().endswith(f"{form}.GGUF"):
                return [name]
    raise Usage(f"{repository} has several GGUF files: say which", hint=_listed(packed))


def _listed(names: list[str]) -> str:
    return "its GGUF files: " + (", ".join(names[:20]) or "none")


def _licence(found: Any) -> str:
    """What the repository's card says, else its tags."""
    card = found.card_data
    licence = card.get("license") if card is not None else None
    if licence == "other" and card.get("license_name"):
        licence = card.get("license_name")
    tags = [tag.split(":", 1)[1] for tag in found.tags or [] if tag.startswith("license:")]
    return str(licence or (tags or ["unknown"])[0])


def _missing(repository: str, error: Exception) -> ModelMissing:
    """An error of the library in one line."""
    kind = type(error).__name__
    if kind == "GatedRepoError":
        return ModelMissing(
            f"{repository} is for those who agreed to its terms",
            hint="agree on its page, then: hf auth login",
        )
    if kind == "RepositoryNotFoundError":
        return ModelMissing(f"Hugging Face has no {repository}, or hides it from strangers")
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return ModelMissing(f"cannot download {repository}: {lines[0] if lines else kind}")
