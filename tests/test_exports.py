"""`__all__` of the library is complete, sorted and true."""

from __future__ import annotations

import types

import lmc


def test_all_is_sorted() -> None:
    assert sorted(lmc.__all__) == lmc.__all__


def test_all_names_exist() -> None:
    for name in lmc.__all__:
        assert hasattr(lmc, name)


def test_nothing_public_is_missing() -> None:
    public = {
        name
        for name, value in vars(lmc).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert public == set(lmc.__all__)


def test_everything_public_is_documented() -> None:
    for name in lmc.__all__:
        value = getattr(lmc, name)
        if callable(value):
            assert value.__doc__, name
