"""Single-gallery-shot protocols: the gallery has one image of each identity, drawn at random, several times.

CUHK03 (Li et al., CVPR 2014), Partial-REID and Partial-iLIDS use such a protocol. A query is ranked against one image
of every identity. The image of its own identity is drawn from those of other cameras. The result is the mean over R
draws. With a single relevant image, AP and INP are 1 / rank.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vpmsearch.data.labelled import JUNK_PID
from vpmsearch.errors import DataError
from vpmsearch.evaluation.metrics import Float64, QueryMetrics, shares_key
from vpmsearch.types import Bool, Int64

DISTRACTOR_PID = 0
"""Market-1501's pid for distractors, images of many people. Each image counts as an identity of its own."""


class ShotDraws:
    """R galleries with one image of each identity. All queries share them, except for the image of their own identity.

    A draw shuffles all images, and takes the first of each identity. Of the query's identity it takes the first that is
    from another camera, which is the same as drawing among those.

    Args:
        pids, camids: (G,) of the gallery; junk is never drawn. camids may be (G, m) keys, see `metrics.shares_key`.
        repeats: R. seed: of the draws. distractors: (G,), images of unknown people, each an identity of its own; None
            is Market-1501's rule, pid 0.

    Raises:
        DataError: fewer than one draw.
    """

    def __init__(
        self, pids: Int64, camids: Int64, repeats: int, seed: int = 0, distractors: Bool | None = None
    ) -> None:
        if repeats < 1:
            raise DataError(f"a single-shot gallery is drawn at least once, not {repeats} times")
        self._pids, self._camids = pids, camids
        self._distractors: Bool = pids == DISTRACTOR_PID if distractors is None else distractors
        self._nobody = {JUNK_PID, *pids[self._distractors].tolist()} | (
            {DISTRACTOR_PID} if distractors is None else set()
        )
        kept = np.flatnonzero(pids != JUNK_PID)
        # Distractors get numbers of their own, below all others.
        identity = np.where(self._distractors, -2 - np.arange(len(pids)), pids)
        rng = np.random.default_rng(seed)
        self.orders = [rng.permutation(kept) for _ in range(repeats)]
        """Each draw's order of the gallery's images."""
        self.drawn: list[Int64] = []
        """(identities,) each draw's images, ascending."""
        for order in self.orders:
            _, first = np.unique(identity[order], return_index=True)
            self.drawn.append(np.sort(order[first]))

    def columns(self) -> Int64:
        """Every image that a draw may need, ascending. Others need not be compared."""
        own = np.flatnonzero((self._pids != JUNK_PID) & ~self._distractors)
        return np.unique(np.concatenate([own, *self.drawn]))

    def galleries(self, pid: int, camid: int | Int64) -> Iterator[Int64]:
        """The R galleries of a query, ascending. They lack its identity if all those images share its camera."""
        relevant = (self._pids == pid) & ~shares_key(np.asarray(camid)[None], self._camids)[0]
        for order, drawn in zip(self.orders, self.drawn, strict=True):
            yield np.sort(np.concatenate([drawn[self._pids[drawn] != pid], order[relevant[order]][:1]]))

    def ranks(self, distances: Float64, pid: int, camid: int | Int64) -> Float64:
        """(R,), the rank of the relevant image in each draw, from 1; inf if it is not retrieved.

        Ties are in the order of the gallery.

        Args:
            distances: (G,) of one query, or (R, G) if each draw has its own. Only the images of `galleries` are read;
                all of them are in `columns`. pid, camid: of the query.

        Returns:
            All NaN if the gallery has no relevant image.
        """
        if pid in self._nobody:
            return np.full(len(self.orders), np.nan)
        return np.array(list(self._ranks(np.broadcast_to(distances, (len(self.orders), len(self._pids))), pid, camid)))

    def _ranks(self, distances: Float64, pid: int, camid: int | Int64) -> Iterator[float]:
        for gallery, found in zip(self.galleries(pid, camid), distances, strict=True):
            right = gallery[self._pids[gallery] == pid]
            if not len(right):
                yield np.nan
                continue
            near = found[right]
            before = (found[gallery] < near) | ((found[gallery] == near) & (gallery < right))
            yield np.inf if np.isinf(near[0]) else 1.0 + float(before.sum())


def shot_metrics(ranks: Float64) -> QueryMetrics:
    """The metrics of Q queries from their ranks in R draws, (Q, R)."""
    inverse = 1 / ranks
    before = np.where(ranks == 1, 1.0, 0.0)  # the precision before the only hit
    return QueryMetrics(
        ap=inverse.mean(axis=1),
        ap_trapezoid=((before + inverse) / 2).mean(axis=1),
        inp=inverse.mean(axis=1),
        first_hit_rank=ranks,
    )
