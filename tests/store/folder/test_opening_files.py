"""What opens no file of vectors: counting, finding and removing images need the catalog alone."""

from __future__ import annotations

import dataclasses

import pytest

from vpmsearch.errors import StoreDamagedError
from vpmsearch.store import GalleryStore


def test_a_store_without_its_files_counts_and_finds_as_one_with_them(filled):
    """Whatever is asked; the files are opened when the snapshot is used."""
    whole = filled
    bare = GalleryStore.open(whole.path, files=False)
    assert bare._snapshot is None
    view = whole.snapshot
    assert bare.find() == view.image_ids.tolist()
    pid = next(record.pid for record in view.records_of(view.image_ids) if record.pid is not None)
    expected = [i for i, record in zip(view.image_ids.tolist(), view.records_of(view.image_ids), strict=True)
                if record.pid == pid]  # fmt: skip
    assert bare.find(pids=[pid]) == whole.find(pids=[pid]) == expected != []
    assert bare.live_files() == whole.live_files()
    assert dataclasses.asdict(bare.stats()) == dataclasses.asdict(whole.stats())
    assert bare.model_info == whole.model_info
    assert bare._snapshot is None
    assert len(bare.snapshot) == len(view)


def test_a_removal_needs_no_file_of_vectors(filled):
    """So a damaged index can still forget a person."""
    ids = filled.snapshot.image_ids.tolist()
    path = filled.path
    filled.close()
    for file in path.rglob("*.faiss"):
        file.unlink()  # not cut short: a store may still have it mapped
        file.write_bytes(b"gone")
    with GalleryStore.open(path, files=False) as store:
        with store.writer() as writer:
            assert writer.remove(ids[:1]) == 1
            writer.commit()
        assert store.find() == ids[1:]
    with pytest.raises(StoreDamagedError):
        GalleryStore.open(path)


@pytest.mark.parametrize("name", ["embeddings.h5", "images.bin", "region_3.faiss"])
@pytest.mark.parametrize("left", [None, b"", b"gone"])
def test_stats_of_a_damaged_index(filled, name, left):
    """They name the file, though they read only some of them."""
    path = next(filled.path.rglob(name))
    path.unlink()
    if left is not None:
        path.write_bytes(left)
    with GalleryStore.open(filled.path, files=False) as store, pytest.raises(StoreDamagedError, match=name):
        store.stats()
