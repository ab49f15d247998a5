"""What answers queries over a store, whichever it is: one base class, and a search of each kind of store below it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from vpmsearch.store import Gallery, GalleryView
from vpmsearch.types import RegionFeatures, SearchFilter, SearchResult

Regions = Sequence[int] | None
"""The regions to compare by, 0 to p − 1; None: all that are shared."""
CANDIDATES_PER_REGION = 1600
"""k' at most: where a search gives up although the bound has not closed; `candidates` sets it per search."""


class Searcher(ABC):
    """Answers queries over a store.

    Attributes:
        store: what it searches in.
    """

    store: Gallery

    @property
    @abstractmethod
    def snapshot(self) -> GalleryView:
        """What is searched."""

    @abstractmethod
    def refresh(self) -> bool:
        """See what has been committed since; True if there was anything."""

    def search(
        self,
        features: RegionFeatures,
        k: int = 10,
        exact: bool = False,
        *,
        filter: SearchFilter | None = None,
        candidates: int = CANDIDATES_PER_REGION,
        regions: Sequence[int] | None = None,
    ) -> list[SearchResult]:
        """The k nearest gallery images by Eq. 4 for each query; ties go to the smaller image id.

        Fewer than k only where fewer images pass the filter and share a region with the query.

        Args:
            features: n queries, (n, p) and (n, p, d), of the weights that the index was built with.
            k: matches a query, at least 1.
            exact: compare with every image instead of candidates.
            filter: which images may be results.
            candidates: k' at most, the nearest images taken from each region's index (never fewer than k). Fewer are
                taken where a bound tells that no other image can belong into the answer.
            regions: compare by these alone, 0 to p − 1; None: by all that are shared.

        Returns:
            One result a query, in order.

        Raises:
            FeatureError: k < 1, features that are not finite or beyond 1e17, or no such region.
            ModelMismatchError: another p or d than the index.
        """
        return self._results(features, k, exact, filter, candidates, regions)

    @abstractmethod
    def _results(
        self, query: RegionFeatures, k: int, exact: bool, filter: SearchFilter | None, candidates: int, regions: Regions
    ) -> list[SearchResult]:
        """See `search`; nothing is checked yet."""
