"""A writer that writes nothing, for dry runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Self

from vpmsearch.types import ImageRecord, RegionFeatures


class NoWriter:
    """An `ImageWriter` that writes nothing and needs no lock."""

    pending = 0
    commit_seconds = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def add(self, records: Sequence[ImageRecord], features: RegionFeatures) -> list[int]:
        """Nothing; no ids."""
        return []

    def remove(self, image_ids: Iterable[int]) -> int:
        """Nothing; how many would go."""
        return len(set(image_ids))

    def update(self, image_id: int, record: ImageRecord) -> None:
        """Nothing."""

    def reject(self, path: str, reason: str) -> None:
        """Nothing."""

    def accept(self, path: str) -> None:
        """Nothing."""

    def commit(self) -> None:
        """Nothing."""
