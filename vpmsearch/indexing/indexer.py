"""Brings an index up to date with a gallery, committing as it goes: an interrupted run resumes where it was."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from vpmsearch.data.datasets import LabelledImage
from vpmsearch.data.reading import SceneReader
from vpmsearch.indexing.dry_run import NoWriter
from vpmsearch.indexing.paths import stored_path
from vpmsearch.indexing.report import IndexReport
from vpmsearch.indexing.run import GalleryRun
from vpmsearch.model.extraction import Extractor
from vpmsearch.store.contract import Gallery

__all__ = ["IndexReport", "index_gallery", "look_at_gallery", "stored_path"]


def index_gallery(
    store: Gallery,
    extractor: Extractor,
    images: Sequence[LabelledImage],
    *,
    prune_below: Path | None = None,
    clear_labels: bool = False,
    on_progress: Callable[[int], None] = lambda images: None,
    on_build: Callable[[int, int], None] = lambda done, total: None,
) -> IndexReport:
    """Index what is new or changed; files with the same path and bytes are not embedded again.

    Args:
        store: open, made for the extractor's weights.
        extractor: sees the images.
        images: the gallery; a path named twice counts once.
        prune_below: remove indexed images below this folder whose files have vanished; elsewhere, those of which an
            image of this gallery has the same bytes.
        clear_labels: take away the labels that the gallery does not know; else they stay.
        on_progress: told how many more images are dealt with.
        on_build: told, while a commit builds region indexes, how many vectors are in and how many there will be.

    Raises:
        ModelMismatchError: the store was made for other weights.
        StoreError: nothing more can be committed (a full disk, another writer); what was committed stays.
    """
    start = time.perf_counter()
    store.check_model(extractor.weights.info)
    with store.writer(on_build=on_build) as writer:
        store.refresh()  # under the lock: from here on nobody else commits
        run = GalleryRun(store, writer, images, on_progress, clear_labels)
        try:
            for batch in extractor.extract(run.requests()):
                run.take(batch)
        finally:
            # Interrupted or failed, what is done is kept; after a commit that failed this is its second chance.
            run.commit()
        if prune_below is not None:
            run.prune(prune_below)
            run.commit()
        else:
            run.count_dead()
    store.refresh()
    return replace(run.report, images=len(store.snapshot), seconds=time.perf_counter() - start)


def look_at_gallery(
    store: Gallery,
    images: Sequence[LabelledImage],
    *,
    prune_below: Path | None = None,
    clear_labels: bool = False,
    on_progress: Callable[[int], None] = lambda images: None,
) -> IndexReport:
    """What `index_gallery` would do; nothing is changed.

    An image that would be embedded is decoded, as files that cannot be are rejected.
    """
    start = time.perf_counter()
    store.refresh()
    run = GalleryRun(store, NoWriter(), images, on_progress, clear_labels)
    with SceneReader(1) as reader:
        for request in run.requests():
            run.would_take(request, reader)
    if prune_below is not None:
        run.prune(prune_below)
    else:
        run.count_dead()
    return replace(run.report, images=len(store.snapshot), seconds=time.perf_counter() - start)
