"""Names and modules that are imported at their first use, so that importing vpmsearch stays fast."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def names(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Make the `__getattr__` of a package (PEP 562).

    Args:
        package: its `__name__`. modules: public name -> the module that defines it.

    Returns:
        A function that imports a name and stores it in the package, so that Python calls it once for each name.
    """

    def getattr_(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(modules[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    return getattr_


class module:  # noqa: N801 (it is used like a module)
    """A module that is imported when one of its names is first used.

    Args:
        name: of the module. It pays for a package that is slow to import and that few commands need.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        # Not out of `sys.modules`, where it stands half made while another thread imports it: this waits for that.
        return getattr(importlib.import_module(self._name), name)
