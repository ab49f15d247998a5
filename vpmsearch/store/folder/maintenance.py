"""`verify` finds damage in an index. `repair` rebuilds the files that can be made from others."""

from __future__ import annotations

import os
from pathlib import Path

from vpmsearch.errors import StoreDamagedError
from vpmsearch.store.folder.label_keeping import complete
from vpmsearch.store.folder.leftovers import remove_unreferenced
from vpmsearch.store.folder.locking import writer_lock
from vpmsearch.store.folder.opening import open_catalog
from vpmsearch.store.folder.reader import Reader
from vpmsearch.store.folder.rewriting import rewrite
from vpmsearch.store.folder.verify import Problem, check
from vpmsearch.store.values import VerifyReport

_ATTEMPTS = 3


def verify(path: str | os.PathLike[str]) -> VerifyReport:
    """Check every file of an index against its checksum and against the other files. Damage is reported, never raised.

    Folders that an interrupted writer left among the segments are not damage: the next writer deletes them.

    Raises:
        StoreNotFoundError: there is no index. StoreVersionError: it needs `vpmsearch upgrade`.
    """
    images, problems = _problems(Path(path))
    return VerifyReport(not problems, images, tuple(problem.text for problem in problems))


def _problems(folder: Path) -> tuple[int, list[Problem]]:
    images, problems = 0, list[Problem]()

    def files(reader: Reader) -> tuple[object, ...]:
        return reader.segments(), reader.label_files()

    def look(reader: Reader) -> tuple[int, list[Problem], tuple[object, ...]]:
        return reader.counts()[0], check(folder, reader), files(reader)

    for _ in range(_ATTEMPTS):
        try:
            catalog = open_catalog(folder)
            images, problems, seen = catalog.ask(look)
            if not problems or catalog.ask(files) == seen:
                break
            # A merge may have replaced the segment during the check, or a change of labels its file of them.
        except StoreDamagedError as error:
            return 0, [Problem(str(error))]
    return images, problems


def repair(path: str | os.PathLike[str]) -> VerifyReport:
    """Rebuild damaged files that follow from the catalog and the embeddings, mainly region indexes.

    Returns:
        The remaining problems.

    Raises:
        StoreLockedError: somebody writes. StoreError: the disk is full. StoreVersionError: an older vpmsearch wrote the
            index, and it needs repair. Otherwise as `verify`.
    """
    folder = Path(path)
    _, problems = _problems(folder)
    mendable = {problem.repairable for problem in problems if problem.repairable is not None}
    labels = {problem.labels for problem in problems if problem.labels is not None}
    if mendable or labels:
        catalog = open_catalog(folder)
        with writer_lock(folder):
            catalog.check_writable()
            with catalog.read() as reader:
                here = [segment_id for segment_id in reader.segments() if segment_id in mendable]
                remove_unreferenced(folder, reader.segments())
            for segment_id in here:
                try:
                    rewrite(folder, catalog, [segment_id], catalog.next_ids()[1])
                except StoreDamagedError:
                    continue  # its embeddings are damaged too, which the report says
            if labels:
                complete(folder, catalog, labels)
    return verify(folder)
