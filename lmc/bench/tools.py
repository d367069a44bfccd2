"""The table of compressors: for each kind of files those that belong to it, at their settings.

A tool may be had in several ways, of which the first that is installed is taken: a package of
`pip install 'lmc[bench]'`, or a program of the system. What is not installed is named with what
would bring it.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from lmc.bench import bytes_tools, image_tools, jpeg_tools, lmc_tool, sound_tools, video_tools
from lmc.bench.content import CONTENTS
from lmc.bench.way import Way

BYTES = ("text", "bytes")
ALL = (*BYTES, "image", "jpeg", "audio", "video")


@dataclass(frozen=True, slots=True)
class Tool:
    """A compressor at one setting. modalities: what it is measured on. file: whether it codes and
    restores the file, byte for byte; else the pixels, samples or frames in it."""

    name: str
    setting: str
    modalities: tuple[str, ...]
    file: bool
    ways: tuple[Way, ...]

    @property
    def title(self) -> str:
        """What it is called in tables and in results."""
        return f"{self.name} {self.setting}".strip()

    def way(self) -> Way | None:
        """The first that is installed."""
        return next((way for way in self.ways if installed(way)), None)

    def restores(self, modality: str) -> str:
        """What of a file it restores: "file", "pixels", "samples" or "frames"."""
        return "file" if self.file else CONTENTS.get(modality, "file")


def installed(way: Way) -> bool:
    """Whether its modules and programs are here."""
    return all(importlib.util.find_spec(name) for name in way.modules) and all(
        shutil.which(name) for name in way.programs
    )


def _bytes(name: str, setting: str, *ways: Way, on: tuple[str, ...] = BYTES) -> Tool:
    return Tool(name, setting, on, True, ways)


def _media(modality: str, name: str, setting: str, *ways: Way) -> Tool:
    return Tool(name, setting, (modality,), False, ways)


b, i, j, s, v = bytes_tools, image_tools, jpeg_tools, sound_tools, video_tools
BASELINES: tuple[Tool, ...] = (
    _bytes("gzip", "-9", b.gzip()),
    _bytes("bzip2", "-9", b.bzip2()),
    _bytes("xz", "-9e", b.xz(), on=ALL),  # everywhere: what a packer of bytes makes of a file
    _bytes("zstd", "-3", b.zstd(3)),
    _bytes("zstd", "-19", b.zstd(19)),
    _bytes("zstd", "--ultra -22 --long", b.zstd_long()),
    _bytes("brotli", "-q 11 -w 24", b.brotli()),
    _bytes("bzip3", "-b 511", b.bzip3()),
    _bytes("ppmd", "-o16 -m256", b.ppmd()),
    _bytes("kanzi", "-9", b.kanzi(9)),
    _bytes("zpaq", "-m5", b.zpaq()),
    _media("image", "oxipng", "-o 4", i.oxipng(4)),
    _media("image", "optipng", "-o2", i.optipng()),
    _media("image", "webp", "lossless -m 6", i.webp(), i.cwebp()),
    _media("image", "jpegxl", "-e 7", i.jpegxl(7), i.cjxl(7)),
    _media("image", "jpegxl", "-e 9", i.jpegxl(9), i.cjxl(9)),
    _media("image", "flif", "-e", i.flif()),
    _media("image", "jpeg-ls", "", i.jpegls()),
    _bytes("jpegxl", "transcode", j.jpegxl(), on=("jpeg",)),
    _bytes("lepton", "", j.lepton(), on=("jpeg",)),
    _media("audio", "flac", "-8", s.flac_program(), s.coded_by_av("flac", "flac", "s16 s32")),
    _media(
        "audio",
        "wavpack",
        "-hhx6",
        s.wavpack_program(),
        s.coded_by_av("wavpack", "wv", "s16p s32p"),
    ),
    _media("audio", "alac", "", s.coded_by_av("alac", "mov", "s16p s32p")),
    _media("audio", "tta", "", s.coded_by_av("tta", "tta", "s16 s32")),
    _media("video", "h264", "x264 -qp 0", v.x264()),
    _media("video", "h265", "x265 lossless", v.x265()),
    _media("video", "ffv1", "level 3", v.ffv1()),
    _media("video", "av1", "svt lossless", v.av1()),
)
NAMES = (*dict.fromkeys(tool.name for tool in BASELINES), "lmc")


def lmc_level(level: int, threads: int) -> Tool:
    """lmc itself; threads: 0 for every core."""
    return Tool("lmc", f"-{level}", ALL, True, (lmc_tool.level(level, threads),))


def select(names: Sequence[str], levels: Sequence[int], threads: int) -> list[Tool]:
    """The table's tools of these names (all, if there are none), and lmc's levels."""
    wanted = names or NAMES
    found = [tool for tool in BASELINES if tool.name in wanted]
    if "lmc" in wanted:
        found += [lmc_level(level, threads) for level in levels]
    return found


def named(title: str, threads: int) -> Tool:
    """The tool of this title; raises StopIteration if the table has none."""
    if title.startswith("lmc -"):
        return lmc_level(int(title[5:]), threads)
    return next(tool for tool in BASELINES if tool.title == title)
