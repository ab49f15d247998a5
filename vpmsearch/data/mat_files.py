"""Reads MATLAB's .mat files of versions 4 to 7 by scipy, which `vpmsearch[mat]` installs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vpmsearch.errors import DataError
from vpmsearch.types import Int64
from vpmsearch.words import printable


def mat_values(file: Path, name: str | None = None) -> dict[str, Any]:
    """The variables of a .mat file, or only the one of a name.

    Raises:
        DataError: the file is none, has no such variable, or scipy is not installed.
    """
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise DataError(f"{printable(file)} needs scipy: pip install 'vpmsearch[mat]'") from error
    try:
        found = loadmat(file, variable_names=None if name is None else [name])
    except (OSError, MemoryError):
        raise
    except Exception as error:  # whatever a damaged file makes scipy raise: it has no class of its own for that
        raise DataError(f"{printable(file)} cannot be read as a .mat file ({error}); unpack it again") from error
    values = {called: value for called, value in found.items() if not called.startswith("__")}
    if name is not None and name not in values:
        raise DataError(f"{printable(file)} holds no variable {name}; unpack it again")
    return values


def mat_numbers(file: Path) -> Int64:
    """The one matrix of whole numbers in a .mat file, whatever it is called there.

    Raises:
        DataError: as `mat_values`, or it holds no such matrix.
    """
    matrices = [value for value in mat_values(file).values() if is_numbers(value)]
    if len(matrices) != 1 or not are_whole(matrices[0]):
        raise DataError(f"{printable(file)} holds no single matrix of whole numbers; unpack it again")
    return whole(matrices[0])


def is_numbers(value: Any) -> bool:
    """Whether a value is an array of real numbers."""
    return isinstance(value, np.ndarray) and value.dtype.kind in "iuf"


def are_whole(value: Any) -> bool:
    """Whether all numbers of an array are finite and whole."""
    return bool((np.isfinite(value) & (value == np.round(value))).all())


def whole(value: Any) -> Int64:
    """Whole numbers as integers, in the array's shape."""
    numbers: Int64 = value.astype(np.int64)
    return numbers
