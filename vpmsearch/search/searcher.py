"""The base class of all searches; each kind of store has a search that derives from it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from vpmsearch.store import Gallery, GalleryView
from vpmsearch.types import RegionFeatures, SearchFilter, SearchResult

Regions = Sequence[int] | None
"""The regions to compare by, 0 to p − 1; None for all shared regions."""
CANDIDATES_PER_REGION = 1600
"""The default largest k'. A search stops there even if the bound has not closed; `candidates` sets it per search."""


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
        """Take over what has been committed since; True if there was anything."""

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

        There are fewer than k matches only if fewer images pass the filter and share a region with the query.

        Args:
            features: n queries, (n, p) and (n, p, d), by the weights that the index was built with.
            k: matches per query, at least 1.
            exact: compare with every image instead of candidates.
            filter: which images may be results.
            candidates: the largest k', the number of nearest images taken from each region's index (never fewer than
                k). Fewer are taken once a bound shows that no other image can belong to the answer.
            regions: compare by these alone, 0 to p − 1; None for all shared regions.

        Returns:
            One result per query, in order.

        Raises:
            FeatureError: k < 1, features are not finite or beyond 1e17, or there is no such region.
            ModelMismatchError: p or d differs from that of the index.
        """
        return self._results(features, k, exact, filter, candidates, regions)

    @abstractmethod
    def _results(
        self, query: RegionFeatures, k: int, exact: bool, filter: SearchFilter | None, candidates: int, regions: Regions
    ) -> list[SearchResult]:
        """As `search`; the arguments are not checked yet."""
