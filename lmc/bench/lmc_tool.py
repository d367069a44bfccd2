"""lmc itself, which always codes the file."""

from __future__ import annotations

import io
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import lmc
from lmc import codecs
from lmc.bench.content import Content
from lmc.bench.way import Way
from lmc.info import FrameInfo
from lmc.pipeline import cores


def level(number: int, threads: int) -> Way:
    def pack(content: Content) -> bytes:
        return lmc.compress(content.data, number, threads=threads, video=stated(content))

    def unpack(coded: bytes) -> bytes:
        return lmc.decompress(coded, threads=threads)

    command = f"lmc.compress(file, {number}, threads={threads})"
    return Way(command, version, pack, unpack, threads=cores(threads))


# What decides on the bytes that lmc writes, and on its speed.
CODING = ("codecs", "kernels", "models", "lmc/coder.py", "lmc/container.py", "lmc/pipeline.py")


def stated(content: Content) -> str:
    """Of frames without a header, what they are, as `lmc --video` wants to be told; else ""."""
    if content.modality != "video" or content.data.startswith(codecs.VIDEO):
        return ""
    return "{width}x{height}:{format}".format(**content.facts)


@cache
def version() -> str:
    """The version, and where lmc is a checkout the last commit that changed how it codes: between
    releases much changes."""
    folder = Path(lmc.__file__).parents[1]
    try:
        commit = _git(folder, "log", "-1", "--format=%h")
        changed = _git(folder, "status", "--porcelain")
    except (OSError, subprocess.CalledProcessError):
        return f"lmc {lmc.__version__}"
    if not commit:
        return f"lmc {lmc.__version__}"
    return f"lmc {lmc.__version__} ({commit}{'+' if changed else ''})"


def _git(folder: Path, *words: str) -> str:
    command = ["git", *words, "--", *CODING]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def about(coded: bytes) -> dict[str, Any]:
    """How a .lmc file is coded, and the model that its reader needs.

    methods: with what, as `lmc list` says. model: its name or "". model_bytes: of a model that has
    to be fetched; embedded_model_bytes: of one that comes with lmc.
    """
    from lmc.models import registry

    members = lmc.inspect(io.BytesIO(coded)).members
    frames = [frame for member in members for frame in member.frames]
    needed = {
        member.model_name
        for member in members
        if any(frame.method.startswith("network") for frame in member.frames)
    }
    found = [model for model in registry.installed() if model.name in needed]
    small = {path for frame in frames for path in _networks(frame)}
    return {
        "methods": sorted(
            {frame.picture or frame.sound or frame.video or frame.method for frame in frames}
        ),
        "model": "+".join(sorted([model.name for model in found] + [path.stem for path in small])),
        "model_bytes": sum(model.size_bytes for model in found if not model.embedded),
        "embedded_model_bytes": sum(model.size_bytes for model in found if model.embedded)
        + sum(path.stat().st_size for path in small),
    }


def _networks(frame: FrameInfo) -> list[Path]:
    """The file of the networks that pixels or samples were coded with, if any were."""
    from lmc.models.small import NONE, PHOTOS, SOUNDS, VIDEOS, Kind

    kind: Kind[Any]
    if frame.method == "video":
        from lmc.codecs import video

        kind, number = VIDEOS, video.Layout.from_params(frame.params).network
    elif frame.method == "audio":
        from lmc.codecs import audio

        kind, number = SOUNDS, audio.Layout.from_params(frame.params).network
    elif frame.method == "image":
        from lmc.codecs import image

        layout = image.Layout.from_params(frame.params)
        kind, number = PHOTOS, NONE if layout.way == image.DRAWN else layout.effort
    else:
        return []
    return [kind.path(number)] if number != NONE else []
