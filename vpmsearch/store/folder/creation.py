"""Makes a new index in an empty folder, all of it or nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

from vpmsearch.errors import StoreError
from vpmsearch.store.folder import catalog as catalogs
from vpmsearch.store.folder.catalog import FILE_NAME
from vpmsearch.store.folder.files import FOLDER_NAME
from vpmsearch.store.folder.locking import LOCK_NAME
from vpmsearch.store.values import StoredModel
from vpmsearch.system.atomic import sync_folder

_NEW_CATALOG = f".new-{FILE_NAME}"


def create_index(folder: Path, model: StoredModel) -> None:
    """Make an index in an empty folder. The catalog gets its name only when it is complete. The caller holds the writer
    lock.

    Raises:
        StoreError: there is an index already, or the folder holds other things. OSError: it cannot be written.
    """
    if (folder / FILE_NAME).exists():
        raise StoreError(f"there is an index at {folder} already; open it, or choose another folder")
    strangers = [entry.name for entry in folder.iterdir() if not _is_ours(entry)]
    if strangers:
        raise StoreError(f"{folder} is not empty (it holds {sorted(strangers)[0]}); choose an empty or new folder")
    for left in folder.glob(f"{_NEW_CATALOG}*"):
        left.unlink()
    (folder / FOLDER_NAME).mkdir(exist_ok=True)
    new = folder / _NEW_CATALOG
    try:
        catalogs.create(new, model)
        new.rename(folder / FILE_NAME)
    except BaseException:
        if not (folder / FILE_NAME).exists():  # an interruption may come after the renaming
            for left in folder.glob(f"{_NEW_CATALOG}*"):
                left.unlink(missing_ok=True)
            shutil.rmtree(folder / FOLDER_NAME, ignore_errors=True)
        raise
    sync_folder(folder)
    sync_folder(folder.absolute().parent)


def _is_ours(entry: Path) -> bool:
    """Whether a file in a folder without a catalog was left by an interrupted `create`."""
    if entry.name == FOLDER_NAME:
        return not entry.is_symlink() and entry.is_dir() and not any(entry.iterdir())
    return entry.name == LOCK_NAME or entry.name.startswith(_NEW_CATALOG)
