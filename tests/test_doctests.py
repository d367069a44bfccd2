"""The examples in docstrings are true. (`pytest --doctest-modules` cannot be used here: it would
import codecs/text.py as `codecs.text`, and the standard library has a `codecs`.)"""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

PACKAGES = ("lmc", "lmc.bench", "lmc.codecs", "lmc.models", "lmc.kernels")
MODULES = [
    *PACKAGES,
    *(
        module.name
        for package in PACKAGES
        for module in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}.")
        # The library for GPUs is named like a module, but is none.
        if not module.name.endswith(("__main__", "._cuda")) and module.name not in PACKAGES
    ),
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
