"""Which images may help a query where other images than the compared pair have a say: expansion and k-reciprocal.

A query must not be helped by its own photograph: a file with the same content, in the gallery or among the queries, is
barred always (of Occluded-DukeMTMC's 2,210 queries 1,870 are gallery files too). Images of the same person by the same
camera are left out of the ranking that is measured. Whether they may help is the protocol: *strict*, the default, bars
them too; with `own_camera` they may help, as in much published code, which ranks without looking at labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vpmsearch.types import Bool, Int64

Text = NDArray[np.str_]


@dataclass(frozen=True)
class Bars:
    """Who may not help whom, among Q queries and G gallery images.

    query_contents, gallery_contents: (Q,), (G,) numbers of contents; no two images share −1 − row, which stands for an
    unknown content. query_cameras, gallery_cameras: the same of person and camera; None where those may help.
    """

    query_contents: Int64
    gallery_contents: Int64
    query_cameras: Int64 | None = None
    gallery_cameras: Int64 | None = None

    @classmethod
    def of(
        cls,
        query: tuple[Int64, Int64, Text | None],
        gallery: tuple[Int64, Int64, Text | None],
        *,
        own_camera: bool,
    ) -> Bars:
        """From the pids, camids and content hashes (None or "": unknown) of both sides.

        Args:
            own_camera: images of the query's person by its own camera may help.
        """
        count = len(query[0])
        contents = _numbered(np.concatenate([_known(query), _known(gallery)]))
        if own_camera:
            return cls(contents[:count], contents[count:])
        # Of several keys the first is the camera.
        cameras_of = [side[1] if side[1].ndim == 1 else side[1][:, 0] for side in (query, gallery)]
        pids = np.concatenate([query[0], gallery[0]])
        both = np.stack([pids, np.concatenate(cameras_of)], axis=1)  # (Q + G, 2)
        cameras = np.unique(both, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)
        return cls(contents[:count], contents[count:], cameras[:count], cameras[count:])

    def of_queries(self, some: slice) -> Bool:
        """(B, G) which gallery images may not help queries."""
        barred: Bool = self.query_contents[some, None] == self.gallery_contents
        if self.query_cameras is not None:
            barred |= self.query_cameras[some, None] == self.gallery_cameras
        return barred

    def of_all(self, some: slice) -> Bool:
        """(B, Q + G) which images may not be neighbours of images, queries first and then the gallery.

        A pair is barred if one of the two is a query and may not be helped by the other. Gallery images with the
        content of a query are nobody's neighbours: the query itself stands for that content.
        """
        contents = np.concatenate([self.query_contents, self.gallery_contents])
        barred: Bool = contents[some, None] == contents
        if self.query_cameras is not None and self.gallery_cameras is not None:
            cameras = np.concatenate([self.query_cameras, self.gallery_cameras])
            barred |= cameras[some, None] == cameras
        queries = np.arange(len(contents)) < len(self.query_contents)
        barred &= queries[some, None] | queries
        barred |= np.concatenate([np.zeros(len(self.query_contents), bool), self.twins])
        return barred

    @property
    def twins(self) -> Bool:
        """(G,) which gallery images have the content of a query."""
        return np.isin(self.gallery_contents, self.query_contents)


def _known(side: tuple[Int64, Int64, Text | None]) -> Text:
    return np.full(len(side[0]), "", dtype=np.str_) if side[2] is None else side[2]


def _numbered(contents: Text) -> Int64:
    """Numbers of contents; unknown ones are all different."""
    numbers = np.unique(contents, return_inverse=True)[1].reshape(-1).astype(np.int64)
    unknown = contents == ""
    numbers[unknown] = -1 - np.flatnonzero(unknown)
    return numbers
