"""Which images may help a query, in methods that use more images than the compared pair: expansion and k-reciprocal.

A query must not be helped by its own photograph. So a file with the same content, in the gallery or among the queries,
may never help (1,870 of Occluded-DukeMTMC's 2,210 queries are gallery files too). Images of the same person from the
same camera are left out of the measured ranking. Two protocols differ in whether they may help: *strict*, the default,
forbids it; `own_camera` allows it, as much published code does, which ranks without looking at labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vpmsearch.types import Bool, Int64

Text = NDArray[np.str_]


@dataclass(frozen=True)
class Bars:
    """Which images may not help which, among Q queries and G gallery images.

    query_contents, gallery_contents: (Q,), (G,), a number for each content. An unknown content has the number −1 − row,
    which no other image has. query_cameras, gallery_cameras: (Q,), (G,), a number for each pair of person and camera;
    None if images of the same person and camera may help.
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
        """Make it from the pids, camids and content hashes (None or "": unknown) of both sides.

        Args:
            own_camera: images of the query's person from the query's camera may help.
        """
        count = len(query[0])
        contents = _numbered(np.concatenate([_known(query), _known(gallery)]))
        if own_camera:
            return cls(contents[:count], contents[count:])
        # If there are several keys, the first is the camera.
        cameras_of = [side[1] if side[1].ndim == 1 else side[1][:, 0] for side in (query, gallery)]
        pids = np.concatenate([query[0], gallery[0]])
        both = np.stack([pids, np.concatenate(cameras_of)], axis=1)  # (Q + G, 2)
        cameras = np.unique(both, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)
        return cls(contents[:count], contents[count:], cameras[:count], cameras[count:])

    def of_queries(self, some: slice) -> Bool:
        """(B, G), which gallery images may not help which of these queries."""
        barred: Bool = self.query_contents[some, None] == self.gallery_contents
        if self.query_cameras is not None:
            barred |= self.query_cameras[some, None] == self.gallery_cameras
        return barred

    def of_all(self, some: slice) -> Bool:
        """(B, Q + G), which images may not be neighbours of these images; queries come first, then the gallery.

        A pair is barred if one of the two is a query that the other may not help. A gallery image with the content of a
        query is no neighbour of any image, as the query itself is in the graph with that content.
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
        """(G,), which gallery images have the content of a query."""
        return np.isin(self.gallery_contents, self.query_contents)


def _known(side: tuple[Int64, Int64, Text | None]) -> Text:
    return np.full(len(side[0]), "", dtype=np.str_) if side[2] is None else side[2]


def _numbered(contents: Text) -> Int64:
    """A number for each content; every unknown content gets a number of its own."""
    numbers = np.unique(contents, return_inverse=True)[1].reshape(-1).astype(np.int64)
    unknown = contents == ""
    numbers[unknown] = -1 - np.flatnonzero(unknown)
    return numbers
