"""The tree in the docstring is the tree."""

from __future__ import annotations

import inspect
import re

from lmc import errors


def test_the_tree_and_the_exit_codes() -> None:
    assert errors.__doc__ is not None
    drawn = dict(re.findall(r"(\w+) +(?:exit code )?(\d)[, ]", errors.__doc__.split("\n\n")[1]))
    kinds = {
        name: str(kind.exit_code)
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.LmcError)
    }
    assert drawn == kinds


def test_every_error_has_a_line_and_perhaps_a_hint() -> None:
    error = errors.TooMuchMemory(5 << 30, 4 << 30)
    assert str(error) == "decoding needs up to 5120 MiB of memory, the limit is 4096 MiB"
    assert "5120 MiB" in error.hint
    assert errors.Corrupt("x").hint == ""
    assert "newer" in errors.Unsupported("x").hint
    assert issubclass(errors.Truncated, EOFError)
