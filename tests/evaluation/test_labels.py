"""Protocols: what they leave out, tracklets, and how many queries have nothing to find."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vpmsearch.data.labelled import LabelledImage, Protocol, ReidDataset
from vpmsearch.errors import DataError
from vpmsearch.evaluation.labelled import LabelledFeatures
from vpmsearch.evaluation.labels import by_track, labels_of, protocol_of, without_match
from vpmsearch.evaluation.ranked import rank, rank_single_shot
from vpmsearch.evaluation.single_shot import ShotDraws
from vpmsearch.types import RegionFeatures


def image(number: int, pid: int, camid=1, track=None, clothes=None, distractor=False) -> LabelledImage:
    return LabelledImage(Path(f"{number}.jpg"), pid, camid, track=track, clothes=clothes, distractor=distractor)


def drawn(seed: int = 0, queries: int = 12, gallery: int = 60) -> ReidDataset:
    """People 0 to 4, with cameras, clothes and tracklets at random; pid 0 is a person."""
    rng = np.random.default_rng(seed)

    def some(count: int, start: int) -> tuple[LabelledImage, ...]:
        return tuple(
            image(start + i, int(rng.integers(5)), int(rng.integers(1, 4)), str(rng.integers(3)), "ab"[rng.integers(2)])
            for i in range(count)
        )

    return ReidDataset("drawn", query=some(queries, 0), gallery=some(gallery, 1000))


def features(count: int, seed: int) -> RegionFeatures:
    rng = np.random.default_rng(seed)
    visibility = rng.random((count, 3)).astype(np.float32)
    return RegionFeatures(visibility / visibility.sum(axis=1, keepdims=True),
                          rng.standard_normal((count, 3, 4)).astype(np.float32))  # fmt: skip


def left_out(one: LabelledImage, other: LabelledImage, how: str) -> bool:
    """By an independent reading of the protocol."""
    if one.pid != other.pid or how == "nothing":
        return False
    if how == "track":
        return (one.camid, one.track) == (other.camid, other.track)
    same_camera = one.camid == other.camid
    return same_camera or (how == "clothes" and one.clothes == other.clothes)


@pytest.mark.parametrize("how", ["camera", "nothing", "clothes", "track"])
@pytest.mark.parametrize("seed", range(3))
def test_the_metrics_are_those_of_a_plain_loop(how: str, seed: int):
    dataset = drawn(seed)
    protocol = Protocol(how)
    asked, answers = labels_of(dataset, protocol)
    seen = [features(len(split), seed + i) for i, split in enumerate((dataset.query, dataset.gallery))]
    query = LabelledFeatures(seen[0], asked.pids, asked.keys)
    gallery = LabelledFeatures(seen[1], answers.pids, answers.keys)
    found = rank(query, gallery, min_visibility=0.0).per_query()
    alone = 0
    for row, one in enumerate(dataset.query):
        weights = seen[0].visibility[row] * seen[1].visibility
        apart = np.linalg.norm(seen[0].embeddings[row] - seen[1].embeddings, axis=2)
        distance = (weights * apart).sum(axis=1) / weights.sum(axis=1)
        order = [i for i in np.argsort(distance, kind="stable") if not left_out(one, dataset.gallery[i], how)]
        hits = [place for place, i in enumerate(order, 1) if dataset.gallery[i].pid == one.pid]
        if not hits:
            alone += 1
            assert np.isnan(found.ap[row])
            continue
        assert found.first_hit_rank[row] == hits[0]
        assert found.ap[row] == pytest.approx(np.mean([k / place for k, place in enumerate(hits, 1)]))
    assert without_match(asked, answers) == alone


def test_without_cameras_nothing_is_left_out():
    dataset = ReidDataset("x", query=(image(1, 1, None),), gallery=(image(2, 1, None),))
    assert protocol_of(dataset).left_out == "nothing"
    assert without_match(*labels_of(dataset, protocol_of(dataset))) == 0
    with pytest.raises(DataError, match="no image of x has a camera"):
        protocol_of(dataset, "camera")
    mixed = ReidDataset("x", query=(image(1, 1, 3),), gallery=(image(2, 1, None),))
    with pytest.raises(DataError, match=r"2\.jpg has no camid"):
        labels_of(mixed, protocol_of(mixed))
    with pytest.raises(DataError, match=r"1\.jpg has no clothes"):
        labels_of(ReidDataset("x", query=(image(1, 1),), gallery=(image(2, 1, 2),)), Protocol("clothes"))
    with pytest.raises(DataError, match="nothing to evaluate: x has no gallery images"):
        labels_of(ReidDataset("x", query=(image(1, 1),)), Protocol())


def test_queries_that_have_nothing_to_find_are_counted():
    query = (image(1, 0, 1), image(2, 5, 1), image(3, 7, 1))
    gallery = (image(4, 0, 2), image(5, 5, 1), image(6, 8, 2))
    dataset = ReidDataset("x", query=query, gallery=gallery)
    assert without_match(*labels_of(dataset, Protocol())) == 2  # one by its own camera alone, one not there
    assert without_match(*labels_of(dataset, Protocol("nothing"))) == 1


def test_person_0_is_a_person_and_a_distractor_is_not():
    gallery_pids, camids = np.array([0, 0, 0, 1, 2]), np.array([2, 2, 3, 2, 2])
    seen = features(5, 1)
    query = LabelledFeatures(features(2, 2), np.array([0, 1]), np.array([1, 1]))
    gallery = LabelledFeatures(seen, gallery_pids, camids)
    person = ShotDraws(gallery_pids, camids, 4, 0, distractors=np.zeros(5, bool))
    assert all(len(drawn) == 3 for drawn in person.drawn)  # one image of each of three people
    ranks = rank_single_shot(query, gallery, person, min_visibility=0.0)
    assert ranks.valid.tolist() == [True, True]
    nobody = ShotDraws(gallery_pids, camids, 4, 0, distractors=gallery_pids == 0)
    assert all(len(drawn) == 5 for drawn in nobody.drawn)
    assert rank_single_shot(query, gallery, nobody, min_visibility=0.0).valid.tolist() == [False, True]
    assert [d.tolist() for d in ShotDraws(gallery_pids, camids, 4, 0).drawn] == [d.tolist() for d in nobody.drawn]


@pytest.mark.parametrize("how", ["mean", "best"])
def test_tracklets_are_a_plain_loops(how: str):
    dataset = drawn(4)
    _, labels = labels_of(dataset, Protocol(by_track=True))
    seen = features(len(dataset.gallery), 3)
    seen.visibility[::5, 1] = 0
    found = by_track(LabelledFeatures(seen, labels.pids, labels.keys), labels, how)
    tracks: dict[tuple, list[int]] = {}
    for row, one in enumerate(dataset.gallery):
        tracks.setdefault((one.pid, one.camid, one.track), []).append(row)
    assert len(found.pids) == len(tracks)
    for place, ((pid, camid, _), rows) in enumerate(tracks.items()):
        assert (found.pids[place], found.camids[place]) == (pid, camid)
        if how == "mean":
            total = sum(seen.visibility[row].astype(float) for row in rows)
            summed = sum(seen.visibility[row][:, None].astype(float) * seen.embeddings[row] for row in rows)
            np.testing.assert_allclose(found.features.visibility[place], total / len(rows), rtol=1e-5)
            expected = np.divide(summed, total[:, None], out=np.zeros_like(summed), where=total[:, None] > 0)
            np.testing.assert_allclose(found.features.embeddings[place], expected, rtol=1e-4, atol=1e-6)
        else:
            best = max(rows, key=lambda row: (seen.visibility[row].min(), -row))
            np.testing.assert_array_equal(found.features.embeddings[place], seen.embeddings[best])


def test_tracklets_have_their_first_image():
    query = (image(1, 1, 1, "a"), image(2, 1, 1, "b"), image(3, 1, 1, "a"), image(4, 2, 1, "a"))
    dataset = ReidDataset("x", query=query, gallery=(image(5, 1, 2, "a"),))
    asked, _ = labels_of(dataset, Protocol(by_track=True))
    assert asked.tracks.tolist() == [0, 1, 0, 2]
    assert asked.first_of_tracks.tolist() == [0, 1, 3]
    assert asked.ranked().pids.tolist() == [1, 1, 2]
    images, _ = labels_of(dataset, Protocol())
    assert images.first_of_tracks.tolist() == [0, 1, 2, 3]
