"""MARS's lists of tracklets: info/test_name.txt, info/tracks_test_info.mat and info/query_IDX.mat."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vpmsearch.data.layout import Tracklets
from vpmsearch.data.mat_files import mat_numbers
from vpmsearch.errors import DataError
from vpmsearch.words import printable


def tracked_names(root: Path, lists: Tracklets) -> Iterator[tuple[str, int, int, str]]:
    """The images of the tracklets that ask, or of the others, in the order of the lists.

    Yields:
        An image's name, its tracklet's pid (−1 is junk, 0 a distractor) and camera, and where that stands.

    Raises:
        DataError: a file is damaged or names what is not there, or scipy, which reads .mat files, is not installed.
    """
    try:
        names = (root / lists.names).read_text(encoding="utf-8-sig").split()
    except ValueError as error:
        raise DataError(f"{printable(root / lists.names)} is not UTF-8 text; unpack info again") from error
    file = root / lists.table
    table = mat_numbers(file)
    if table.ndim != 2 or table.shape[1] != 4:
        raise DataError(f"{printable(file)} has no rows of four numbers (first, last, pid, camera); unpack info again")
    if lists.queries:
        asking = mat_numbers(root / lists.queries).ravel()
        if asking.size and not 1 <= asking.min() <= asking.max() <= len(table):
            raise DataError(f"{printable(root / lists.queries)} names rows that {lists.table} does not have")
        rows = np.isin(np.arange(1, len(table) + 1), asking) == lists.asks
    else:
        rows = np.ones(len(table), dtype=bool)
    for row in np.flatnonzero(rows).tolist():
        first, last, pid, camid = table[row].tolist()
        where = f"{printable(file)}, row {row + 1}"
        if not 1 <= first <= last <= len(names):
            raise DataError(f"{where}: lines {first} to {last} of {lists.names}, which has {len(names)}")
        for name in names[first - 1 : last]:
            yield name, pid, camid, where
