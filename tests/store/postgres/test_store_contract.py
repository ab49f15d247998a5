"""What holds of every store, in a folder or on a server."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from galleries import INFO, fill, make_calibration, make_features, make_records
from oracles import visibility_weighted_distance

from vpmsearch.errors import FeatureError, ModelError, ModelMismatchError, StoreError, StoreNotFoundError
from vpmsearch.search.itself import NOWHERE, search_others
from vpmsearch.search.open import searcher
from vpmsearch.search.verdict import load_calibration
from vpmsearch.store.open import create_index, open_index, upgrade_index, verify_index
from vpmsearch.types import ImageRecord, ModelInfo, RegionFeatures, SearchFilter, SearchResult

START = datetime(2024, 5, 1, 12, tzinfo=UTC)


def paths_of(store):
    return {path: image_id for path, (image_id, _) in store.live_files().items()}


# what is written is what is read ----------------------------------------------------------------------------------


def test_an_empty_index(store):
    assert len(store.snapshot) == 0
    assert store.snapshot.image_ids.tolist() == store.find() == store.rejected() == store.snapshot.camids() == []
    assert store.snapshot.captured() is None
    assert store.snapshot.folder() == ""
    assert store.snapshot.features_of([]).embeddings.shape == (0, 6, 8)
    assert searcher(store).search(make_features(1))[0].matches == ()
    assert store.stats().region_visibility == [0] * 6
    assert store.verify().ok


def test_the_folder_that_all_images_share(store):
    """Of those that are not removed, by whole names."""
    paths = ["/g/hall1/ü.jpg", "/g/hall10/a.jpg", "/g/hall1/b.jpg", "/h/a.jpg"]
    records = [replace(record, path=path) for record, path in zip(make_records(4), paths, strict=True)]
    ids = []
    for i, expected in enumerate(("/g/hall1/", "/g/", "/g/", "/")):
        ids += fill(store, make_features(1, seed=i), records[i : i + 1])
        assert store.snapshot.folder() == expected
    for gone, expected in ((ids[3], "/g/"), (ids[1], "/g/hall1/")):
        with store.writer() as writer:
            writer.remove([gone])
            writer.commit()
        assert store.snapshot.folder() == expected


def test_a_query_is_filled_from_its_nearest_image(store):
    """The half query is nearest to image 0; filled from it, it finds image 2, which shares no region with the query."""
    features = make_features(3, seed=5)
    embeddings, visibility = features.embeddings.copy(), features.visibility.copy()
    visibility[0], visibility[1], visibility[2] = [1 / 6] * 6, [1 / 6] * 6, [0, 0, 0, 1 / 3, 1 / 3, 1 / 3]
    embeddings[2, 3:] = embeddings[0, 3:]
    half = RegionFeatures(np.array([[1 / 3] * 3 + [0] * 3], np.float32), embeddings[:1] + np.float32(0.01))
    ids = fill(store, RegionFeatures(visibility, embeddings), make_records(3))
    engine = searcher(store)
    (plain,) = search_others(engine, half, [NOWHERE], 3)
    assert [match.image_id for match in plain.result.matches] == ids[:2]
    (answer,) = search_others(engine, half, [NOWHERE], 3, fill=True)
    assert answer.filled_from == ids[0]
    assert [match.image_id for match in answer.result.matches] == [ids[2], ids[0], ids[1]]
    (only,) = search_others(
        engine, half, [NOWHERE], 3, fill=True, filter=SearchFilter(path_prefix=make_records(3)[2].path)
    )
    assert [match.image_id for match in only.result.matches] == [ids[2]], "a filter is of results, not of the filling"
    assert only.nearest is None


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_records_and_features_come_back(place, dtype):
    features = make_features(20, seed=3)
    taken = START.astimezone(timezone(timedelta(hours=2)))
    records = [
        *make_records(18),
        ImageRecord("/g/ü 'quote' \\ %s :x.jpg", "ab", -1, None, taken, 64, 128),
        ImageRecord("/g/naive.jpg", "", 2**63 - 1, -(2**63), datetime(1, 1, 1)),
    ]
    with create_index(place, INFO, embedding_dtype=dtype) as store:
        ids = fill(store, features, records)
        view = store.snapshot
        assert view.image_ids.tolist() == ids == sorted(set(ids))
        order = [ids[7], ids[0], ids[7], ids[19]]
        got, known = view.features_of(order), view.records_of(order)
        rows = [7, 0, 7, 19]
        assert (got.visibility == features.visibility[rows]).all()
        seen = INFO.visible(got.visibility)
        assert (got.embeddings[seen] == features.embeddings[rows].astype(dtype).astype(np.float32)[seen]).all()
        assert known[:3] == [records[7], records[0], records[7]]
        assert known[3].captured_at == datetime(1, 1, 1, tzinfo=UTC)
        assert view.records_of(ids)[18].captured_at == START
        assert all(view.is_sound(image_id) for image_id in ids)
        counts = view.counts()
        assert (counts["images"], counts["identities"], counts["cameras"]) == (20, 8, 4)
        assert view.camids() == [-(2**63), 0, 1, 2]
        assert view.captured() == (datetime(1, 1, 1, tzinfo=UTC), START)
        stats = store.stats()
        assert stats.region_images == INFO.visible(features.visibility).sum(axis=0).tolist()
        assert stats.region_visibility == pytest.approx(features.visibility.mean(axis=0, dtype=np.float64).tolist())
        assert stats.embedding_dtype == store.embedding_dtype == dtype
        assert stats.bytes_on_disk["total"] == sum(v for k, v in stats.bytes_on_disk.items() if k != "total")
        for unknown in (0, max(ids) + 1):
            with pytest.raises(StoreError, match=f"image {unknown} is not in the index"):
                view.records_of([ids[0], unknown])
            with pytest.raises(StoreError, match=f"image {unknown} is not in the index"):
                view.features_of([unknown])
    with open_index(place) as again:
        assert again.model_info == INFO
        assert (again.embedding_dtype, again.index_type, len(again.snapshot)) == (dtype, "auto", 20)
    assert verify_index(place).ok
    old, new = upgrade_index(place)
    assert old == new


def test_nothing_is_seen_before_the_commit(store, place):
    with store.writer() as writer:
        ids = writer.add(make_records(5), make_features(5))
        assert writer.pending == 5
        assert writer.remove([ids[0], 10**6]) == 1
        with open_index(place) as other:
            assert len(other.snapshot) == 0
            assert not other.refresh()
            state = other.snapshot.state
            writer.commit()
            assert writer.pending == 0
            assert other.refresh()
            assert other.snapshot.state != state
            assert other.snapshot.image_ids.tolist() == ids[1:]
            assert not other.refresh()
    with store.writer() as writer:
        writer.add(make_records(3, first=50), make_features(3))
    assert len(store.snapshot) == 4
    with pytest.raises(StoreError):
        writer.add(make_records(1), make_features(1))  # left


def test_removed_images_are_gone_and_their_ids_too(store):
    ids = fill(store, make_features(10))
    with store.writer() as writer:
        assert writer.remove([ids[3], ids[3], ids[4], -1, 2**70]) == 2
        assert writer.remove([ids[3]]) == 0
        writer.commit()
    assert store.snapshot.image_ids.tolist() == [i for i in ids if i not in (ids[3], ids[4])]
    found = searcher(store).search(make_features(10), 10, True)
    assert not {match.image_id for result in found for match in result.matches} & {ids[3], ids[4]}
    again = fill(store, make_features(2, seed=9), make_records(2, first=3))  # the same paths
    assert min(again) > max(ids)
    assert store.verify().ok


def test_an_image_takes_its_path_over(store):
    ids = fill(store, make_features(3))
    changed = [ImageRecord("/g/cam1/00001.jpg", "ff" * 32, 1, 1)]
    with store.writer() as writer:
        writer.add(changed, make_features(1, seed=5))
        with pytest.raises(StoreError, match="twice"):
            writer.add(changed, make_features(1))
        with pytest.raises(StoreError, match="already holds"):
            writer.commit()
        assert len(store.snapshot) == 3
        writer.remove([ids[1]])
        writer.commit()
    assert set(paths_of(store)) == {record.path for record in make_records(3)}
    assert paths_of(store)["/g/cam1/00001.jpg"] > max(ids)


def test_labels_change_and_embeddings_stay(store):
    features = make_features(4)
    ids = fill(store, features)
    with store.writer() as writer:
        writer.update(ids[2], ImageRecord("/moved.jpg", pid=None, camid=9, captured_at=START))
        writer.update(10**6, ImageRecord("/nobody.jpg"))
        assert writer.pending == 2
        writer.commit()
        writer.update(ids[0], ImageRecord("/moved.jpg"))
        with pytest.raises(StoreError, match="already holds"):
            writer.commit()
    record = store.snapshot.records_of([ids[2]])[0]
    assert (record.path, record.pid, record.camid, record.captured_at) == ("/moved.jpg", None, 9, START)
    assert record.content_hash == f"{2:064x}"
    seen = INFO.visible(features.visibility[2:3])
    assert (store.snapshot.features_of([ids[2]]).embeddings[seen] == features.embeddings[2:3][seen]).all()
    assert len(store.snapshot) == 4


def test_rejected_files_are_noted_until_they_are_indexed(store):
    with store.writer() as writer:
        writer.reject("/g/a.jpg", "truncated")
        writer.reject("/g/b.jpg", "no image\0 at all")
        writer.commit()
        writer.reject("/g/a.jpg", "still truncated")
        writer.commit()
    assert store.rejected() == [("/g/a.jpg", "still truncated"), ("/g/b.jpg", "no image\\x00 at all")]
    with store.writer() as writer:
        writer.add([ImageRecord("/g/a.jpg")], make_features(1))
        writer.accept("/g/b.jpg")
        writer.commit()
    assert store.rejected() == []


def test_the_calibration_is_kept(store, place):
    assert store.calibration() is store.stats().calibrated_on is None
    assert load_calibration(store, INFO.fingerprint, INFO.threshold) is None
    for images in (48, 49):
        assert str(place) in str(store.keep_calibration(make_calibration(images)))
        with open_index(place) as other:
            assert other.calibration() == make_calibration(images)
            assert other.stats().calibrated_on == images
    known = load_calibration(store, INFO.fingerprint, INFO.threshold)
    assert known is not None
    assert (known.images, known.distances[5][0]) == (49, 5.5)
    assert load_calibration(store, "other", INFO.threshold) is None
    assert load_calibration(store, INFO.fingerprint, 0.3) is None
    assert store.verify().ok


def test_what_cannot_be_stored_is_refused(store):
    good = make_features(2)
    nan = RegionFeatures(good.visibility, np.where(good.embeddings > 1, np.nan, good.embeddings))
    loud = RegionFeatures(good.visibility + 1, good.embeddings)
    with store.writer() as writer:
        for features in (make_features(3), make_features(2, p=3), make_features(2, d=9), nan, loud):
            with pytest.raises(FeatureError):
                writer.add(make_records(2), features)
        for record in (ImageRecord(""), ImageRecord("a\0b"), ImageRecord("a\udcff"), ImageRecord("a", pid=2**63)):
            with pytest.raises(StoreError):
                writer.add([record], make_features(1))
        writer.commit()
    assert len(store.snapshot) == 0


def test_another_model_is_refused_and_both_are_named(store, place):
    store.check_model(INFO)
    with pytest.raises(ModelMismatchError, match=r"vpm.safetensors.*sha256:feed.*other.safetensors.*sha256:beef"):
        store.check_model(ModelInfo((6, 1), 8, "sha256:beef", weights="other.safetensors"))
    with pytest.raises(ModelMismatchError, match="6 × 8"):
        searcher(store).search(make_features(1, p=3))
    for k, regions in ((0, None), (1, [6])):
        with pytest.raises(FeatureError):
            searcher(store).search(make_features(1), k, regions=regions)
    beyond = make_features(1)
    beyond.embeddings[0, 2, 3] = -2e17
    for exact in (True, False):
        with pytest.raises(FeatureError, match=r"beyond 1e\+17"):
            searcher(store).search(beyond, 1, exact)
    with pytest.raises(StoreError, match="unknown embedding_dtype"):
        create_index(place, INFO, embedding_dtype="float64")


def test_find_meets_every_condition(store):
    records = [
        ImageRecord(f"/g/{i % 2}/{i}.jpg", "", i % 3, i % 4, START + timedelta(hours=i) if i else None)
        for i in range(12)
    ]
    ids = np.array(fill(store, make_features(12), records))

    def rows(**wanted):
        return np.flatnonzero(np.isin(ids, store.find(**wanted))).tolist()

    assert rows() == list(range(12))
    assert rows(pids=[1, 2], camids=[1]) == [1, 5]
    assert rows(paths=["/g/0/2.jpg", "/g/0/10.jpg", "/g/0"]) == [2, 10]
    assert rows(prefix="/g/1/", after=START + timedelta(hours=3), before=START + timedelta(hours=7)) == [3, 5]
    assert rows(before=START + timedelta(hours=99)) == list(range(1, 12))  # one without a time passes neither
    assert rows(prefix="/G") == rows(prefix="/g/_") == []


WORDS = [
    ImageRecord("/w/0.jpg", "", "alice", "lobby", attributes={"site": "north", "floor": "2"}),
    ImageRecord("/w/1.jpg", "", "007", 7, attributes={"site": "south", "floor": "02"}),
    ImageRecord("/w/2.jpg", "", 7, "1e3", attributes={"site": "north"}),
    ImageRecord("/w/3.jpg", "", -1, "Łódź", attributes={"Site": "north", "note": 'say "no",\n100 %'}),
    ImageRecord("/w/4.jpg"),
]


def test_labels_may_be_words_and_any_other_column_is_kept(store):
    """As given: sorted, counted and filtered so; "007" is a word, as 7 would lose its zeros, and "7" is 7."""
    features = make_features(5)
    features.visibility[:] = 1 / 6
    ids = fill(store, features, WORDS)
    view = store.snapshot
    assert view.records_of(ids) == WORDS
    assert view.camids() == [7, "1e3", "lobby", "Łódź"]
    assert view.counts()["identities"] == 3  # −1 is junk
    assert view.counts()["cameras"] == 4
    assert view.attribute_names() == ["Site", "floor", "note", "site"]

    def rows(**wanted):
        found = [row for row, image_id in enumerate(ids) if image_id in store.find(**wanted)]
        only = SearchFilter(
            *(tuple(wanted.get(name, ())) for name in ("pids", "camids")), where=wanted.get("where", {})
        )
        for exact in (True, False):
            (result,) = searcher(store).search(features[:1], 9, exact, filter=only)
            assert sorted(match.image_id for match in result.matches) == [ids[row] for row in found]
            assert all(match.attributes == WORDS[ids.index(match.image_id)].attributes for match in result.matches)
        return found

    assert rows(pids=["alice"]) == [0]
    assert rows(pids=["007"]) == [1]
    assert rows(pids=["7"]) == rows(pids=[7]) == [2]
    assert rows(camids=["1e3", "Łódź", 1000]) == [2, 3]
    assert rows(where={"site": "north"}) == [0, 2]
    assert rows(where={"site": ["north", "south"], "floor": 2}) == [0]
    assert rows(where={"note": 'say "no",\n100 %'}) == [3]
    assert rows(where={"site": "North"}) == rows(where={"sit": "north"}) == []
    assert rows(where={"site": []}) == [0, 1, 2, 3, 4]
    with store.writer() as writer:
        writer.update(ids[4], ImageRecord("/w/4.jpg", "", "bob", None, attributes={"site": "east"}))
        writer.update(ids[0], ImageRecord("/w/0.jpg", "", 8, 9))
        writer.commit()
    store.refresh()
    assert store.find(where={"site": "east"}, pids=["bob"]) == [ids[4]]
    assert store.snapshot.records_of(ids[:1]) == [ImageRecord("/w/0.jpg", "", 8, 9)]
    assert store.verify().ok


@pytest.mark.parametrize(
    "values",
    [
        {"pid": "a\nb"}, {"camid": " "}, {"pid": "x" * 201}, {"pid": 1.5}, {"attributes": {"": "1"}},
        {"attributes": {"pid": "1"}}, {"attributes": {"a": "\0"}}, {"attributes": {"a": "\udcff"}},
        {"attributes": {"x" * 101: "1"}}, {"attributes": {"a": "x" * 4001}},
        {"attributes": {f"a{i}": "1" for i in range(101)}},
    ],
)  # fmt: skip
def test_labels_and_attributes_have_limits(store, values):
    with store.writer() as writer:
        with pytest.raises(StoreError, match=r"a\.jpg: "):
            writer.add([ImageRecord("a.jpg", **values)], make_features(1))
        most = {f"{i:0100}": "ö" * 4000 for i in range(100)}
        writer.add([ImageRecord("b.jpg", pid="x" * 200, attributes=most)], make_features(1))
        writer.commit()
    assert [record.attributes for record in store.snapshot.records_of(store.snapshot.image_ids)] == [most]


# search -----------------------------------------------------------------------------------------------------------


def oracle(query: RegionFeatures, row: int, gallery: RegionFeatures, ids, keep=None) -> list[tuple[float, int]]:
    """(distance, image id), best first, by a loop in float64."""
    counting = [np.where(INFO.visible(f.visibility), f.visibility, 0) for f in (query, gallery)]
    found = visibility_weighted_distance(
        query.embeddings[row : row + 1], counting[0][row : row + 1], gallery.embeddings, counting[1]
    )[0]
    pairs = zip(found.tolist(), ids, strict=True)
    return sorted(pair for i, pair in enumerate(pairs) if pair[0] < math.inf and (keep is None or keep[i]))


def assert_is_ranking(result: SearchResult, expected: list[tuple[float, int]]) -> None:
    by_id = {image_id: distance for distance, image_id in expected}
    assert len({match.image_id for match in result.matches}) == len(result.matches) == len(expected)
    for match, (distance, _) in zip(result.matches, expected, strict=True):
        assert match.distance == pytest.approx(distance, rel=1e-5, abs=1e-6)
        assert match.distance == pytest.approx(by_id[match.image_id], rel=1e-5, abs=1e-6)


def assert_explains_itself(result: SearchResult, info: ModelInfo) -> None:
    for match in result.matches:
        total = sum(region.weight for region in match.regions)
        mean = sum(region.weight * region.distance for region in match.regions) / total
        assert match.distance == pytest.approx(mean, rel=1e-5, abs=1e-6)
        assert sum(region.share for region in match.regions) == pytest.approx(1)
        assert all(region.weight > info.threshold**2 * 0.99 for region in match.regions)


@pytest.mark.parametrize("scan_below", [0, 1024], ids=["lists", "all"])
def test_every_path_is_eq_4(store, monkeypatch, scan_below):
    monkeypatch.setattr("vpmsearch.search.engine.SCAN_BELOW", scan_below)
    monkeypatch.setattr("vpmsearch.search.server.SCAN_BELOW", scan_below)
    monkeypatch.setattr("vpmsearch.search.candidates.FIRST_DEPTH", 2)
    monkeypatch.setattr("vpmsearch.search.candidates.LIST_DEPTH", 8)
    gallery, queries = make_features(80), make_features(4, seed=1)
    ids = fill(store, gallery)
    records = make_records(80)
    filters = [
        None,
        SearchFilter(pids=(1, 2)),
        SearchFilter(camids=(2,), pids=(3, 4, 5)),
        SearchFilter(path_prefix="/g/cam1/"),
        SearchFilter(pids=(77,)),
    ]
    keeps = [
        None,
        [r.pid in (1, 2) for r in records],
        [r.camid == 2 and r.pid in (3, 4, 5) for r in records],
        [r.camid == 1 for r in records],
        [False] * 80,
    ]
    engine = searcher(store)
    for wanted, keep in zip(filters, keeps, strict=True):
        for exact in (False, True):
            results = engine.search(queries, 5, exact, filter=wanted)
            for row, result in enumerate(results):
                right = oracle(queries, row, gallery, ids, keep)
                assert result.exact == exact
                assert len(result.matches) == min(5, len(right))
                assert_explains_itself(result, INFO)
                if result.complete:
                    assert_is_ranking(result, right[:5])
                if exact:
                    assert result.complete
                    assert result.candidates == (80 if keep is None else sum(keep))
            assert any(result.complete for result in results)
        everything = engine.search(queries, 100, filter=wanted, candidates=10**6)
        for row, result in enumerate(everything):
            assert_is_ranking(result, oracle(queries, row, gallery, ids, keep))
    one = engine.search(queries, 5, True, regions=[1])
    assert {region.region for result in one for match in result.matches for region in match.regions} <= {1}
    assert engine.search(make_features(0)) == []


def test_an_empty_answer_says_why(store):
    """The true reason, of the first that holds: the index is empty, no such labels, no such image, nothing shared."""
    engine = searcher(store)

    def why(row=0, **wanted):
        asked, only = queries[row : row + 1], SearchFilter(**wanted)
        results = [engine.search(asked, 3, exact, filter=only)[0] for exact in (False, True)]
        assert results[0].empty == results[1].empty
        return results[0].empty and (results[0].empty.kind, results[0].empty.text)

    queries = make_features(3)
    queries.visibility[:] = [[1, 0, 0, 0, 0, 0], [0.05] * 6, [0, 0, 0, 0, 0, 1]]
    assert why(camids=(1,)) == ("index", "the index is empty")
    gallery = make_features(4)
    gallery.visibility[:] = [1, 0, 0, 0, 0, 0]
    ids = fill(store, gallery, [ImageRecord(f"/g/a/{i}.jpg") for i in range(4)])
    engine.refresh()
    nothing = "no image passes the filter: "
    assert why(pids=(3,)) == ("labels", f"{nothing}no image of the index has a pid")
    assert why(pids=(3,), camids=(1,)) == ("labels", f"{nothing}no image of the index has a pid or a camid")
    assert why(captured_after=START) == ("labels", f"{nothing}no image of the index has a time of capture")
    sites = f"{nothing}no image of the index has an attribute site"
    assert why(where={"site": "north"}) == ("labels", f"{sites} (none has any)")
    assert why(path_prefix="/g/b") == ("filter", f"{nothing}no path of the index starts with /g/b")
    with store.writer() as writer:
        for i, image_id in enumerate(ids):
            time, place = START + timedelta(hours=i), {"site": "north", "floor": str(i)}
            writer.update(image_id, ImageRecord(f"/g/a/{i}.jpg", "", None, i, time, attributes=place))
        writer.commit()
    engine.refresh()
    assert why(camids=(7, 8)) == ("filter", f"{nothing}no image has camid 7 or 8")
    assert why(where={"Site": "north"})[1].endswith("an attribute Site (there are floor or site)")
    assert why(where={"site": ["north", "south"], "floor": 9}) == ("filter", f"{nothing}no image has floor 9")
    kind, text = why(camids=(1,), captured_before=START)
    assert kind == "filter"
    assert text.startswith(f"{nothing}no image was captured then; they were from 2024-05-01T12:00")
    both = f"{nothing}each condition is met by some images, all of them by none"
    assert why(camids=(1,), captured_after=START + timedelta(hours=2)) == ("filter", both)
    assert why(1)[0] == "query"
    assert why(2) == ("regions", "none of the images (4) shows a region that the query shows")
    told = "none of the images that pass the filter (1) shows a region that the query shows"
    assert why(2, camids=(1,)) == ("regions", told)
    assert why(0) is None
    assert engine.search(queries, 3)[1].empty.kind == "query"


def test_equal_images_come_by_id(store):
    same = RegionFeatures(
        *(np.repeat(array, 30, axis=0) for array in (make_features(1).visibility, make_features(1).embeddings))
    )
    ids = fill(store, same)
    for exact in (False, True):
        result = searcher(store).search(make_features(1, seed=4), 12, exact)[0]
        assert [match.image_id for match in result.matches] == ids[:12]
        assert len({match.distance for match in result.matches}) == 1


def test_a_search_sees_what_is_committed(store):
    engine = searcher(store)
    fill(store, make_features(3))
    engine.refresh()
    assert len(engine.search(make_features(3), 3, True)[0].matches) == len(
        engine.search(make_features(3), 3)[0].matches
    )
    assert engine.snapshot.image_ids.tolist() == store.snapshot.image_ids.tolist()
    assert not engine.refresh()


def test_there_is_an_index_or_there_is_none(place):
    with pytest.raises(StoreNotFoundError, match="there is no index at"):
        open_index(place)
    with pytest.raises(StoreError):
        create_index(place, INFO, index_type="btree")
    with pytest.raises((ModelError, StoreError)):
        create_index(place, ModelInfo((6, 1), 8, "x", min_visibility=2))
    with pytest.raises(StoreNotFoundError):
        verify_index(place)


def test_a_pending_image_can_be_relabelled(store):
    with store.writer() as writer:
        first, _ = writer.add(make_records(2), make_features(2))
        writer.update(first, ImageRecord("renamed", pid=7))
        writer.commit()
    store.refresh()
    (record,) = store.snapshot.records_of([first])
    assert (record.path, record.pid) == ("renamed", 7)
