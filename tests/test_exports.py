"""`__all__` of the library is complete and true. (That it is sorted is a matter of the linter.)"""

from __future__ import annotations

import types

import lmc


def test_all_names_exist_once() -> None:
    assert len(set(lmc.__all__)) == len(lmc.__all__)
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
