"""argv -> Options, without touching any file."""

from __future__ import annotations

import click
import pytest

from lmc.cli import ModelOptions, Options, parse
from lmc.codecs.base import DEFAULT_LEVEL


def options(line: str) -> Options:
    parsed = parse(line.split())
    assert isinstance(parsed, Options)
    return parsed


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a", Options("compress", ("a",))),
        ("compress a b", Options("compress", ("a", "b"))),
        ("", Options("compress", ("-",))),
        ("-", Options("compress", ("-",))),
        ("-d a.lmc", Options("decompress", ("a.lmc",))),
        ("decompress a.lmc", Options("decompress", ("a.lmc",))),
        ("-dc", Options("decompress", ("-",), output="-")),
        ("-dcf a", Options("decompress", ("a",), output="-", force=True)),
        ("-t a", Options("test", ("a",))),
        ("test -v a", Options("test", ("a",), verbose=1)),
        ("-l --json a", Options("list", ("a",), json=True)),
        ("-9 a", Options("compress", ("a",), level=9)),
        ("-1kf a", Options("compress", ("a",), level=1, source="keep", force=True)),
        ("-0 a", Options("compress", ("a",), level=0)),
        ("a -3", Options("compress", ("a",), level=3)),
        ("--fast a", Options("compress", ("a",), level=1)),
        ("--best a", Options("compress", ("a",), level=9)),
        ("a -o b", Options("compress", ("a",), output="b")),
        ("a -ob", Options("compress", ("a",), output="b")),
        ("a b -o -", Options("compress", ("a", "b"), output="-")),
        ("--rm a", Options("compress", ("a",), source="remove")),
        ("-T2 a", Options("compress", ("a",), threads=2)),
        ("-m tiny a", Options("compress", ("a",), model="tiny")),
        ("-d --memory 512M a", Options("decompress", ("a",), memory=512 << 20)),
        ("--frame-size 1MiB a", Options("compress", ("a",), frame_size=1 << 20)),
        ("--lane-size 8K a", Options("compress", ("a",), lane_size=8 << 10)),
        ("--window 512 a", Options("compress", ("a",), window=512)),
        ("--codec bytes -9 a", Options("compress", ("a",), level=9, codec="bytes")),
        ("-r -qq d", Options("compress", ("d",), recursive=True, quiet=2)),
        ("-S .x a", Options("compress", ("a",), suffix=".x")),
        # After `--`, and anywhere but in front, a word is a file.
        ("-- -d", Options("compress", ("-d",))),
        ("-- list", Options("compress", ("list",))),
        ("./list", Options("compress", ("./list",))),
        ("-k list", Options("compress", ("list",), source="keep")),
        ("list list", Options("list", ("list",))),
    ],
)
def test_meaning(line: str, expected: Options) -> None:
    assert options(line) == expected


def test_the_default_level_is_the_librarys() -> None:
    assert options("a").level == DEFAULT_LEVEL


@pytest.mark.parametrize(
    ("line", "verb"),
    [
        ("-d -t -l a", "list"),
        ("-l -t -d a", "decompress"),
        ("-dt a", "test"),
        ("-td a", "decompress"),
        ("-d -z a", "compress"),
        ("-d -l --decompress a", "decompress"),
    ],
)
def test_of_several_operations_the_last_wins(line: str, verb: str) -> None:
    assert options(line).verb == verb


def test_of_several_choices_the_last_wins() -> None:
    assert options("-1 -9 a").level == 9
    assert options("-9 --fast a").level == 1
    assert options("-k --rm a").source == "remove"
    assert options("--rm -k a").source == "keep"


@pytest.mark.parametrize(
    "line",
    [
        "--nonsense a",
        "-T x a",
        "-T -1 a",
        "-c -o b a",
        "-o b a c",
        "-r -o b a",
        "--rm -c a",
        "--memory lots a",
        "--memory -1 a",
        "--json -c a",
        "--json",
        "decompress --json -",
        "-S / a",
        "-S . a",
        "decompress -9 a",
        "list -o b a",
    ],
)
def test_nonsense_is_refused(line: str) -> None:
    with pytest.raises(click.UsageError):
        parse(line.split())


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("models list --json", ModelOptions("list", json=True)),
        ("models pull a b", ModelOptions("pull", ("a", "b"))),
        ("models import dir --name x", ModelOptions("import", ("dir",), name="x")),
        ("models import f.gguf --delta d", ModelOptions("import", ("f.gguf",), delta="d")),
        ("models verify", ModelOptions("verify")),
        ("models rm -q a", ModelOptions("rm", ("a",), quiet=1)),
    ],
)
def test_models(line: str, expected: ModelOptions) -> None:
    assert parse(line.split()) == expected


def test_options_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        options("a").level = 3  # type: ignore[misc]
