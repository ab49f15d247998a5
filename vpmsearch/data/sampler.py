"""Identity-balanced batches (paper section 4.1): P identities × K images, as batch-hard mining needs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from vpmsearch.errors import DataError
from vpmsearch.types import Int64


class IdentitySampler:
    """Yields batches of indices: `pids_per_batch` identities with `images_per_pid` images each.

    An epoch goes once through every identity's images in groups of `images_per_pid`. A short last group is filled with
    other images of the same identity, repeated if there are too few. The epoch ends when too few identities for a batch
    have images left. Which images are left over differs between epochs. There are many if a few identities have most
    images. A batch never holds an identity twice. The order depends on (seed, epoch) alone, so a resumed run sees the
    same batches as an unbroken one.

    Args:
        pids: of every image its identity. pids_per_batch, images_per_pid: P and K. seed: of the order. camids: of every
            image its camera, or None. If they are given, the cameras of an identity take turns, so a group has images
            of as many cameras as possible. The model then has to learn to match a person across cameras.

    Raises:
        DataError: fewer identities than a batch needs.
    """

    def __init__(
        self,
        pids: Sequence[int],
        pids_per_batch: int,
        images_per_pid: int,
        seed: int = 0,
        camids: Sequence[int] | None = None,
    ) -> None:
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
        self._camids = None if camids is None else np.array(camids, dtype=np.int64)

    def epoch(self, epoch: int) -> list[Int64]:
        """The batches of one epoch, each (pids_per_batch · images_per_pid,) indices, identities in blocks."""
        rng = np.random.default_rng([self._seed, epoch])
        waiting = [list(self._groups(indices, rng)) for indices in self._indices]
        batches = []
        left = np.array([len(groups) for groups in waiting])
        while (left > 0).sum() >= self._pids_per_batch:
            # Weighted by the groups left, so that few are left over at the end and batches stay random.
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
        if self._camids is not None:
            shuffled = _in_turns(shuffled, self._camids[shuffled])
        for start in range(0, len(shuffled), self._images_per_pid):
            group = shuffled[start : start + self._images_per_pid]
            missing = self._images_per_pid - len(group)
            if missing:
                others = np.setdiff1d(indices, group)
                pool = others if len(others) >= missing else indices
                group = np.concatenate([group, rng.choice(pool, missing, replace=len(pool) < missing)])
            yield group


class MixtureSampler:
    """Batches from several data sets with equal parts, whatever their sizes.

    An epoch goes once through the set with the most batches. A smaller set begins again, in another order. The order
    depends on (seed, epoch) alone, as with `IdentitySampler`.

    Args:
        pids, domains: of every image its identity and the number of its data set. An identity is of one data set.
        mixing: "mixed": every batch has pids_per_batch / n identities of each of the n sets. "separate": every batch is
            of one set, and the sets take turns; so people of one batch are not told apart by the place alone.
        pids_per_batch, images_per_pid, seed, camids: as for `IdentitySampler`.

    Raises:
        DataError: a set has fewer identities than its part of a batch, or the parts cannot be equal.
    """

    def __init__(
        self,
        pids: Sequence[int],
        domains: Sequence[int],
        pids_per_batch: int,
        images_per_pid: int,
        seed: int = 0,
        *,
        mixing: str = "mixed",
        camids: Sequence[int] | None = None,
    ) -> None:
        sets = sorted(set(domains))
        self._mixed = mixing == "mixed"
        share = pids_per_batch // len(sets) if self._mixed else pids_per_batch
        if self._mixed and share * len(sets) != pids_per_batch:
            fits = len(sets) * max(share, 1)
            raise DataError(
                f"pids_per_batch {pids_per_batch} is not divided by {len(sets)}, the number of data sets; set it to "
                f'{fits} or {fits + len(sets)}, or set domains to "separate"'
            )
        self._rows = [np.flatnonzero(np.array(domains) == number) for number in sets]
        of = "each data set" if self._mixed else "one data set"
        for place, rows in enumerate(self._rows, start=1):
            if (there := len({pids[int(row)] for row in rows})) < share:
                raise DataError(
                    f"a batch takes {share} identities of {of}, but data set {place} of {len(sets)} has {there}; set a "
                    "smaller pids_per_batch or leave that set out"
                )
        self._samplers = [
            IdentitySampler(
                [pids[int(row)] for row in rows],
                share,
                images_per_pid,
                seed + 1_000_003 * place,
                None if camids is None else [camids[int(row)] for row in rows],
            )
            for place, rows in enumerate(self._rows)
        ]

    def epoch(self, epoch: int) -> list[Int64]:
        """The batches of one epoch, each (pids_per_batch · images_per_pid,) indices, identities in blocks."""
        parts = [
            [rows[batch] for batch in sampler.epoch(epoch)]
            for rows, sampler in zip(self._rows, self._samplers, strict=True)
        ]
        longest = max(len(part) for part in parts)
        for rows, sampler, part in zip(self._rows, self._samplers, parts, strict=True):
            again = 1
            while len(part) < longest:
                part += [rows[batch] for batch in sampler.epoch(epoch + again * 1_000_003)]
                again += 1
            del part[longest:]
        if self._mixed:
            return [np.concatenate(together) for together in zip(*parts, strict=True)]
        return [batch for together in zip(*parts, strict=True) for batch in together]

    def images_shown(self, epoch: int) -> int:
        """How many different images an epoch shows."""
        return len(np.unique(np.concatenate(self.epoch(epoch))))


def times_shown(batches: Sequence[Int64], domains: Sequence[int]) -> list[float]:
    """How often an epoch shows an image of each data set, on average.

    Args:
        batches: of the epoch, indices of images. domains: of every image the number of its data set, from 0.
    """
    of = np.array(domains)
    shown = np.bincount(of[np.concatenate(batches)], minlength=of.max() + 1)
    return [float(times) for times in shown / np.bincount(of)]


def _in_turns(indices: Int64, camids: Int64) -> Int64:
    """The same indices with the cameras taking turns. The order within a camera stays."""
    turn = np.zeros(len(indices), dtype=np.int64)
    for camid in np.unique(camids):
        of_it = camids == camid
        turn[of_it] = np.arange(of_it.sum())
    return indices[np.argsort(turn, kind="stable")]
