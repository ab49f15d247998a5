"""Opens SQLite and translates its errors. Uses sqlite3, not SQLAlchemy."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vpmsearch.errors import DiskFullWarning, StoreDamagedError, StoreError, StoreLockedError
from vpmsearch.store.folder.files import REMEDY, printable_line
from vpmsearch.system.disk import free_bytes, is_full
from vpmsearch.system.regular import SPARSE_RATIO
from vpmsearch.words import byte_size

_LONGEST = 1 << 28  # bytes of a value
_SPARSE_FREE = 1 << 30  # below this, holes do no harm: sparse copies turn emptied pages into holes
_BUSY_SECONDS = 30.0  # how long a transaction waits for another process's; commits take milliseconds
_SHARED_BYTES = 32 * 2**10  # the least that SQLite's index of the WAL takes
_LOOK = "SELECT count(*) FROM sqlite_master"
_TICK_NS = 50_000_000  # longer than the clock tick of any file system with times finer than a second
_DAMAGE = (
    "malformed",
    "not a database",
    "no such table",
    "no such column",
    "unsupported file format",
    "too big",
    "decode",
)


def check_files(path: Path) -> None:
    """Refuse a catalog with files that SQLite does not make, before SQLite opens, follows or writes to them.

    The files are not opened, because closing a file drops the locks of this process's other connections on it.

    Raises:
        StoreDamagedError: a file is a link, not regular or nearly all hole, or there is a rollback journal. An index
            never has a journal, and SQLite deletes any file that a journal names.
    """
    for suffix in ("", "-wal", "-shm", "-journal"):
        file = path.with_name(path.name + suffix)
        try:
            status = file.lstat()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StoreError(f"{file} cannot be opened ({error.strerror or error}); check its permissions") from error
        if suffix == "-journal":
            raise StoreDamagedError(f"{file} is no file of an index, which SQLite would act upon; move it away")
        stored = 512 * getattr(status, "st_blocks", 0)  # 0: the file system does not say
        if not stat.S_ISREG(status.st_mode):
            raise StoreDamagedError(f"{file} is no regular file, and no index has such a thing; {REMEDY}")
        if stored and status.st_size > max(_SPARSE_FREE, SPARSE_RATIO * stored):
            raise StoreDamagedError(f"nearly all of the {status.st_size} bytes of {file} are a hole; {REMEDY}")


def catalog_uri(path: Path, *, write: bool = False) -> str:
    """The SQLite URI to open a catalog.

    In a writable folder the mode is "rw", for readers too: they share the WAL's index in a file beside the catalog. In
    a read-only folder it is "ro". If no WAL is in use there, SQLite would still try to create one; then the mode is
    "immutable", which takes no locks. That is right for a folder that does not change, and the only possible mode. A
    full disk counts as a read-only folder, unless another process has that file open already.

    Args:
        write: for a writer, which needs room and gets an error without it.
    """
    uri = path.absolute().as_uri()
    wal, shared = path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")
    can_write = all(os.access(place, os.W_OK, effective_ids=True) for place in (path.parent, path))
    if can_write and (write or _has_room(shared)):
        return f"{uri}?mode=rw"
    if can_write:
        warnings.warn(
            f"the disk of {path.parent} is full: the index is read as from a read-only folder", DiskFullWarning, 2
        )
    # A live connection of somebody else keeps both files, if only empty ones.
    in_use = wal.exists() and (wal.stat().st_size > 0 or shared.exists())
    return f"{uri}?mode=ro" if in_use else f"{uri}?mode=ro&immutable=1"


def _has_room(shared: Path) -> bool:
    """Whether the file that readers share exists, or there is room for it."""
    try:
        if shared.stat().st_size >= _SHARED_BYTES:
            return True
    except OSError:
        pass
    return not is_full(shared.parent)


def unlocked_state(path: Path) -> tuple[object, ...] | None:
    """A state that changes if the catalog is changed while it is read; None if SQLite's locks prevent that.

    They do so in a writable folder. Elsewhere the state is the size and time of the catalog and its log.
    """
    uri = catalog_uri(path)
    if uri.endswith("?mode=rw"):
        return None
    here = [path, path.with_name(f"{path.name}-wal")]
    state = _looked_at(here)
    # Two changes within one tick of the file system's clock look like one.
    if time.time_ns() - max(moment for *_, moment in state) < _TICK_NS:
        time.sleep(_TICK_NS / 1e9)
        state = _looked_at(here)
    return (uri, *state)


def _looked_at(paths: list[Path]) -> list[tuple[int, int, int]]:
    """Number, size and time of change of files, zeros where there is none."""
    found = []
    for path in paths:
        try:
            status = path.stat()
            found.append((status.st_ino, status.st_size, status.st_mtime_ns))
        except OSError:
            found.append((0, 0, 0))
    return found


def connect(
    path: Path, *, write: bool = False, create: bool = False, foreign_keys: bool = True, fixed: bool = False
) -> sqlite3.Connection:
    """Open a catalog with the settings every connection has; transactions are the caller's (no implicit BEGIN).

    Args:
        create: make it. fixed: nobody changes it, so nothing is locked, and nothing made beside it.

    Raises:
        StoreDamagedError: as `check_files`. sqlite3.Error: it cannot be opened.
    """
    if not create:
        check_files(path)
    plain = path.absolute().as_uri()
    fixed_uri = f"{plain}?mode=ro&immutable=1"
    uri = f"{plain}?mode=rwc" if create else fixed_uri if fixed else catalog_uri(path, write=write)
    try:
        connection = _connected(uri, write=write or create, create=create, foreign_keys=foreign_keys)
        if uri.endswith("?mode=ro") and is_full(path.parent):
            connection.execute(_LOOK)  # SQLite opens the log with the first read
        return connection
    except sqlite3.OperationalError:
        if not uri.endswith("?mode=ro") or not is_full(path.parent):
            raise
        return _connected_to_copy(path, foreign_keys=foreign_keys)


def _connected_to_copy(path: Path, *, foreign_keys: bool) -> sqlite3.Connection:
    """Open a copy of a catalog that has commits in its log, for a place without room for SQLite's index of the log.

    The copy is in the folder for temporary files and is already unlinked when this returns.
    """
    with tempfile.TemporaryDirectory(prefix="vpmsearch-") as folder:
        copy = Path(folder) / path.name
        try:
            shutil.copyfile(path, copy)
            shutil.copyfile(path.with_name(f"{path.name}-wal"), copy.with_name(f"{path.name}-wal"))
        except OSError as error:
            raise StoreError(
                f"the disk of {path.parent} is full, and there is no room in {tempfile.gettempdir()} either "
                f"({error.strerror or error}); free some MB, or name a folder that has room by $TMPDIR"
            ) from error
        connection = _connected(f"{copy.as_uri()}?mode=rw", write=False, create=False, foreign_keys=foreign_keys)
        connection.execute(_LOOK)  # from here on it has every file open
        return connection


def _connected(uri: str, *, write: bool, create: bool, foreign_keys: bool) -> sqlite3.Connection:
    # Not bound to a thread: the garbage collector may close it in another.
    connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        if create:
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute(f"PRAGMA query_only = {'OFF' if write else 'ON'}")
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn what SQLite raises, wrapped by SQLAlchemy or not, into the tree of vpmsearch.errors, chained."""
    try:
        yield
    except Exception as error:
        cause = getattr(error, "orig", None) or error
        if isinstance(error, ValueError | TypeError | OverflowError):
            # SQLite's types are dynamic: a damaged row may hold text for a number, or bytes that are no text.
            raise StoreDamagedError(
                f"{path} holds values that no vpmsearch wrote ({printable_line(error)}); {REMEDY}"
            ) from error
        if not isinstance(cause, sqlite3.Error):
            raise
        raise _meaning(path, cause) from error


def _may_be_full(cause: sqlite3.Error) -> bool:
    """Whether an error is one of those by which SQLite also says that it could not make a file larger."""
    return isinstance(cause, sqlite3.OperationalError) and any(
        sign in str(cause) for sign in ("disk I/O error", "unable to open", "readonly")
    )


def _meaning(path: Path, cause: sqlite3.Error) -> StoreError:
    reason = printable_line(cause)
    if isinstance(cause, sqlite3.IntegrityError):
        if "image.path" in reason:
            return StoreError(
                f"{path.parent} already holds an image of one of these paths; remove the old one in the same commit"
            )
        return StoreError(f"{path} refused a change ({reason}); run `vpmsearch verify` on the index")
    if "locked" in reason:
        return StoreLockedError(f"{path} is kept busy by another process ({reason}); try again when it is done")
    if "is full" in reason or (_may_be_full(cause) and is_full(path.parent)):
        return StoreError(
            f"the disk of {path.parent} is full ({byte_size(free_bytes(path.parent))} free): {path} cannot be written "
            f"({reason}); free some MB there and repeat: removing images needs room too, until `vpmsearch compact`"
        )
    if any(sign in reason for sign in _DAMAGE):
        return StoreDamagedError(f"{path} is not a sound catalog ({reason}); {REMEDY}")
    return StoreError(
        f"{path} cannot be used ({reason}); check the disk and the permissions of the folder, "
        "or copy the whole folder to where it can be written"
    )
