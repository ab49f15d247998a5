"""Identity-balanced batches: P identities × K images, every epoch anew and the same for the same seed."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpmsearch.data.sampler import IdentitySampler
from vpmsearch.errors import DataError


def interleaved(*counts):
    """pids of a data set with so many images of each identity, in no order that helps."""
    pids = np.repeat(np.arange(len(counts)) * 7 + 3, counts)
    return np.random.default_rng(0).permutation(pids).tolist()


@given(
    counts=st.lists(st.integers(1, 13), min_size=3, max_size=12),
    pids_per_batch=st.integers(2, 3),
    images_per_pid=st.integers(1, 5),
    seed=st.integers(0, 1000),
    epoch=st.integers(0, 100),
)
def test_a_batch_is_p_identities_of_k_images(counts, pids_per_batch, images_per_pid, seed, epoch):
    pids = interleaved(*counts)
    batches = IdentitySampler(pids, pids_per_batch, images_per_pid, seed).epoch(epoch)
    assert batches
    for batch in batches:
        assert batch.shape == (pids_per_batch * images_per_pid,)
        assert batch.min() >= 0
        assert batch.max() < len(pids)
        shown = [pids[index] for index in batch]
        blocks = [shown[start : start + images_per_pid] for start in range(0, len(shown), images_per_pid)]
        assert all(len(set(block)) == 1 for block in blocks)
        assert len({block[0] for block in blocks}) == pids_per_batch
        for start in range(0, len(batch), images_per_pid):
            # An image stands twice in a batch only where its identity has too few.
            block = batch[start : start + images_per_pid]
            assert len(set(block)) == images_per_pid or counts[(shown[start] - 3) // 7] < images_per_pid
    used = Counter(np.concatenate(batches).tolist())
    for index, times in used.items():
        # Once in its own group, once as company for a last short group.
        assert times <= 2 or counts[(pids[index] - 3) // 7] < images_per_pid


def test_an_epoch_shows_every_image_once_where_counts_are_even():
    pids = interleaved(*[8] * 16)
    for epoch in range(5):
        used = Counter(np.concatenate(IdentitySampler(pids, 4, 4).epoch(epoch)).tolist())
        assert set(used.values()) == {1}
        assert len(used) >= 0.85 * len(pids), "what is left over has too little company"


def test_an_epoch_shows_most_images_where_counts_are_uneven():
    pids = interleaved(*np.random.default_rng(1).integers(2, 30, 60))
    shown = [set(np.concatenate(IdentitySampler(pids, 8, 4).epoch(epoch)).tolist()) for epoch in range(6)]
    assert all(len(images) >= 0.85 * len(pids) for images in shown)
    assert len(set.union(*shown)) == len(pids), "what one epoch leaves over another shows"


def test_seed_and_epoch_decide():
    pids = interleaved(*[5] * 10)

    def flat(seed, epoch):
        return [batch.tolist() for batch in IdentitySampler(pids, 4, 3, seed).epoch(epoch)]

    assert flat(1, 2) == flat(1, 2)
    sampler = IdentitySampler(pids, 4, 3, 1)
    for earlier in range(2):  # a resumed run has not seen these
        sampler.epoch(earlier)
    assert [batch.tolist() for batch in sampler.epoch(2)] == flat(1, 2)
    assert flat(1, 2) != flat(1, 3)
    assert flat(1, 2) != flat(2, 2)


def test_batches_are_in_random_order_and_company():
    pids = interleaved(*[12] * 12)
    company = {
        frozenset(pids[index] for index in batch)
        for epoch in range(10)
        for batch in IdentitySampler(pids, 3, 4).epoch(epoch)
    }
    assert len(company) > 40


def test_an_identity_with_one_image_fills_its_place_with_it():
    batch = IdentitySampler([1, 2, 2, 2], 2, 3).epoch(0)[0]
    assert sorted(batch.tolist()) == [0, 0, 0, 1, 2, 3]


@pytest.mark.parametrize("pids", [[], [1, 1, 1, 1], [1, 2, 2]])
def test_too_few_identities(pids):
    with pytest.raises(DataError, match="identities"):
        IdentitySampler(pids, 3, 2)


@pytest.mark.parametrize("counts", [(4, 4, 4, 4), (10,) * 15 + (500, 500), (2,) * 8])
def test_how_many_images_an_epoch_shows(counts):
    pids = [pid for pid, count in enumerate(counts) for _ in range(count)]
    sampler = IdentitySampler(pids, 4, 4)
    for epoch in range(3):
        assert sampler.images_shown(epoch) == len({int(i) for batch in sampler.epoch(epoch) for i in batch})
    assert (sampler.images_shown(0) < 0.9 * len(pids)) == (max(counts) > 100)
