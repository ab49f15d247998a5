"""Identity-balanced batches (paper section 4.1): P identities × K images, as batch-hard mining needs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from vpmsearch.errors import DataError
from vpmsearch.types import Int64


class IdentitySampler:
    """Yields batches of indices: `pids_per_batch` identities with `images_per_pid` images each.

    An epoch goes through every identity's images once, in groups of `images_per_pid` (a last short group is filled up
    with other images of the same identity, repeated where it has too few), as long as enough identities for a batch
    have any left. What is left over, much where a few identities have most images, is other images each time.
    Batches never hold an identity twice. The order depends on (seed, epoch) alone, so a resumed run sees what an
    unbroken one would have seen.

    Raises:
        DataError: fewer identities than a batch needs.
    """

    def __init__(self, pids: Sequence[int], pids_per_batch: int, images_per_pid: int, seed: int = 0) -> None:
        by_pid: dict[int, list[int]] = defaultdict(list)
        for index, pid in enumerate(pids):
            by_pid[pid].append(index)
        if len(by_pid) < pids_per_batch:
            raise DataError(
                f"a batch takes {pids_per_batch} identities but there are {len(by_pid)}; "
                "set a smaller pids_per_batch or use more data"
            )
        self._indices = [np.array(by_pid[pid], dtype=np.int64) for pid in sorted(by_pid)]
        self._pids_per_batch, self._images_per_pid, self._seed = pids_per_batch, images_per_pid, seed

    def epoch(self, epoch: int) -> list[Int64]:
        """The batches of one epoch, each (pids_per_batch · images_per_pid,) indices, identities in blocks."""
        rng = np.random.default_rng([self._seed, epoch])
        waiting = [list(self._groups(indices, rng)) for indices in self._indices]
        batches = []
        left = np.array([len(groups) for groups in waiting])
        while (left > 0).sum() >= self._pids_per_batch:
            # Weighted by the groups left, so that few are left over at the end and company stays random.
            chosen = rng.choice(len(left), self._pids_per_batch, replace=False, p=left / left.sum())
            batches.append(np.concatenate([waiting[identity].pop() for identity in chosen]))
            left[chosen] -= 1
        rng.shuffle(batches)
        return batches

    def images_shown(self, epoch: int) -> int:
        """How many different images an epoch shows."""
        batches = self.epoch(epoch)
        return len(np.unique(np.concatenate(batches))) if batches else 0

    def _groups(self, indices: Int64, rng: np.random.Generator) -> Iterator[Int64]:
        shuffled = rng.permutation(indices)
        for start in range(0, len(shuffled), self._images_per_pid):
            group = shuffled[start : start + self._images_per_pid]
            missing = self._images_per_pid - len(group)
            if missing:
                others = np.setdiff1d(indices, group)
                pool = others if len(others) >= missing else indices
                group = np.concatenate([group, rng.choice(pool, missing, replace=len(pool) < missing)])
            yield group
