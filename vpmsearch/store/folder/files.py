"""Opening the files of an index: tell one that is gone from one that cannot be opened just now."""

from __future__ import annotations

from pathlib import Path

from vpmsearch.errors import StoreDamagedError, StoreError


def printable_line(error: BaseException) -> str:
    """What an error says, on one line, without what a damaged file smuggled into it."""
    text = " ".join(str(error).split())[:300] or type(error).__name__
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def check_readable(path: Path) -> None:
    """Raise what explains best why a file cannot be read, before HDF5 or FAISS find words of their own.

    Raises:
        StoreDamagedError: it is missing. StoreError: it is there, but the system refuses (permissions, limits).
    """
    try:
        path.open("rb").close()
    except FileNotFoundError as error:
        raise StoreDamagedError(f"{path} is missing; restore the index from a copy or build it again") from error
    except OSError as error:
        raise StoreError(
            f"{path} cannot be opened ({error.strerror or error}); check its permissions, or run `vpmsearch compact` "
            "if too many files are open"
        ) from error
