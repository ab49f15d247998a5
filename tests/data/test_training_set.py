"""Training samples: decided by their seed, labels that belong to the pixels, memory that is bounded."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import oracles
import pytest
from PIL import Image

import vpmsearch.data.training_set as module
from vpmsearch.data.crops import STRATEGIES, region_labels, sample_crop
from vpmsearch.data.datasets import LabelledImage
from vpmsearch.data.images import to_array
from vpmsearch.data.training_set import CropSettings, TrainingSet
from vpmsearch.errors import DataError, ImageError

SETTINGS = CropSettings(
    input_size=(64, 32), map_size=(4, 2), grid=(6, 1), strategies=("bilateral",), gamma=(0.5, 1.0), flip=True
)
WHOLE = replace(SETTINGS, strategies=("top",), gamma=(1.0, 1.0), flip=False)


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_a_batch_has_the_stated_shapes(drawn_images):
    data = TrainingSet(drawn_images, SETTINGS)
    batch = data.batch(np.array([0, 5, 23]), (1, 2, 3))
    assert batch.pixels.shape == (3, 3, 64, 32)
    assert batch.pixels.dtype == np.uint8
    assert batch.pixels.flags.c_contiguous
    assert batch.labels.shape == (3, 4, 2)
    assert batch.visible.shape == (3, 6)
    assert batch.visible.dtype == np.bool_
    assert batch.targets.tolist() == [0, 1, 5]
    assert batch.indices.tolist() == [0, 5, 23]
    for labels, visible in zip(batch.labels, batch.visible, strict=True):
        assert set(np.flatnonzero(visible)) == set(labels.ravel())


def test_a_whole_image_is_not_changed(drawn_images):
    batch = TrainingSet(drawn_images, WHOLE).batch(np.array([7]), (0,))
    with Image.open(drawn_images[7].path) as image:
        np.testing.assert_array_equal(batch.pixels[0], np.asarray(image).transpose(2, 0, 1))


def test_the_seed_decides_in_any_thread(drawn_images):
    indices = np.arange(24)
    expected = [TrainingSet(drawn_images, SETTINGS).batch(indices, (0, 1, step)) for step in range(8)]
    data = TrainingSet(drawn_images, SETTINGS)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda step: data.batch(indices, (0, 1, step)), range(8)))
    assert all(same(a, b) for a, b in zip(expected, found, strict=True))
    assert not same(expected[0], expected[1])
    twice = data.batch(np.array([3, 3]), (0,))
    assert not np.array_equal(twice.pixels[0], twice.pixels[1]), "two samples of an image are cut differently"


def test_classes_do_not_depend_on_the_order_of_files(drawn_images):
    data = TrainingSet(drawn_images[::-1], SETTINGS)
    assert data.num_classes == 6
    assert data.targets.tolist() == np.repeat(np.arange(6), 4)[::-1].tolist()


@pytest.mark.parametrize("camids", [(3, 1, 3, -5), (None, 0, None, 1), (-1, None, 2**62, -(2**63)), (None,) * 4])
def test_an_image_of_an_unknown_camera_has_one_of_its_own(drawn_images, camids):
    images = [replace(image, camid=camid) for image, camid in zip(drawn_images, camids, strict=False)]
    cameras = TrainingSet(images, SETTINGS).camids
    assert cameras.dtype == np.int64
    for a in range(4):
        for b in range(4):
            expected = a == b or (camids[a] is not None and camids[a] == camids[b])
            assert (cameras[a] == cameras[b]) == expected


@pytest.fixture
def two_coloured(tmp_path):
    """Red on the left, blue on the right."""
    pixels = np.zeros((64, 32, 3), np.uint8)
    pixels[:, :16, 0] = pixels[:, 16:, 2] = 255
    Image.fromarray(pixels).save(tmp_path / "0001.png")
    return [LabelledImage(tmp_path / "0001.png", pid=1)]


def test_images_are_mirrored_before_they_are_cut(two_coloured):
    """Regions are places on the holistic image, mirrored or not: a left crop shows the left region always, and it
    holds what mirroring has put there."""
    settings = replace(SETTINGS, grid=(1, 2), strategies=("left",), gamma=(0.5, 0.5))
    batch = TrainingSet(two_coloured, settings).batch(np.zeros(40, np.int64), (0,))
    assert (batch.labels == 0).all()
    assert (batch.visible == [True, False]).all()
    red, blue = batch.pixels[:, 0] > 200, batch.pixels[:, 2] > 200  # (B, H, W); bilinear blurs the cut edge
    is_red, is_blue = red[:, :, :30].all(axis=(1, 2)), blue[:, :, :30].all(axis=(1, 2))
    assert (is_red ^ is_blue).all()
    assert 8 < is_blue.sum() < 32, "half of them are mirrored"


def test_without_flips_nothing_is_mirrored(two_coloured):
    settings = replace(SETTINGS, grid=(1, 2), strategies=("left",), gamma=(0.5, 0.5), flip=False)
    batch = TrainingSet(two_coloured, settings).batch(np.zeros(20, np.int64), (0,))
    assert (batch.pixels[:, 0, :, :30] > 200).all()


def test_labels_belong_to_the_pixels(tmp_path):
    """Each region of the image has its own grey, so the pixels of a crop tell the regions that they are of."""
    rows = np.repeat(np.arange(6), 32)[:, None, None] * 40  # (192, 1, 1)
    Image.fromarray(np.broadcast_to(rows, (192, 96, 3)).astype(np.uint8)).save(tmp_path / "0001.png")
    settings = replace(SETTINGS, input_size=(384, 128), map_size=(24, 8))
    data = TrainingSet([LabelledImage(tmp_path / "0001.png", pid=1)], settings)
    batch = data.batch(np.zeros(30, np.int64), (0,))
    # (B, H, W) -> (B, h, 16, w, 16) -> the median of each pixel's field in T
    greys = np.median(batch.pixels[:, 0].reshape(30, 24, 16, 8, 16), axis=(2, 4))
    near = np.abs(greys - batch.labels * 40)
    assert (near < 41).all(), "no pixel of T is labelled with a region that is not near it"
    assert (near < 5).mean() > 0.8
    assert any(not visible.all() for visible in batch.visible)


def test_all_strategies_and_ratios_are_drawn(drawn_images):
    settings = replace(SETTINGS, strategies=("top", "bottom"), gamma=(0.5, 0.55), flip=False)
    batch = TrainingSet(drawn_images, settings).batch(np.zeros(40, np.int64), (0,))
    tops, bottoms = batch.visible[:, 0], batch.visible[:, 5]
    assert (tops ^ bottoms).all()
    assert 8 < tops.sum() < 32


# ---------------------------------------------------------------------------------------------------- two views


def halves(batch):
    """The first and the second half of a batch, field by field."""
    fields = batch[:5]  # without low images
    return [field[: len(field) // 2] for field in fields], [field[len(field) // 2 :] for field in fields]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(("grid", "map_size"), [((6, 1), (4, 2)), ((3, 2), (24, 8)), ((1, 1), (1, 1))])
def test_the_first_half_is_whole_and_the_second_as_one_view_is(drawn_images, strategy, grid, map_size):
    one = replace(SETTINGS, strategies=(strategy,), grid=grid, map_size=map_size, gamma=(0.3, 0.9))
    indices = np.array([4, 0, 23, 7, 7])
    batch = TrainingSet(drawn_images, replace(one, two_views=True)).batch(indices, (1, 2))
    assert [len(field) for field in batch[:5]] == [10] * 5
    assert batch.pixels.flags.c_contiguous
    whole, cut = halves(batch)
    pixels, labels, visible, targets, shown = whole
    assert targets.tolist() == [1, 0, 5, 1, 1]
    assert shown.tolist() == indices.tolist()
    expected = oracles.region_labels((0, 0, 1, 1), grid, map_size)
    assert (labels == expected).all()
    assert (visible == np.isin(np.arange(grid[0] * grid[1]), expected)).all()
    for found, index in zip(pixels, indices, strict=True):
        with Image.open(drawn_images[index].path) as image:
            holistic = np.asarray(image).transpose(2, 0, 1)
        assert np.array_equal(found, holistic) or np.array_equal(found, holistic[:, :, ::-1])
    assert same(cut, TrainingSet(drawn_images, one).batch(indices, (1, 2))[:5])


def test_two_views_are_mirrored_alike(two_coloured):
    settings = replace(SETTINGS, strategies=("top",), gamma=(0.5, 0.5), two_views=True)
    pixels = TrainingSet(two_coloured, settings).batch(np.zeros(40, np.int64), (0,)).pixels
    red_on_the_left = (pixels[:, 0, :, :14] > 200).all(axis=(1, 2))
    blue_on_the_left = (pixels[:, 2, :, :14] > 200).all(axis=(1, 2))
    assert (red_on_the_left ^ blue_on_the_left).all()
    assert (red_on_the_left[:40] == red_on_the_left[40:]).all()
    assert 8 < red_on_the_left[:40].sum() < 32, "half of them are mirrored"


def test_the_seed_decides_both_views(drawn_images):
    settings = replace(SETTINGS, two_views=True, color_jitter=0.3, erase=0.5)
    first, again, other = (TrainingSet(drawn_images, settings).batch(np.arange(24), (0, 1, step)) for step in (0, 0, 1))
    assert same(first, again)
    assert not same(first, other)


def test_one_view_draws_what_it_always_drew(drawn_images):
    """A coin for the mirror, a strategy, γ, then what the crop needs: runs of before are repeated to the last bit."""
    settings = replace(SETTINGS, strategies=STRATEGIES, input_size=(48, 24))
    batch = TrainingSet(drawn_images, settings).batch(np.arange(24), (3, 1, 4))
    for j in range(24):
        rng = np.random.default_rng([3, 1, 4, j])
        mirrored = rng.random() < 0.5
        strategy = STRATEGIES[int(rng.integers(len(STRATEGIES)))]
        box = sample_crop(strategy, float(rng.uniform(0.5, 1.0)), rng)
        with Image.open(drawn_images[j].path) as image:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else image
            pixels = to_array(image, (48, 24), box.pixels(32, 64))
        np.testing.assert_array_equal(batch.pixels[j], pixels.transpose(2, 0, 1))
        np.testing.assert_array_equal(batch.labels[j], region_labels(box, (6, 1), (4, 2)))


# ---------------------------------------------------------------------------------------------------- augmentation


@pytest.mark.parametrize("two_views", [False, True])
@pytest.mark.parametrize(
    "change", [{"shift": 0.4}, {"color_jitter": 0.4}, {"erase": 1.0}, {"shift": 0.4, "color_jitter": 0.4, "erase": 1.0}]
)
def test_augmentation_changes_pixels_and_nothing_else(drawn_images, two_views, change):
    settings = replace(SETTINGS, two_views=two_views)
    plain = TrainingSet(drawn_images, settings).batch(np.arange(24), (0,))
    changed = TrainingSet(drawn_images, replace(settings, **change)).batch(np.arange(24), (0,))
    assert (plain.pixels != changed.pixels).any(axis=(1, 2, 3)).all()
    assert same(plain[1:], changed[1:])


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (0.3, 15, 43), (1.0, 96, 96)])
def test_the_stated_share_of_samples_is_erased(drawn_images, share, least, most):
    indices = np.arange(96) % 24
    plain = TrainingSet(drawn_images, SETTINGS).batch(indices, (0,))
    batch = TrainingSet(drawn_images, replace(SETTINGS, erase=share)).batch(indices, (0,))
    assert least <= (plain.pixels != batch.pixels).any(axis=(1, 2, 3)).sum() <= most


def test_each_view_has_a_light_and_a_rectangle_of_its_own(drawn_images):
    for change in ({"color_jitter": 0.4}, {"erase": 1.0}):
        settings = replace(WHOLE, two_views=True, **change)  # γ is 1: the views differ by nothing else
        whole, cut = halves(TrainingSet(drawn_images, settings).batch(np.arange(24), (0,)))
        assert same(whole[1:], cut[1:])
        assert (whole[0] != cut[0]).any(axis=(1, 2, 3)).all()


def test_the_cache_is_not_augmented(drawn_images):
    data = TrainingSet(drawn_images, replace(SETTINGS, color_jitter=0.4, erase=1.0))
    expected = data.batch(np.arange(24), (0,))
    data.batch(np.arange(24), (1,))
    assert same(data.batch(np.arange(24), (0,)), expected)


# ---------------------------------------------------------------------------------------------------- files and memory


def test_images_are_decoded_once(drawn_images, monkeypatch):
    decoded = []
    monkeypatch.setattr(module, "load_image", lambda path, **_: decoded.append(path) or Image.open(path).convert("RGB"))
    data = TrainingSet(drawn_images, SETTINGS)
    for step in range(3):
        data.batch(np.arange(24), (step,))
    assert len(decoded) == 24


def test_the_cache_is_bounded_and_a_large_image_does_not_spoil_it(drawn_images, tmp_path, monkeypatch):
    """Room for three small images; one too large for it is decoded each time, and leaves the room to others."""
    Image.new("RGB", (320, 640)).save(tmp_path / "large.png")
    images = [LabelledImage(tmp_path / "large.png", pid=1), *drawn_images[:8]]
    monkeypatch.setattr(module, "CACHE_BYTES", 3 * 4 * 64 * 32)
    decoded = []
    load = module.load_image
    monkeypatch.setattr(module, "load_image", lambda path, **_: decoded.append(path) or load(path))
    data = TrainingSet(images, SETTINGS)
    expected = TrainingSet(images, SETTINGS)
    for step in range(3):
        decoded.clear()
        batch = data.batch(np.arange(9), (step,))
        assert same(batch, expected.batch(np.arange(9), (step,)))
    assert decoded.count(images[0].path) == 2, "each of the two sets reads it again"
    assert decoded.count(images[1].path) == 0, "the first to come are kept"
    assert len(decoded) == 2 * (9 - 3)


def test_images_without_pids_are_refused(drawn_images):
    with pytest.raises(DataError, match=r"unlabelled\.jpg"):
        TrainingSet([*drawn_images, LabelledImage(drawn_images[0].path.with_name("unlabelled.jpg"))], SETTINGS)
    with pytest.raises(DataError, match="no training images"):
        TrainingSet([], SETTINGS)


def test_an_unreadable_image_is_named(drawn_images, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    data = TrainingSet([*drawn_images, LabelledImage(tmp_path / "broken.jpg", pid=10)], SETTINGS)
    with pytest.raises(ImageError, match=r"broken\.jpg"):
        data.batch(np.array([0, 24]), (0,))


def test_a_part_of_a_photograph_is_an_image(drawn_images, tmp_path):
    """As in a list of boxes: what is looked for is the photograph."""
    scene = Image.new("RGB", (100, 80), "white")
    with Image.open(drawn_images[7].path) as image:
        scene.paste(image, (60, 10))
    scene.save(tmp_path / "scene.png")
    part = replace(drawn_images[7], path=tmp_path / "scene.png#xywh=60,10,32,64")
    whole, cut = (TrainingSet([image], WHOLE).batch(np.array([0]), (0,)) for image in (drawn_images[7], part))
    np.testing.assert_array_equal(whole.pixels, cut.pixels)
    with pytest.raises(DataError, match=r"1 of 1 training images are missing, .*gone\.png#xywh=1,1,8,8"):
        TrainingSet([replace(part, path=tmp_path / "gone.png#xywh=1,1,8,8")], WHOLE)


def test_missing_files_are_told_before_anything_is_trained(drawn_images, tmp_path):
    images = [*drawn_images, replace(drawn_images[0], path=tmp_path / "gone.png")]
    with pytest.raises(DataError, match=r"1 of 25 training images are missing, .*gone.png"):
        TrainingSet(images, SETTINGS)


def test_large_photographs_are_decoded_no_larger_than_a_crop_needs(tmp_path):
    """Else a few hundred of them would fill the cache, and each crop would be resized from all of its pixels."""
    pixels = np.random.default_rng(0).integers(0, 255, (1600, 800, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "large.jpg")
    data = TrainingSet([LabelledImage(tmp_path / "large.jpg", pid=1, camid=1)], replace(SETTINGS, gamma=(0.5, 1.0)))
    image = data._decoded(0)
    assert 2 * 64 / 0.5 <= image.height < 1600
    assert 2 * 32 / 0.5 <= image.width < 800


def test_by_how_many_cameras_somebody_was_seen(drawn_images):
    for camids, most in [((1, 1, 1, 1), 1), ((1, 2, 2, 1), 2), ((3, 1, 2, 1), 3), ((None, None, 1, 1), 3)]:
        images = [replace(image, camid=camid) for image, camid in zip(drawn_images[:4], camids, strict=True)]
        assert TrainingSet(images, SETTINGS).most_cameras == most
    apart = [replace(image, camid=int(image.pid or 0)) for image in drawn_images]
    assert TrainingSet(apart, SETTINGS).most_cameras == 1, "two people by one camera each"


def test_several_cuts_of_an_image_that_stays_whole(drawn_images):
    settings = replace(SETTINGS, map_size=(12, 2), two_views=True, cuts=2, gamma=(0.5, 0.5), flip=False)
    indices = np.array([0, 9, 17])
    batch = TrainingSet(drawn_images, settings).batch(indices, (0, 1))
    assert batch.targets.tolist() == [0, 2, 4] * 3
    assert batch.indices.tolist() == [0, 9, 17] * 3
    whole = TrainingSet(drawn_images, WHOLE).batch(indices, (0,))
    assert np.array_equal(batch.pixels[:3], whole.pixels)
    assert batch.visible[:3].all()
    assert (batch.visible[3:].sum(axis=1) == 3).all()


def test_a_share_of_the_cuts_shows_everything(drawn_images):
    settings = replace(SETTINGS, map_size=(12, 2), two_views=True, gamma=(0.5, 0.5), whole_share=0.4)
    batch = TrainingSet(drawn_images, settings).batch(np.zeros(60, np.int64), (0,))
    share = batch.visible[60:].all(axis=1).mean()
    assert 0.2 < share < 0.6


@pytest.mark.parametrize("change", [{"grey": 1.0}, {"degrade": 1.0}])
def test_poor_photographs_are_cuts_alone(drawn_images, change):
    """The whole image is what a gallery holds."""
    plain = replace(SETTINGS, two_views=True, flip=False, gamma=(0.5, 0.5))
    indices = np.arange(12)
    clear = TrainingSet(drawn_images, plain).batch(indices, (0,))
    poor = TrainingSet(drawn_images, replace(plain, **change)).batch(indices, (0,))
    assert np.array_equal(clear.pixels[:12], poor.pixels[:12])
    changed = (clear.pixels[12:] != poor.pixels[12:]).any(axis=(1, 2, 3))
    assert changed.mean() > 0.7, "a ninth of the degraded ones stays as it is"
    assert ((poor.pixels == poor.pixels[:, :1]).all(axis=(1, 2, 3))[12:] == ("grey" in change)).all()


def test_labels_follow_a_jittered_box(tmp_path):
    """Rows of a photograph are painted with their own region's number: label and colour agree but at the borders."""
    rows = np.repeat(np.arange(6), 20)  # 120 rows, six regions
    pixels = np.broadcast_to((40 * rows)[:, None, None], (120, 60, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "bands.png")
    images = [LabelledImage(tmp_path / "bands.png", pid, 1) for pid in (1, 2)]
    settings = replace(SETTINGS, input_size=(96, 32), map_size=(24, 8), two_views=True, box_jitter=0.3)
    batch = TrainingSet(images, settings).batch(np.zeros(40, np.int64), (0,))
    seen = batch.pixels[:, 0].reshape(80, 24, 4, 8, 4).mean(axis=(2, 4)) / 40
    agree = np.abs(seen - batch.labels) < 0.5
    assert agree.mean() > 0.93
    assert not batch.visible[:40].all(), "a tight box loses a region"
