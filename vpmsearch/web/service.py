"""An index and its model as many requests share them. Knows no HTTP; all of it may be called from several threads."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from vpmsearch.data.images import decode_image, hash_of, to_array
from vpmsearch.errors import ModelMismatchError, VpmsearchError
from vpmsearch.model.extraction import Extractor, spread_of
from vpmsearch.search.itself import NOWHERE, Answered, Source, search_others
from vpmsearch.search.judged import judged
from vpmsearch.search.open import searcher
from vpmsearch.search.queries import only_regions
from vpmsearch.search.tracks import by_track as nearest_tracks
from vpmsearch.search.verdict import load_calibration, notice_of
from vpmsearch.store import Gallery
from vpmsearch.store.calibration_file import FILE_NAME as CALIBRATION_NAME
from vpmsearch.types import RegionFeatures, SearchFilter
from vpmsearch.web.pictures import PICTURE, SCENE, THUMBNAIL, Box, cropped, jpeg, read_stored, read_whole
from vpmsearch.web.problems import problem_of
from vpmsearch.web.recent import Recent
from vpmsearch.web.state import Found, Photograph, View

KEPT_PHOTOGRAPHS, KEPT_THUMBNAILS = 128, 4096


class SearchService:
    """Answers from the newest commit that `refresh` has seen.

    Args:
        store: the index, open. extractor: of the weights that it was built with. max_pixels: of an upload.

    Raises:
        ModelMismatchError: the weights are others.
    """

    def __init__(self, store: Gallery, extractor: Extractor, *, max_pixels: int) -> None:
        store.check_model(extractor.weights.info)
        self.store, self.extractor, self.max_pixels = store, extractor, max_pixels
        self.problem = ""
        self._calibrated_at = self._calibration_time()
        self._view = self._look()
        self._model = threading.Lock()
        self._refreshing = threading.Lock()
        self._photographs: Recent[Photograph] = Recent(KEPT_PHOTOGRAPHS)
        self._thumbnails: Recent[bytes] = Recent(KEPT_THUMBNAILS)

    @property
    def view(self) -> View:
        """The state to answer from; hold it for as long as one answer takes."""
        return self._view

    def refresh(self) -> bool:
        """See what was committed since; True if there was anything. Where that fails, `problem` says why."""
        with self._refreshing:
            try:
                self.store.refresh()
                calibrated_at = self._calibration_time()
                if self.store.snapshot is self._view.snapshot and calibrated_at == self._calibrated_at:
                    self.problem = ""
                    return False
                ours, theirs = self.extractor.weights.info.fingerprint, self.store.snapshot.model_info.fingerprint
                if ours != theirs:
                    raise ModelMismatchError("the index was built anew with other weights; start the server again")
                self._view = self._look()
                self._calibrated_at = calibrated_at
            except (VpmsearchError, OSError) as error:
                self.problem = self.problem_of(error)[1] if isinstance(error, VpmsearchError) else str(error.strerror)
                return False
            except Exception as error:  # a fault of ours: it is told, and looked again later
                self.problem = self.problem_of(error)[1]
                return False
            self.problem = ""
            return True

    def problem_of(self, error: Exception) -> tuple[int, str]:
        """Status and text of an error, for whoever asked: nothing of where the index and the images are."""
        return problem_of(error, {str(self.store.path): "the index", self._view.folder: ""})

    def _look(self) -> View:
        engine = searcher(self.store)
        snapshot, info = engine.snapshot, engine.snapshot.model_info
        calibration = load_calibration(self.store, info.fingerprint, info.threshold)
        return View(
            engine,
            len(snapshot),
            tuple(snapshot.camids()),
            tuple(snapshot.attribute_names()),
            snapshot.captured(),
            snapshot.folder(),
            calibration,
            notice_of(self.store, calibration),
        )

    def _calibration_time(self) -> int:
        if not isinstance(self.store.path, Path):
            return 0  # on a server it is a commit
        try:
            return (self.store.path / CALIBRATION_NAME).stat().st_mtime_ns
        except OSError:
            return 0

    def see(self, data: bytes, box: Box | None) -> Photograph:
        """What the model sees in the bytes of an image file, or in a part of it.

        Raises:
            ImageError: the bytes are no image that can be used. FeatureError: the model's output is not finite.
        """
        content = hash_of(data)
        return self._photographs.get((content, box), lambda: self._see(self._decode(data, box), box, content))

    def see_stored(self, image_id: int, box: Box | None) -> Photograph:
        """What the model sees in an image of the index, or in a part of it.

        Raises:
            StoreError: it is not in the index. ImageError: its file is gone or has changed.
        """
        record = self.view.record(image_id)
        key = ("stored", image_id, record.content_hash, box)
        return self._photographs.get(key, lambda: self._see(read_stored(record), box, record.content_hash))

    def stored_features(self, view: View, image_id: int) -> RegionFeatures:
        """The features that the index holds of an image: a query that needs no model and no file.

        Raises:
            StoreError: it is not in the index.
        """
        return view.snapshot.features_of([image_id])

    def search(
        self,
        view: View,
        query: RegionFeatures,
        *,
        offset: int,
        limit: int,
        exact: bool,
        only: SearchFilter,
        regions: tuple[int, ...] | None,
        source: Source = NOWHERE,
        exclude_self: bool = False,
        by_track: bool = False,
        fill: bool = False,
        refused: Sequence[int] = (),
        nobody: str = "",
    ) -> Found:
        """The matches ranked offset + 1 to offset + limit.

        Args:
            source: what the query was made of: never its own match. exclude_self: leave it out of the ranks.
            by_track: images of one track are one match. fill: see `vpmsearch.search.fill`. refused: images to leave
            out. nobody: why the photographs show no person, or "".

        Raises:
            FeatureError: no such region.
        """
        k = offset + limit + 1  # one more says whether there is another page

        def nearest(count: int) -> Answered:
            return search_others(
                view.engine,
                query,
                [source],
                count,
                exact,
                exclude_self=exclude_self,
                filter=only,
                regions=regions,
                fill=fill,
                refused=refused,
            )[0]

        images: tuple[int, ...] = ()
        if by_track:
            tracked = nearest_tracks(view.snapshot, k, nearest)
            answered, images = tracked.answered, tracked.images
        else:
            answered = nearest(k)
        query_seen, info = only_regions(query, regions), view.snapshot.model_info
        result = judged(answered, query_seen, info, view.calibration, view.calibration_notice, images, nobody)
        page = result.matches[offset : offset + limit]
        return Found(replace(result, matches=page), offset, len(result.matches) > offset + limit)

    def picture(self, image_id: int) -> bytes:
        """An image of the index as a JPEG of at most `PICTURE` pixels, without the metadata of its file.

        Raises:
            StoreError: it is not in the index. ImageError: its file is gone or has changed.
        """
        return jpeg(read_stored(self.view.record(image_id)), PICTURE, quality=92)

    def thumbnail(self, image_id: int) -> bytes:
        """The same, of at most `THUMBNAIL` pixels.

        Raises:
            StoreError: it is not in the index. ImageError: its file is gone or has changed.
        """
        record = self.view.record(image_id)  # before the cache: what was removed is not shown
        key = (image_id, record.content_hash)
        return self._thumbnails.get(key, lambda: jpeg(read_stored(record), THUMBNAIL, quality=85))

    def scene(self, image_id: int) -> bytes:
        """The whole picture that an image is a part of, its box outlined, as a JPEG of at most `SCENE` pixels.

        Raises:
            StoreError: it is not in the index. ImageError: its file is gone or has changed.
        """
        return jpeg(self.scene_image(image_id), SCENE, quality=90)

    def scene_image(self, image_id: int) -> Image.Image:
        """The same as a picture of any size.

        Raises:
            StoreError: it is not in the index. ImageError: its file is gone or has changed.
        """
        return read_whole(self.view.record(image_id))

    def _decode(self, data: bytes, box: Box | None) -> Image.Image:
        # As the indexer does: a whole photograph may be decoded smaller, of a part all pixels are needed.
        shrink_to = self.extractor.weights.config.input_size if box is None else None
        return decode_image(data, max_pixels=self.max_pixels, shrink_to=shrink_to)

    def part(self, data: bytes, box: Box | None) -> Image.Image:
        """The part of a photograph that is used, as a picture.

        Raises:
            ImageError: the bytes are no image that can be used.
        """
        return cropped(self._decode(data, box), box)

    def stored_image(self, image_id: int) -> Image.Image:
        """An image of the index as a picture.

        Raises:
            StoreError: it is not in the index. ImageError: its file is gone or has changed.
        """
        return read_stored(self.view.record(image_id))

    def _see(self, image: Image.Image, box: Box | None, content: str) -> Photograph:
        full_size = image.info.get("full_size", image.size)
        if box is not None:
            image = cropped(image, box)
            full_size = image.size
        with self._model:  # one at a time: it uses all cores, or the whole GPU
            seen = self.extractor.see(image)
        features = seen.features
        features.check_finite()
        spread = spread_of(to_array(image, self.extractor.weights.config.input_size))
        return Photograph(features, seen.labels[0], full_size, content, spread)
