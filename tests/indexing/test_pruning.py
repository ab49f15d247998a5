"""Which images and notes a run may remove."""

from __future__ import annotations

import os

import pytest

from vpmsearch.indexing.paths import rejected_path, stored_path
from vpmsearch.indexing.pruning import Pruning


@pytest.mark.parametrize("name", [b"sound.jpg", b"caf\xe9.jpg"])
def test_notes_on_files_of_other_shares_stay(tmp_path, name):
    """Their names are escaped where they are not UTF-8, as the catalog escapes them."""
    path = tmp_path / os.fsdecode(name)
    noted = rejected_path(stored_path(path))
    assert Pruning([tmp_path]).covers(noted)
    assert not Pruning([tmp_path], named=[path]).covers(noted)
