"""Brings an index up to date with a gallery. It commits as it goes, so an interrupted run can be continued."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from vpmsearch.data.datasets import LabelledImage
from vpmsearch.data.reading import SceneReader
from vpmsearch.indexing.dry_run import NoWriter
from vpmsearch.indexing.paths import stored_path
from vpmsearch.indexing.pruning import Pruning
from vpmsearch.indexing.report import IndexReport
from vpmsearch.indexing.run import GalleryRun
from vpmsearch.model.extraction import Extractor
from vpmsearch.store.contract import Gallery

__all__ = ["IndexReport", "Pruning", "index_gallery", "look_at_gallery", "stored_path"]


def index_gallery(
    store: Gallery,
    extractor: Extractor,
    images: Sequence[LabelledImage],
    *,
    prune_below: Path | Pruning | None = None,
    clear_labels: bool = False,
    on_progress: Callable[[int], None] = lambda images: None,
    on_build: Callable[[int, int], None] = lambda done, total: None,
) -> IndexReport:
    """Index what is new or changed; files with the same path and bytes are not embedded again.

    Args:
        store: open, made for the extractor's weights.
        extractor: sees the images.
        images: the gallery; a path named twice counts once.
        prune_below: remove indexed images whose files have vanished: all of them below this folder; elsewhere only
            those whose bytes an image of this gallery has too. A `Pruning` names several places, and scenes of whose
            people the gallery names all.
        clear_labels: remove labels that the gallery does not know; else they stay.
        on_progress: called with the number of images newly done.
        on_build: called while a commit builds region indexes, with the number of vectors added so far and in all.

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
            # Keep what is done, even if the run was interrupted or failed. A commit that failed is tried again here.
            run.commit()
        if prune_below is not None:
            run.prune(_pruning(prune_below))
            run.commit()
        else:
            run.count_dead()
    store.refresh()
    return replace(run.report, images=len(store.snapshot), seconds=time.perf_counter() - start)


def look_at_gallery(
    store: Gallery,
    images: Sequence[LabelledImage],
    *,
    prune_below: Path | Pruning | None = None,
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
        run.prune(_pruning(prune_below))
    else:
        run.count_dead()
    return replace(run.report, images=len(store.snapshot), seconds=time.perf_counter() - start)


def _pruning(below: Path | Pruning) -> Pruning:
    return below if isinstance(below, Pruning) else Pruning([below])
