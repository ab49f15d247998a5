"""Several training splits as one: nobody of one is anybody of another."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpmsearch.data.labelled import LabelledImage
from vpmsearch.data.mixture import mixed
from vpmsearch.data.sampler import IdentitySampler, MixtureSampler, times_shown
from vpmsearch.errors import DataError


def image(name, pid, camid):
    return LabelledImage(Path(name), pid, camid)


def test_people_and_cameras_are_kept_apart():
    first = [image("a", 7, 1), image("b", 3, 2), image("c", 7, None)]
    second = [image("d", 7, 1), image("e", 0, 1)]
    both = mixed([first, second])
    assert [each.path.name for each in both.images] == list("abcde")
    assert [each.pid for each in both.images] == [1, 0, 1, 3, 2]
    assert [each.camid for each in both.images] == [0, 1, None, 2, 2]
    assert both.domains == (0, 0, 0, 1, 1)
    alone = mixed([first])
    assert (alone.images, alone.domains) == (tuple(first), (0, 0, 0))


def test_what_cannot_be_mixed():
    with pytest.raises(DataError, match="data set 2 of 2 has no training images"):
        mixed([[image("a", 1, 1)], []])
    with pytest.raises(DataError, match="pid for every image; b has none"):
        mixed([[image("a", 1, 1)], [image("b", None, 1)]])


def test_an_image_of_two_data_sets(tmp_path: Path):
    """Its person would be two, whom the training would tell apart. Parts of one photograph are different images."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    one, other = [image(tmp_path / folder / "a.jpg", 1, 1) for folder in ("real", "link")]
    with pytest.raises(DataError, match=r"link/a\.jpg is in data sets 1 and 3"):
        mixed([[one], [image(tmp_path / "b.jpg", 1, 1)], [other]])
    assert len(mixed([[one, one], [image(tmp_path / "real" / "b.jpg", 1, 1)]]).images) == 3
    parts = [image(tmp_path / f"scene.jpg#xywh={x},0,8,16", 1, 1) for x in (0, 8)]
    assert len(mixed([parts[:1], parts[1:]]).images) == 2


@given(small=st.integers(2, 5), large=st.integers(6, 20), seed=st.integers(0, 99), epoch=st.integers(0, 9))
def test_every_batch_has_as_many_of_each_set(small, large, seed, epoch):
    """However much larger one is; the larger is gone through once."""
    pids = np.repeat(np.arange(small + large), 3).tolist()
    domains = [int(pid >= small) for pid in pids]
    sampler = MixtureSampler(pids, domains, 4, 2, seed)
    batches = sampler.epoch(epoch)
    for batch in batches:
        shown = {pids[index] for index in batch}
        assert Counter(pid >= small for pid in shown) == {False: 2, True: 2}
    alone = IdentitySampler([pid for pid in pids if pid >= small], 2, 2, seed + 1_000_003)
    assert len(batches) == len(alone.epoch(epoch))
    assert [batch.tolist() for batch in sampler.epoch(epoch)] == [batch.tolist() for batch in batches]


@given(small=st.integers(2, 5), large=st.integers(6, 40), seed=st.integers(0, 99))
def test_how_often_an_epoch_shows_an_image(small, large, seed):
    pids = np.repeat(np.arange(small + large), 3).tolist()
    domains = [int(pid >= small) for pid in pids]
    batches = MixtureSampler(pids, domains, 4, 2, seed).epoch(0)
    counts = [0, 0]
    for batch in batches:
        for index in batch:
            counts[domains[index]] += 1
    assert times_shown(batches, domains) == pytest.approx([counts[0] / (3 * small), counts[1] / (3 * large)])


def test_separate_batches_take_turns():
    pids = np.repeat(np.arange(12), 4).tolist()
    domains = [0 if pid < 4 else 1 for pid in pids]
    batches = MixtureSampler(pids, domains, 3, 2, mixing="separate").epoch(0)
    sets = [{domains[index] for index in batch} for batch in batches]
    assert sets == [{0}, {1}] * (len(batches) // 2)
    again = [tuple(sorted(batch.tolist())) for batch in batches[::2]]
    assert len(set(again)) > 1, "the smaller set begins again in another order"


def test_sets_that_do_not_go_into_a_batch():
    pids, domains = [0, 0, 1, 1, 2, 2, 3, 3], [0, 0, 0, 0, 1, 1, 1, 1]
    with pytest.raises(DataError, match="pids_per_batch 3 is not divided by 2"):
        MixtureSampler(pids, domains, 3, 2)
    with pytest.raises(DataError, match='set it to 2 or 4, or set domains to "separate"'):
        MixtureSampler(pids, domains, 3, 2)
    with pytest.raises(DataError, match="a batch takes 3 identities of each data set, but data set 2 of 2 has 2"):
        MixtureSampler([*pids, 9, 9], [*(1 - np.array(domains)), 0, 0], 6, 2)
    with pytest.raises(DataError, match="a batch takes 3 identities of each data set, but data set 1 of 2 has 2"):
        MixtureSampler(pids, domains, 6, 2)
    with pytest.raises(DataError, match="a batch takes 3 identities of one data set, but data set 1 of 2 has 2"):
        MixtureSampler(pids, domains, 3, 2, mixing="separate")


def test_cameras_take_turns_within_an_identity():
    pids, camids = [1] * 6 + [2] * 6, [1, 1, 1, 1, 2, 3] * 2
    for epoch in range(20):
        first = IdentitySampler(pids, 2, 3, camids=camids).epoch(epoch)
        blocks = [block for batch in first for block in batch.reshape(2, 3)]
        seen = Counter(len({camids[index] for index in block}) for block in blocks)
        assert seen == {3: 2, 1: 2}, "the first group of each shows all three cameras, the rest is of camera 1"
