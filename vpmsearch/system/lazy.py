"""Names and modules that are imported when they are first asked for, so that importing what uses them costs nothing."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def names(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Make a package's `__getattr__` (PEP 562).

    Args:
        package: its `__name__`. modules: public name -> the module that defines it.

    Returns:
        A function that imports a name and leaves it in the package, so that Python asks once.
    """

    def getattr_(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(modules[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    return getattr_


class module:  # noqa: N801 (used as a module is)
    """A module that is imported when the first of its names is asked for.

    Args:
        name: of a package that takes long to import and that few commands need.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.modules.get(self._name) or importlib.import_module(self._name), name)
