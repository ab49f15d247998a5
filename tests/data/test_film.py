"""Films: every picture by its time is the picture of that time, whatever was read before."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av")
from drawn_film import number_of, numbered, write_film
from PIL import Image

from vpmsearch.data.film import Film, film_hash, is_film
from vpmsearch.data.images import MAX_PIXELS, content_hash, image_size, load_image, read_image
from vpmsearch.data.reading import SceneReader, scene_name
from vpmsearch.errors import ImageError

EVEN = list(range(100))
UNEVEN = [n + n // 3 + 7 * (n // 10) for n in range(100)]  # variable frame rate
B_FRAMES = {"bf": "3", "g": "24", "x264-params": "open-gop=1:scenecut=0:b-adapt=0"}


@pytest.fixture(scope="module", params=["mp4", "vfr.mkv", "vfr.mp4", "ts", "avi", "mpg"])
def film(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[float]]:
    kind = request.param
    path = tmp_path_factory.mktemp("film") / f"film.{kind.split('.')[-1]}"
    ticks = UNEVEN if "vfr" in kind else EVEN
    codec = {"avi": "mpeg4", "mpg": "mpeg2video"}.get(kind, "libx264")
    options = B_FRAMES if codec == "libx264" else {"bf": "2", "g": "18"} if kind == "mpg" else {"g": "30"}
    write_film(path, ticks, codec=codec, options=options)
    return path, [tick / 25 for tick in ticks]


def test_times_are_those_of_the_pictures(film: tuple[Path, list[float]]) -> None:
    path, times = film
    with Film(path, max_pixels=MAX_PIXELS) as opened:
        assert opened.size == (160, 96)
        assert opened.times == pytest.approx(times, abs=1.1e-3)  # Matroska counts milliseconds
        pictures = list(opened.pictures())
        assert [picture.seconds for picture in pictures] == opened.times
    assert [number_of(picture.image) for picture in pictures] == list(range(100))
    assert [picture.number for picture in pictures] == list(range(1, 101))


def test_a_time_is_its_picture_in_any_order(film: tuple[Path, list[float]]) -> None:
    path, _ = film
    with Film(path, max_pixels=MAX_PIXELS) as opened:
        times = opened.times
        sequence = {picture.number - 1: np.asarray(picture.image) for picture in opened.pictures()}
        order = [*random.Random(0).sample(range(100), 25), 0, 99, 99, 0, 50, 51, 49]
        for number in order:
            found = opened.at(times[number])
            assert number_of(found) == number
            assert np.array_equal(np.asarray(found), sequence[number])  # to the last bit
    for number in (0, 47, 99):  # and from a film that is opened for it alone
        assert np.array_equal(np.asarray(load_image(f"{path}#t={times[number]:.6f}")), sequence[number])


def test_between_two_pictures_the_first_is_shown(film: tuple[Path, list[float]]) -> None:
    path, _ = film
    with Film(path, max_pixels=MAX_PIXELS) as opened:
        middle = (opened.times[60] + opened.times[61]) / 2
        assert number_of(opened.at(middle)) == 60
        with pytest.raises(ImageError, match="last picture"):
            opened.at(opened.times[-1] + 10)


def test_a_part_of_a_moment(tmp_path: Path) -> None:
    path = write_film(tmp_path / "a.mp4", EVEN[:30])
    part = f"{path}#t=0.4&xywh=0,0,128,16"
    digest, image = read_image(part)
    assert image.size == (128, 16) == image_size(part)
    assert number_of(image) == 10
    assert digest == content_hash(part) != content_hash(f"{path}#t=0.44&xywh=0,0,128,16")
    assert scene_name(part) == "a.mp4 0.40 s"
    with SceneReader(1) as reader:
        for tenths in (4, 8, 8, 2):
            path_of = f"{path}#t={tenths / 10}&xywh=0,0,128,16"
            ahead = reader.ahead(path_of)
            assert number_of(reader.read(path_of, ahead)[1]) == tenths * 10 // 4


def test_a_film_that_changes_has_another_hash(tmp_path: Path) -> None:
    path = write_film(tmp_path / "a.mp4", EVEN[:5])
    before = film_hash(path)
    write_film(path, EVEN[:9])
    assert film_hash(path) != before


@pytest.mark.parametrize(
    "content",
    [b"", b"nothing at all", b"#EXTM3U\n#EXTINF:1,\n/etc/hostname\n", b"ffconcat version 1.0\nfile /etc/hostname\n"],
)
def test_what_is_no_film_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(ImageError):
        load_image(f"{path}#t=0")
    with pytest.raises(ImageError):
        image_size(path)


def test_a_truncated_film_is_read_as_far_as_it_goes_or_refused(tmp_path: Path) -> None:
    whole = write_film(tmp_path / "a.mkv", EVEN, options={"g": "10"}).read_bytes()
    path = tmp_path / "b.mkv"
    path.write_bytes(whole[: len(whole) // 2])
    with Film(path, max_pixels=MAX_PIXELS) as film:
        assert number_of(film.at(0.2)) == 5
        with pytest.raises(ImageError):
            film.at(3.9)


def test_a_whole_film_is_no_picture_and_a_large_one_is_refused(tmp_path: Path) -> None:
    path = write_film(tmp_path / "a.mp4", EVEN[:3])
    assert is_film(path)
    with pytest.raises(ImageError, match="name a moment"):
        load_image(path)
    with pytest.raises(ImageError, match="more than the limit"):
        Film(path, max_pixels=1000)
    with pytest.raises(ImageError):
        Film(tmp_path / "none.mp4", max_pixels=1000)


def test_numbers_are_told() -> None:
    assert [number_of(Image.fromarray(numbered(n))) for n in (0, 1, 77, 255)] == [0, 1, 77, 255]


def test_a_hole_in_a_film_is_never_answered_with_the_picture_before_it(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mp4", list(range(150)))
    with Film(path, max_pixels=MAX_PIXELS) as film:
        times = film.times
    data = path.read_bytes()
    first = len(data) * 6 // 10
    noise = np.random.default_rng(0).bytes(len(data) // 10)
    path.write_bytes(data[:first] + noise + data[first + len(noise) :])
    shown: dict[bytes, float] = {}
    refused = 0
    with Film(path, max_pixels=MAX_PIXELS) as film:
        for time in times:
            try:
                pixels = film.at(time).tobytes()
            except ImageError:
                refused += 1
                continue
            assert shown.setdefault(pixels, time) == time
    assert len(shown) >= 80
    assert refused >= 1


def test_what_is_wrong_with_a_film_is_said_in_words_alone(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_text("no film")
    with pytest.raises(ImageError, match=r"or damaged \(Invalid data found when processing input\)"):
        Film(tmp_path / "film.mp4", max_pixels=MAX_PIXELS)
