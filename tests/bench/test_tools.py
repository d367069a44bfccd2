"""Every tool of the table that is installed, on content that it takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lmc.bench import content, lmc_tool, synthetic, tools
from lmc.bench.content import Content
from lmc.bench.way import NotTaken

JPEG = Path(__file__).parents[1] / "codecs" / "jpeg" / "420.jpg"
CONTENTS = {
    "text": [synthetic.prose(500)],
    "bytes": [synthetic.table(300)],
    "image": [
        content.png(synthetic.pixels(24, 40)),
        content.png(synthetic.pixels(24, 40)[..., :1]),
        content.png(synthetic.pixels(24, 40).astype(np.uint16) * np.uint16(250)),
        content.png(np.concatenate([synthetic.pixels(24, 40)] * 2, 2)[..., :4]),
    ],
    "jpeg": [JPEG.read_bytes()],
    "audio": [
        content.wav(synthetic.tone(3000, 1), 16, 8000),
        content.wav(synthetic.tone(3000, 2), 16, 44100),
        content.wav(synthetic.tone(3000, 2) * np.int32(200), 24, 44100),
        content.wav(synthetic.tone(3000, 1) >> np.int32(8), 8, 8000),
    ],
    "video": [synthetic.clip(4, 48, 64)],
}
CASES = [
    (tool, modality, number)
    for tool in [*tools.BASELINES, tools.lmc_level(2, 1)]
    for modality in tool.modalities
    for number in range(len(CONTENTS[modality]))
]


@pytest.mark.parametrize(
    ("tool", "modality", "number"),
    CASES,
    ids=[f"{tool.title}-{modality}-{number}" for tool, modality, number in CASES],
)
def test_what_is_coded_comes_back(tool: tools.Tool, modality: str, number: int) -> None:
    found = content.load(CONTENTS[modality][number], "")
    assert found.modality == modality
    ways = [way for way in tool.ways if tools.installed(way)]
    if not ways:
        pytest.skip(f"not installed: {' or '.join(way.get for way in tool.ways)}")
    for way in ways:
        assert way.version()
        try:
            coded = way.pack(found)
        except NotTaken:
            assert number > 0  # the plainest content is taken by all
            continue
        assert same(tool, found, way.unpack(coded))


def same(tool: tools.Tool, found: Content, again: object) -> bool:
    if tool.restores(found.modality) == "file":
        return again == found.data
    assert found.samples is not None
    assert isinstance(again, np.ndarray)
    if found.modality == "image":
        return content.same_pixels(found.samples, again)
    return np.array_equal(found.samples, again)


def test_the_table_is_sound() -> None:
    titles = [tool.title for tool in tools.BASELINES]
    assert len(set(titles)) == len(titles)
    for tool in tools.BASELINES:
        assert tool.ways
        assert tools.named(tool.title, 1) == tool
        for way in tool.ways:
            assert way.get or not (way.modules or way.programs)
    assert {name for tool in tools.BASELINES for name in tool.modalities} == set(content.MODALITIES)


def test_the_extra_brings_what_is_named() -> None:
    import tomllib

    setup = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
    extra = {line.split(">")[0] for line in setup["project"]["optional-dependencies"]["bench"]}
    named = {
        way.get.removeprefix("pip: ")
        for tool in tools.BASELINES
        for way in tool.ways
        if way.get.startswith("pip: ")
    }
    assert named == extra


def test_selection() -> None:
    chosen = tools.select(["zstd", "lmc"], [1, 6], 2)
    assert [tool.title for tool in chosen] == [
        "zstd -3",
        "zstd -19",
        "zstd --ultra -22 --long",
        "lmc -1",
        "lmc -6",
    ]
    assert len(tools.select([], [2], 0)) == len(tools.BASELINES) + 1


def test_lmc_is_told_what_raw_frames_are() -> None:
    frames = synthetic.clip(2, 48, 64).replace(b"FRAME\n", b"").partition(b"\n")[2]
    found = content.load(frames, "clip_64x48.yuv")
    assert found.modality == "video"
    way = tools.lmc_level(2, 1).ways[0]
    coded = way.pack(found)
    assert way.unpack(coded) == frames
    assert any("64x48" in method for method in lmc_tool.about(coded)["methods"])
