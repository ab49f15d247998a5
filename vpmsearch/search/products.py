"""Lower bounds of Eq. 4 by matrix products, in NumPy. A scan selects images by them.

‖a − b‖² = ‖a‖² + ‖b‖² − 2ab. One query reads each number of the gallery once, so memory limits its speed. Many queries
are a product of matrices, which the processor limits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpmsearch.eq4 import LIFT, TILE, can_be_lowered, expansion_error, lowered, underflow_error, widened
from vpmsearch.types import Bool, Float32, RegionFeatures

Stored = NDArray[np.floating[Any]]  # embeddings as they are stored: float16 or float32

_MOST_LIFTED = 2.0**14  # times 2¹¹² it is within float32's range


class Products:
    """Queries in the layout in which a scan multiplies them.

    Args:
        queries: Q images, visibility 0 where it does not count.
    """

    def __init__(self, queries: RegionFeatures) -> None:
        self._queries = np.ascontiguousarray(queries.embeddings.transpose(1, 0, 2))  # (Q, p, d) -> (p, Q, d)
        self._norms = squared_norms(queries.embeddings)  # (Q, p)
        self._weights = scaled_weights(queries.visibility)  # (Q, p)
        self._spans = spans(queries.visibility)

    def lower_bounds(self, block: Stored, weights: Float32, norms: Float32) -> Float32:
        """Lower bounds of Eq. 4, up to `distances.SLACK`; ∞ where no region is shared.

        Args:
            block: (m, p, d). weights: (m, p) from `scaled_weights`. norms: (m, p), ‖b‖².

        Returns:
            (Q, m).
        """
        queries, dim = self._queries.shape[1:]
        total = self._weights @ weights.T
        lower = np.zeros((queries, len(block)), np.float32)
        gamma = np.float32(expansion_error(dim))
        alone = self._alone(block) if queries == 1 else None
        wide = None if block.dtype == np.float32 or alone is not None else np.empty((len(block), dim), np.float32)
        with np.errstate(all="ignore"):  # numbers beyond float32's range are handled below
            for region, span in self._spans.items():
                if alone is not None:
                    squares = alone[None, :, region] * np.float32(-2)
                else:
                    part = block[:, region] if wide is None else widened(block[:, region], wide)
                    squares = (self._queries[region, span] * np.float32(-2)) @ part.T  # (span, m)
                own, theirs = self._norms[span, region], norms[:, region]
                error = gamma * np.square(np.sqrt(own) + np.sqrt(theirs.max(initial=0))) + np.float32(
                    underflow_error(dim)
                )
                squares += theirs
                squares += (own - error)[:, None]
                distance = np.sqrt(np.maximum(squares, 0, out=squares), out=squares)
                if not np.isfinite(error).all():  # nothing is known beyond float32's range; 0 is always a lower bound
                    distance[~np.isfinite(distance)] = 0
                distance *= weights[:, region]
                distance *= self._weights[span, region, None]
                lower[span] += distance
            # Weights too small for float32 tell nothing either.
            lower = np.where(total > 1e-30, lower / total, np.float32(0))
        return np.where(self._shared(weights), lower, np.float32(np.inf))

    def _alone(self, block: Stored) -> Float32:
        """The products ab of the one query, by region: (m, p). Parts that fit the cache are widened and multiplied."""
        images, regions, dim = block.shape
        products = np.zeros((images, regions), np.float32)
        shown = slice(min(self._spans, default=0), max(self._spans, default=-1) + 1)
        query = self._queries[shown, 0]
        # The factor 2¹¹² of float16 goes into the query: one pass less over the gallery, and the same products.
        lifting = can_be_lowered(block) and bool((np.abs(query) < _MOST_LIFTED).all())
        query = query * LIFT if lifting else query
        rows = max(1, TILE // (regions * dim))
        wide = np.empty((min(rows, images), len(query), dim), np.float32)
        with np.errstate(all="ignore"):
            for start in range(0, images, rows):
                part = block[start : start + rows, shown]
                tile = lowered(part, wide[: len(part)]) if lifting else widened(part, wide[: len(part)])
                # It uses BLAS; einsum takes three times as long.
                np.vecdot(tile, query, out=products[start : start + rows, shown])
        return products

    def _shared(self, weights: Float32) -> Bool:
        """(Q, m), whether query and image share a region."""
        shown = (self._weights > 0).astype(np.float32) @ (weights > 0).astype(np.float32).T
        shared: Bool = shown > 0
        return shared


def scaled_weights(visibility: Float32) -> Float32:
    """Visibility (n, p) divided by each image's largest. Products do not vanish, and the factor cancels in Eq. 4."""
    largest = visibility.max(axis=1, keepdims=True, initial=0)
    largest[largest == 0] = 1
    weights: Float32 = visibility / largest
    return weights


def squared_norms(block: Stored) -> Float32:
    """(m, p, d), of any dtype -> (m, p), float32."""
    images, regions, dim = block.shape
    norms = np.empty((images, regions), np.float32)
    rows = max(1, TILE // (regions * dim))
    wide = np.empty((min(rows, images), regions, dim), np.float32)
    with np.errstate(all="ignore"):
        for start in range(0, images, rows):
            part = block[start : start + rows]
            tile = widened(part, wide[: len(part)])
            np.vecdot(tile, tile, out=norms[start : start + rows])
    return norms


def spans(visibility: Float32) -> dict[int, slice]:
    """For each region that any of the queries (Q, p) shows: the slice from the first to the last query that does."""
    shown = [np.flatnonzero(region) for region in (visibility > 0).T]
    return {region: slice(int(rows[0]), int(rows[-1]) + 1) for region, rows in enumerate(shown) if len(rows)}
