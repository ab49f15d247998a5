"""Extractor: what it sees, what it rejects, and in which order."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_weights import EMBEDDING_DIM, INPUT_SIZE, picture, write_pictures, write_weights

from vpmsearch.data.crops import CropBox
from vpmsearch.data.images import content_hash, load_image
from vpmsearch.errors import FeatureError
from vpmsearch.model.extraction import ExtractedBatch, Extractor, Request
from vpmsearch.model.vpm import VpmOutput
from vpmsearch.model.weights import LoadedWeights, read_weights
from vpmsearch.types import RegionFeatures

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> LoadedWeights:
    return read_weights(write_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_pictures(tmp_path_factory.mktemp("pictures"), 7)


def requests(paths: list[Path], box: CropBox | None = None) -> list[Request]:
    return [Request(position, path, box) for position, path in enumerate(paths)]


def joined(batches: Iterator[ExtractedBatch]) -> RegionFeatures:
    return RegionFeatures.concatenate([batch.features for batch in batches])


def assert_close(found: RegionFeatures, expected: RegionFeatures) -> None:
    assert found.embeddings.shape == expected.embeddings.shape
    np.testing.assert_allclose(found.visibility, expected.visibility, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.embeddings, expected.embeddings, rtol=1e-5, atol=1e-5)


def by_hand(weights: LoadedWeights, path: Path) -> RegionFeatures:
    """One image through the model in plain steps: resize, scale, normalise, forward."""
    height, width = INPUT_SIZE
    with Image.open(path) as image:
        resized = np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR), np.float64)
    mean, std = (np.array(values) for values in (weights.config.mean, weights.config.std))
    array = ((resized / 255 - mean) / std).transpose(2, 0, 1)[None]  # (H, W, 3) -> (1, 3, H, W)
    with torch.inference_mode():
        output = weights.model(torch.from_numpy(array).float())
    return RegionFeatures(output.visibility.numpy(), output.embeddings.numpy())


# what is seen -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 0), (3, 2), (7, 1), (64, 4)])
def test_every_image_is_what_the_model_says_whatever_the_batches(weights, pictures, batch_size, workers):
    batches = list(Extractor(weights, CPU, batch_size=batch_size, workers=workers).extract(requests(pictures)))
    seen = [item for batch in batches for item in batch.seen]
    assert [item.position for item in seen] == list(range(7))
    assert [item.path for item in seen] == pictures
    assert [item.content_hash for item in seen] == [content_hash(path) for path in pictures]
    assert {(item.width, item.height) for item in seen} == {(32, 64)}
    assert [len(batch.seen) for batch in batches] == [len(batch.features) for batch in batches]
    assert max(len(batch.seen) for batch in batches) <= batch_size
    assert all(batch.rejected == [] for batch in batches)
    assert_close(joined(iter(batches)), RegionFeatures.concatenate([by_hand(weights, path) for path in pictures]))


def test_images_in_memory_are_seen_as_files_are(weights, pictures):
    extractor = Extractor(weights, CPU, batch_size=3)
    in_memory = extractor.extract_images([load_image(path) for path in pictures])
    assert_close(in_memory, joined(extractor.extract(requests(pictures))))


def test_pictures_differ(weights, pictures):
    features = Extractor(weights, CPU).extract_images([load_image(path) for path in pictures])
    gaps = [np.abs(a - b).max() for a, b in itertools.combinations(features.embeddings, 2)]
    assert min(gaps) > 1e-3  # else the tests above would not tell one order from another
    np.testing.assert_allclose(features.visibility.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("box", [(0, 0, 40, 50), (0, 60, 40, 120), (10, 0, 40, 120), (3, 17, 29, 101)])
def test_a_crop_box_is_the_image_cut_beforehand(weights, tmp_path: Path, box: tuple[int, int, int, int]):
    width, height = 40, 120
    whole, cut = tmp_path / "whole.png", tmp_path / "cut.png"
    picture(3, width, height).save(whole)
    picture(3, width, height).crop(box).save(cut)
    left, top, right, bottom = box
    fractions = CropBox(left / width, top / height, right / width, bottom / height)
    extractor = Extractor(weights, CPU)
    boxed = joined(extractor.extract(requests([whole], fractions)))
    beforehand = joined(extractor.extract(requests([cut])))
    np.testing.assert_array_equal(boxed.embeddings, beforehand.embeddings)
    np.testing.assert_array_equal(boxed.visibility, beforehand.visibility)


def test_what_lies_outside_a_crop_box_does_not_matter(weights, tmp_path: Path):
    image = picture(4, 32, 100)
    changed = image.copy()
    changed.paste((255, 0, 255), (0, 50, 32, 100))
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    image.save(paths[0])
    changed.save(paths[1])
    seen = joined(Extractor(weights, CPU).extract(requests(paths, CropBox(bottom=0.5))))
    np.testing.assert_allclose(seen.embeddings[0], seen.embeddings[1], rtol=1e-5, atol=1e-6)


def test_size_is_that_of_the_upright_file(weights, tmp_path: Path):
    image = picture(1, 640, 320)  # large enough for a JPEG to be decoded smaller
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    image.save(tmp_path / "turned.jpg", exif=exif)
    (batch,) = Extractor(weights, CPU).extract(requests([tmp_path / "turned.jpg"]))
    assert (batch.seen[0].width, batch.seen[0].height) == (320, 640)


def test_see_gives_the_whole_output_of_one_image(weights, pictures):
    extractor = Extractor(weights, CPU)
    output = extractor.see(load_image(pictures[0]))
    features = extractor.extract_images([load_image(pictures[0])])
    np.testing.assert_allclose(output.visibility.numpy(), features.visibility, atol=1e-6)
    assert output.probabilities.shape == (1, 6, INPUT_SIZE[0] // 8, INPUT_SIZE[1] // 8)
    np.testing.assert_allclose(output.probabilities.sum(dim=1).numpy(), 1, rtol=1e-5)


def test_nothing_to_see(weights):
    extractor = Extractor(weights, CPU)
    assert list(extractor.extract([])) == []
    nothing = extractor.extract_images([])
    assert nothing.visibility.shape == (0, 6)
    assert nothing.embeddings.shape == (0, 6, EMBEDDING_DIM)


# what is rejected -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 2, 4, 100])
def test_bad_files_are_rejected_in_their_place(weights, pictures, tmp_path: Path, batch_size: int):
    corrupt, empty, text, gone = (tmp_path / name for name in ("corrupt.png", "empty.jpg", "text.jpg", "gone.png"))
    corrupt.write_bytes(pictures[0].read_bytes()[:200])
    empty.touch()
    text.write_text("no picture")
    paths = [corrupt, pictures[0], empty, gone, pictures[1], text, tmp_path, pictures[2]]
    batches = list(Extractor(weights, CPU, batch_size=batch_size).extract(requests(paths)))
    seen = [item.position for batch in batches for item in batch.seen]
    rejected = {item.position: item for batch in batches for item in batch.rejected}
    assert seen == [1, 4, 7]
    assert sorted(rejected) == [0, 2, 3, 5, 6]
    for number, batch in enumerate(batches):  # with the batch that they were asked for in
        places = [item.position for item in [*batch.seen, *batch.rejected]]
        assert sorted(places) == list(range(number * batch_size, min(8, (number + 1) * batch_size)))
    assert all(item.path == paths[position] for position, item in rejected.items())
    reasons = [rejected[position].reason for position in (0, 2, 3, 5, 6)]
    for reason, word in zip(reasons, ("truncated", "empty", "no such file", "not an image", "a folder"), strict=True):
        assert word in reason
        assert str(tmp_path) not in reason  # the path stands beside it
        assert "\n" not in reason
    assert_close(joined(iter(batches)), RegionFeatures.concatenate([by_hand(weights, path) for path in pictures[:3]]))


class NotFinite(torch.nn.Module):
    """A model that fails on images which are white in the upper left corner."""

    num_regions, embedding_dim = 6, EMBEDDING_DIM

    def __init__(self, model: torch.nn.Module, value: float) -> None:
        super().__init__()
        self.model, self.value = model, value

    def forward(self, images: torch.Tensor) -> VpmOutput:
        output = self.model(images)
        output.embeddings[images[:, 0, 0, 0] > 2, 3, 5] = self.value
        return output


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_output_that_is_not_finite_is_rejected(weights, pictures, tmp_path: Path, value: float):
    white = tmp_path / "white.png"
    Image.new("RGB", (32, 64), "white").save(white)
    extractor = Extractor(weights, CPU, batch_size=2)
    extractor.model = NotFinite(extractor.model, value)
    batches = list(extractor.extract(requests([pictures[0], white, pictures[1]])))
    assert [item.position for batch in batches for item in batch.seen] == [0, 2]
    (bad,) = (item for batch in batches for item in batch.rejected)
    assert (bad.position, bad.path) == (1, white)
    assert "not finite" in bad.reason
    assert_close(joined(iter(batches)), RegionFeatures.concatenate([by_hand(weights, p) for p in pictures[:2]]))
    with pytest.raises(FeatureError, match=r"tiny\.safetensors.*not finite"):
        extractor.extract_images([load_image(white)])


# threads ----------------------------------------------------------------------------------------------------------


def our_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("vpmsearch")]


def test_a_consumer_that_stops_early_leaves_no_threads_and_no_rest(weights, pictures):
    asked = []

    def endless() -> Iterator[Request]:
        for position in itertools.count():
            asked.append(position)
            yield Request(position, pictures[position % len(pictures)])

    batches = Extractor(weights, CPU, batch_size=2, workers=2).extract(endless())
    assert [item.position for item in next(batches).seen] == [0, 1]
    assert our_threads()
    batches.close()
    assert not our_threads()
    assert len(asked) < 20  # looked ahead a little, no further


def test_a_consumer_that_fails_leaves_no_threads(weights, pictures):
    def consume() -> None:
        for _ in Extractor(weights, CPU, batch_size=1, workers=2).extract(requests(pictures)):
            raise KeyError("the consumer's own fault")

    with pytest.raises(KeyError, match="the consumer's own fault"):
        consume()
    assert not our_threads()


def test_a_model_that_fails_leaves_no_threads(weights, pictures):
    extractor = Extractor(weights, CPU, batch_size=1, workers=2)

    def fail(images: torch.Tensor) -> VpmOutput:
        raise RuntimeError("out of memory, say")

    extractor.model = fail
    with pytest.raises(RuntimeError, match="out of memory"):
        list(extractor.extract(requests(pictures)))
    assert not our_threads()


def test_requests_that_fail_are_the_callers_error(weights, pictures):
    def broken() -> Iterator[Request]:
        yield from requests(pictures[:3])
        raise OSError("the list of files broke off")

    with pytest.raises(OSError, match="broke off"):
        list(Extractor(weights, CPU, batch_size=2, workers=2).extract(broken()))
    assert not our_threads()
