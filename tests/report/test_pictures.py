import errno
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from vpmsearch.errors import DataError, ImageError
from vpmsearch.report import curves as curve_pictures
from vpmsearch.report import drawing, panels, pictures
from vpmsearch.results import VERDICT_TEXTS
from vpmsearch.types import Match, RegionMatch, SearchResult

MAGENTA = (255, 0, 255)
DPI = drawing.DPI


def person(size=(64, 128), color=(60, 90, 160)):
    image = Image.new("RGB", size, (190, 190, 170))
    draw = ImageDraw.Draw(image)
    w, h = size
    draw.ellipse((0.4 * w, 0.05 * h, 0.6 * w, 0.18 * h), fill=(220, 180, 150))
    draw.rectangle((0.28 * w, 0.2 * h, 0.72 * w, 0.55 * h), fill=color)
    draw.rectangle((0.3 * w, 0.55 * h, 0.7 * w, 0.95 * h), fill=(50, 50, 60))
    return image


def match(pid=1, shares=(0.5, 0.3, 0.2), path="gallery/0001_c1s1_000151_01.jpg", distance=0.4, image_id=1):
    regions = tuple(RegionMatch(i, distance, share, share) for i, share in enumerate(shares))
    return Match(image_id, path, pid, 1, distance, regions)


def result(*matches):
    return SearchResult(tuple(matches), candidates=len(matches), exact=False)


def load(path):
    return person()


def pixels(path):
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(np.int16)


def count(image, color, within=0):
    if isinstance(color, str):
        color = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return int((np.abs(image - np.array(color, np.int16)).max(axis=2) <= within).sum())


def runs(mask):
    """Lengths' bounds [start, end) of the stretches of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(int), [0]])))
    return list(zip(edges[::2], edges[1::2], strict=True))


def probabilities(grid, h=24, w=8, sharpness=6.0):
    """Softmax of the distance to the centre of each region of an m × n grid."""
    m, n = grid
    logits = np.empty((m * n, h, w))
    for i in range(m):
        for j in range(n):
            for y in range(h):
                for x in range(w):
                    dy, dx = (y + 0.5) / h * m - i - 0.5, (x + 0.5) / w * n - j - 0.5
                    logits[i * n + j, y, x] = -sharpness * (dy * dy + dx * dx)
    e = np.exp(logits)
    return e / e.sum(axis=0)


def overlay(output, grid=(6, 1), image=None, **options):
    chances = probabilities(grid)
    visibility = chances.sum(axis=(1, 2)) / chances[0].size
    return pictures.region_overlay(image or person(), chances, visibility, output, grid=grid, **options)


def log(n=120):
    return [
        {
            "epoch": i // 40,
            "step": i,
            "loss": 5 * 0.99**i,
            "loss_id": 3 * 0.99**i + i % 3,
            "lr": 0.1 if i < 60 else 0.01,
        }
        for i in range(n)
    ]


def sheet(output, b=3, p=6, **options):
    labels = np.repeat(np.arange(24)[None, :, None] * p // 24, 8, axis=2).repeat(b, axis=0)
    options = {"visible": np.ones((b, p), bool), "captions": None, "labels": labels} | options
    images = [person() for _ in range(b)]
    return pictures.label_sheet(images, options["labels"], options["visible"], (p, 1), output, options["captions"])


CURVES = {"VPM": [(0.5, 0.709), (1.0, 0.93), (0.7, 0.882)], "PCB": [(0.5, 0.009), (0.7, 0.365), (1.0, 0.934)]}

DRAW = {
    "rank_panel": lambda output: pictures.rank_panel(
        [person()], [result(match(), match(2))], output, query_pids=[1], load=load
    ),
    "region_overlay": overlay,
    "loss_curves": lambda output: curve_pictures.loss_curves(log(), output),
    "label_sheet": sheet,
    "robustness_curve": lambda output: curve_pictures.robustness_curve(CURVES, output),
}


@pytest.fixture(params=DRAW)
def draw(request):
    return DRAW[request.param]


# Every picture


def test_writes_a_legible_picture_and_nothing_else(draw, tmp_path):
    output = tmp_path / "out.png"
    assert draw(output) == output
    image = pixels(output)
    assert 300 < image.shape[0] < 2000
    assert 300 < image.shape[1] < 2500
    assert (image[[0, 0, -1, -1], [0, -1, 0, -1]] == 255).all()  # white ground up to the corners
    assert 0.01 < (image != 255).any(axis=2).mean() < 0.9
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize(
    ("suffix", "start"),
    [
        ("png", b"\x89PNG"),
        ("PNG", b"\x89PNG"),
        ("jpg", b"\xff\xd8"),
        ("jpeg", b"\xff\xd8"),
        ("svg", b"<?xml"),
        ("pdf", b"%PDF"),
    ],
)
def test_suffix_chooses_the_kind(suffix, start, tmp_path):
    output = DRAW["rank_panel"](tmp_path / f"out.{suffix}")
    assert output.read_bytes().startswith(start)


def test_users_matplotlib_settings_neither_show_nor_change(draw, tmp_path):
    import matplotlib
    import matplotlib.style

    plain = draw(tmp_path / "plain.png").read_bytes()
    loud = {  # what a matplotlibrc might say
        "font.size": 30,
        "font.family": "serif",
        "font.weight": "bold",
        "lines.linewidth": 9,
        "lines.marker": "x",
        "lines.linestyle": ":",
        "axes.linewidth": 5,
        "axes.xmargin": 0.4,
        "axes.grid": True,
        "axes.grid.axis": "x",
        "xtick.direction": "in",
        "xtick.top": True,
        "xtick.minor.visible": True,
        "patch.linewidth": 7,
        "image.origin": "lower",
        "image.interpolation": "nearest",
        "savefig.bbox": "tight",
        "savefig.dpi": 50,
        "figure.autolayout": True,
        "path.effects": [],
    }
    with matplotlib.style.context(["dark_background", loud]):
        before = matplotlib.rcParams.copy()
        assert draw(tmp_path / "loud.png").read_bytes() == plain
        assert dict(matplotlib.rcParams.copy()) == dict(before)  # of the copy: `backend` would be resolved and set


def test_import_is_light_and_drawing_leaves_pyplot_alone(tmp_path):
    script = (
        "import sys\n"
        "from vpmsearch.report import curves\n"
        "assert not {'matplotlib', 'torch'} & set(sys.modules)\n"
        f"curves.robustness_curve({CURVES!r}, {str(tmp_path / 'a.png')!r})\n"
        "assert 'matplotlib.pyplot' not in sys.modules and 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("bug")])
def test_failing_save_leaves_the_old_file(error, tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    output = tmp_path / "out.png"
    output.write_bytes(b"old")

    def fail(self, path, **options):
        Path(path).write_bytes(b"half a pict")
        raise error

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(DataError if isinstance(error, OSError) else RuntimeError, match=r"No space|bug"):
        DRAW["robustness_curve"](output)
    assert output.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [output]


def test_success_replaces_the_old_file(tmp_path):
    output = tmp_path / "out.png"
    output.write_bytes(b"old")
    DRAW["robustness_curve"](output)
    assert pixels(output).size


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("out.gif", r"\.png"), ("out", r"\.png"), ("out.png.txt", r"\.svg"), ("none/out.png", "create it first")],
)
def test_unusable_output_is_refused(draw, name, remedy, tmp_path):
    with pytest.raises(DataError, match=remedy):
        draw(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_output_that_is_a_folder_is_refused(tmp_path):
    (tmp_path / "out.png").mkdir()
    with pytest.raises(DataError, match=r"out\.png"):
        DRAW["robustness_curve"](tmp_path / "out.png")
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]


def test_picture_too_large_is_refused(tmp_path):
    image = person()
    with pytest.raises(DataError, match="fewer rows"):
        pictures.rank_panel([image] * 500, [result()] * 500, tmp_path / "out.png")


# rank_panel


def panel(tmp_path, *results, name="out.png", images=None, **options):
    options = {"load": load} | options
    images = images or [person()] * len(results)
    return pixels(pictures.rank_panel(images, results, tmp_path / name, **options))


@pytest.mark.parametrize(
    ("query", "gallery", "colors"),
    [
        (1, 1, {drawing.RIGHT}),
        (1, 2, {drawing.WRONG}),
        (1, 0, {drawing.WRONG}),
        (None, 1, set()),
        (1, None, set()),
        (1, -1, set()),
    ],
)
def test_frame_and_mark_say_right_or_wrong(query, gallery, colors, tmp_path):
    image = panel(tmp_path, result(match(gallery)), query_pids=[query])
    for color in (drawing.RIGHT, drawing.WRONG):
        # A frame of 3 points around 1 × 2 inches, its outer and inner edge blended.
        assert (count(image, color) > 0.8 * 6 * DPI * 3 / 72 * DPI) == (color in colors)
        assert (count(image, color) > 0) == (color in colors)
    assert (count(image, drawing.NEUTRAL) > 500) == (not colors)


def test_right_and_wrong_differ_in_shape_too(tmp_path):
    """Turned grey, ✓ and ✗ still differ: the header strip of the two pictures is not the same."""
    header = slice(int(0.2 * DPI), int(0.38 * DPI))
    left, right = (panel(tmp_path, result(match(pid)), query_pids=[1])[header] for pid in (1, 2))
    assert ((left != 255).any(axis=2) != (right != 255).any(axis=2)).any()


@pytest.mark.parametrize("size", [(64, 128), (64, 64), (32, 128), (640, 480), (8, 300), (300, 8)])
def test_query_keeps_its_aspect(size, tmp_path):
    image = panel(tmp_path, result(match()), images=[Image.new("RGB", size, MAGENTA)])
    rows, columns = np.nonzero(np.abs(image - MAGENTA).max(axis=2) < 60)
    shown = np.array([np.ptp(columns) + 1, np.ptp(rows) + 1]) if len(rows) else np.array([0, 0])
    scale = min(drawing.CELL_W / size[0], drawing.CELL_H / size[1]) * DPI
    np.testing.assert_allclose(shown, np.array(size) * scale, atol=4)


@pytest.mark.parametrize("p", [1, 6, 12])
def test_bars_are_as_high_as_the_shares(p, tmp_path):
    shares = np.arange(1, p + 1) / np.arange(1, p + 1).sum()
    image = panel(tmp_path, result(match(shares=shares)), load=lambda path: Image.new("RGB", (64, 128), "white"))
    blue = np.abs(image - [0x00, 0x72, 0xB2]).max(axis=2) <= 40
    bars = runs(blue.any(axis=0))
    assert len(bars) == p
    heights = [int(blue[:, start:end].sum(axis=0).max()) for start, end in bars]
    np.testing.assert_allclose(heights, drawing.LINE * DPI * shares / shares.max(), atol=2)


def test_bars_share_one_scale_and_leave_slots_for_regions_without_part(tmp_path):
    low, high = match(shares=(0.2, 0.2)), match(shares=(0.8,))
    image = panel(tmp_path, result(low, high), num_regions=4, load=lambda path: Image.new("RGB", (64, 128), "white"))
    blue = np.abs(image - [0x00, 0x72, 0xB2]).max(axis=2) <= 40
    heights = [int(blue[:, start:end].sum(axis=0).max()) for start, end in runs(blue.any(axis=0))]
    np.testing.assert_allclose(heights, np.array([0.25, 0.25, 1.0]) * drawing.LINE * DPI, atol=2)
    faint = (image == 0xE8).all(axis=2).sum(axis=0) > 5
    assert len(runs(faint)) == 7  # 2 matches × 4 slots, one of them filled


def test_a_panel_says_what_its_verdicts_mean(tmp_path, monkeypatch):
    """In the words of the shell and the page, each verdict once, whole however narrow the panel is."""
    written = []
    draw_text = pictures.put_text
    monkeypatch.setattr(pictures, "put_text", lambda axes, x, y, text, **how: written.append(text))
    told = [replace(result(match()), verdict=word) for word in ("match", "unsure", "match", None)]
    nobody = replace(result(match()), no_person="a picture of 1 × 1 pixels shows no person, " + "as is well known " * 6)
    itself = replace(result(replace(match(), itself=True)), verdict="no match")  # no first one that this speaks of
    panel(tmp_path, *told, nobody, itself)
    said = " ".join(written)
    for each in (*told[:2], nobody):
        assert said.count(f"{each.verdict_word}: {each.verdict_text}".strip()) == 1
    assert VERDICT_TEXTS["match"] in said
    assert VERDICT_TEXTS["no match"] not in said
    assert all(drawing.text_width(line) <= 5.2 for line in written)
    written.clear()
    panel(tmp_path, result(match()))
    assert not [line for line in written if "strangers" in line.lower()]
    monkeypatch.setattr(pictures, "put_text", draw_text)
    assert panel(tmp_path, told[0]).shape[0] > panel(tmp_path, result(match())).shape[0], "there is room for it"


@pytest.mark.parametrize("error", [FileNotFoundError(2, "gone"), ImageError("truncated")])
def test_unreadable_match_is_missing(error, tmp_path):
    def fail(path):
        raise error

    missing = panel(tmp_path, result(match(1), match(2)), query_pids=[1], load=fail)
    there = panel(tmp_path, result(match(1), match(2)), query_pids=[1])
    assert missing.shape == there.shape
    assert count(missing, (255, 255, 255)) > count(there, (255, 255, 255)) + 30_000
    assert count(missing, drawing.RIGHT) > 1000
    assert count(missing, drawing.WRONG) > 1000


def test_default_loader_reads_files(tmp_path):
    Image.new("RGB", (64, 128), MAGENTA).save(tmp_path / "there.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG broken")
    names = ["there.png", "broken.png", "vanished.png"]
    answer = result(*(match(path=str(tmp_path / name)) for name in names))
    output = pictures.rank_panel([person()], [answer], tmp_path / "out.png")
    cell = drawing.CELL_W * drawing.CELL_H * DPI * DPI
    assert 0.9 * cell < count(pixels(output), MAGENTA, within=3) < 1.01 * cell  # one of the three


def test_bug_in_a_loader_is_not_hidden(tmp_path):
    def broken(path):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        panel(tmp_path, result(match()), load=broken)


def test_no_result_says_so(tmp_path):
    empty = panel(tmp_path, result())
    right_of_query = empty[: int((0.2 + 0.19 + 2.2) * DPI), int(1.4 * DPI) :]
    assert 50 < (right_of_query != 255).any(axis=2).sum() < 5000  # a few letters, no frame
    mixed = panel(tmp_path, result(match()), result(), result(match(2)), query_pids=[1, 1, None])
    assert mixed.shape[0] > 2 * empty.shape[0]


def test_top_limits_the_row(tmp_path):
    answer = result(*(match(pid) for pid in range(20)))
    seen = []
    images = {top: panel(tmp_path, answer, top=top, load=lambda path: seen.append(path) or person()) for top in (5, 10)}
    assert len(seen) == 15
    assert images[10].shape[1] - images[5].shape[1] == pytest.approx(5 * (drawing.CELL_W + drawing.GAP) * DPI, abs=2)


def test_title_is_drawn(tmp_path):
    assert panel(tmp_path, result(match()), title="x" * 400).shape[0] > panel(tmp_path, result(match())).shape[0]


NAMES = [
    "店/行人_人物_0001.jpg",
    "Ärger/größe_é_ñ.png",
    "e\u0301.jpg",
    "a$x^2$b_{c}.jpg",
    "$unbalanced.jpg",
    "line\nbreak\ttab.jpg",
    "surrogate_\udc80\udcff.jpg",
    "\u202eltr.jpg",
    "🚶🏽‍♀️.jpg",
    "\\frac{1}{2}.jpg",
    "%d_{}_%s.jpg",
    ".jpg",
    "",
    "مشاة.jpg",
    "x" * 250,
]


def test_any_name_is_drawn_without_a_warning(tmp_path):
    answer = result(*(match(path=name, distance=10.0**i) for i, name in enumerate(NAMES, start=-8)))
    assert panel(tmp_path, answer, top=len(NAMES), title="".join(NAMES)).size
    for suffix in ("svg", "pdf"):
        curve_pictures.robustness_curve(dict.fromkeys(NAMES, CURVES["VPM"]), tmp_path / f"out.{suffix}", title="行 $x")


@pytest.mark.parametrize(
    ("images", "options"),
    [
        (0, {}),
        (1, {}),
        (3, {}),
        (2, {"query_pids": [1]}),
        (2, {"top": 0}),
        (2, {"num_regions": 2}),
        (2, {"num_regions": 0}),
    ],
)
def test_what_does_not_fit_is_refused(images, options, tmp_path):
    results = [result(match())] * 2 if images else []
    with pytest.raises(DataError):
        pictures.rank_panel([person()] * images, results, tmp_path / "out.png", load=load, **options)
    assert not list(tmp_path.iterdir())


# region_overlay


@pytest.mark.parametrize("grid", [(1, 1), (3, 2), (12, 1)])
def test_overlay_covers_each_region_by_its_pixels(grid, tmp_path):
    """The area in each region's blended colour is what a plain loop over T counts."""
    p = grid[0] * grid[1]
    image = pixels(overlay(tmp_path / "out.png", grid, Image.new("RGB", (64, 128), (128, 128, 128))))
    chances = probabilities(grid)
    pixels_of = [0] * p
    for y in range(24):
        for x in range(8):
            pixels_of[max(range(p), key=lambda region: chances[region, y, x])] += 1
    grey = int(0.85 * 128 + 0.15 * 255)
    cell = (3.6 * DPI / 24) * (1.8 * DPI / 8) * (max(3.6, 0.9 * drawing.LINE * p) / 3.6) ** 2
    for region in range(p):
        shade = np.array([int(drawing.shade(region)[i : i + 2], 16) for i in (1, 3, 5)])
        area = count(image, 0.45 * shade + 0.55 * grey, within=2)
        # A number of 11 points with its halo hides a part of each region; edges blend.
        assert 0.97 * pixels_of[region] * cell - 800 <= area <= 1.06 * pixels_of[region] * cell + 20, region


def test_overlay_bars_are_as_long_as_the_visibility_and_hollow_below_the_threshold(tmp_path):
    visibility = np.array([0.5, 0.3, 0.15, 0.05])
    chances = np.zeros((4, 8, 4))
    chances[0] = 1.0  # so that the other colours are in the key and the bars only

    def areas(threshold, values=visibility):
        output = tmp_path / "out.png"
        pictures.region_overlay(person(), chances, values, output, grid=(4, 1), min_visibility=threshold)
        return [count(pixels(output), drawing.shade(region), within=2) for region in range(4)]

    empty = areas(None, np.array([1.0, 0, 0, 0]))
    bars = np.array(areas(None))[1:] - empty[1:]
    assert bars[0] / bars[1] == pytest.approx(2.0, rel=0.1)
    assert bars[1] / bars[2] == pytest.approx(3.0, rel=0.2)
    hollow = np.array(areas(0.2))[1:] - empty[1:]
    assert hollow[0] > 0.9 * bars[0]
    assert (hollow[1:] < 0.4 * bars[1:]).all()


@pytest.mark.parametrize(
    ("mode", "size"),
    [("RGB", (640, 480)), ("L", (64, 64)), ("P", (32, 128)), ("RGB", (1, 500)), ("L", (500, 1))],
)
def test_overlay_takes_any_image(mode, size, tmp_path):
    image = overlay(tmp_path / "out.png", image=person(size).convert(mode) if min(size) > 1 else Image.new(mode, size))
    assert image.exists()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_overlay_takes_any_float(dtype, tmp_path):
    chances = probabilities((3, 2)).astype(dtype)
    pictures.region_overlay(
        person(), chances, chances.mean(axis=(1, 2)), tmp_path / "out.png", grid=(3, 2), min_visibility=1 / 12
    )
    assert pixels(tmp_path / "out.png").size


@pytest.mark.parametrize(
    ("chances", "visibility", "grid"),
    [
        (np.ones((6, 8, 4)), np.ones(6), (3, 1)),
        (np.ones((6, 8, 4)), np.ones(5), (6, 1)),
        (np.ones((8, 4)), np.ones(8), (8, 1)),
        (np.full((6, 8, 4), math.nan), np.ones(6), (6, 1)),
        (np.ones((6, 8, 4)), np.full(6, math.inf), (6, 1)),
        (np.ones((6, 0, 4)), np.ones(6), (6, 1)),
        (np.ones((0, 8, 4)), np.ones(0), (0, 1)),
        (np.ones((6, 8, 4)), np.ones(6), (-6, -1)),
    ],
)
def test_overlay_refuses_what_does_not_fit(chances, visibility, grid, tmp_path):
    with pytest.raises(DataError):
        pictures.region_overlay(person(), chances, visibility, tmp_path / "out.png", grid=grid)


def test_huge_images_are_scaled_down_first():
    huge = Image.new("RGB", (7000, 5000), MAGENTA)
    small = drawing.shrunk(huge, 1.0, 2.0)
    assert small.size == (DPI, 2 * DPI)
    assert np.asarray(small)[7, 7].tolist() == list(MAGENTA)
    crop = person()
    assert drawing.shrunk(crop, 1.0, 2.0) is crop


def test_huge_image_in_every_picture_of_images(tmp_path):
    huge = Image.new("RGB", (7000, 5000), MAGENTA)
    panel(tmp_path, result(match()), images=[huge], load=lambda path: huge)
    overlay(tmp_path / "out.png", image=huge)
    labels, visible = np.zeros((1, 8, 4), int), np.ones((1, 2), bool)
    pictures.label_sheet([huge], labels, visible, (2, 1), tmp_path / "sheet.png")
    assert count(pixels(tmp_path / "out.png"), MAGENTA, within=3) > 100_000


# loss_curves


def test_a_panel_for_each_term_and_the_rate(tmp_path):
    def size(rows):
        return pixels(curve_pictures.loss_curves(rows, tmp_path / "out.png")).shape[:2]

    one, three, four = (
        size([{"step": i, **{f"loss_{k}": 1.0 / (i + 1) for k in range(terms)}} for i in range(9)])
        for terms in (1, 3, 4)
    )
    assert one[0] == three[0] < four[0]
    assert one[1] < three[1] == four[1]
    two = size([{"step": 1, "loss": 1.0, "lr": 0.1, "seconds": 3.0, "epoch": 1}])
    assert two == (one[0], pytest.approx((one[1] + three[1]) / 2, abs=1))


def test_curves_move_with_the_values(tmp_path):
    falling = pixels(curve_pictures.loss_curves([{"step": i, "loss": 9 - i} for i in range(10)], tmp_path / "a.png"))
    rising = pixels(curve_pictures.loss_curves([{"step": i, "loss": i} for i in range(10)], tmp_path / "b.png"))
    blue = [np.nonzero(np.abs(image - [0x00, 0x72, 0xB2]).max(axis=2) <= 30) for image in (falling, rising)]
    slopes = [np.polyfit(columns, rows, 1)[0] for rows, columns in blue]
    assert slopes[0] > 0.3  # rows count downwards
    assert slopes[1] < -0.3


@pytest.mark.parametrize(
    "rows",
    [
        [{"step": 1, "loss": 2.0}],
        [{"loss": 2.0}, {"loss": 1.0}],
        [{"step": i, "loss": math.nan} for i in range(3)],
        [{"step": i, "loss": value} for i, value in enumerate([1.0, math.inf, 1e20, math.nan, -math.inf, 2.0, 1e300])],
        [{"step": 0, "loss": 1.0}, {"step": 1, "loss_id": 2.0}, {"step": 2}],
        [{"step": 3, "lr": 0.0}, {"step": 4, "lr": 0.1}],
        [{"step": 5, "loss": 1.0}, {"step": 5, "loss": 1.0}],
        [{"step": i, "loss": 1.0, "lr": 10.0**-i} for i in range(5)],
    ],
)
def test_odd_logs_are_drawn(rows, tmp_path):
    assert pixels(curve_pictures.loss_curves(rows, tmp_path / "out.png")).size


def test_long_log_is_drawn(tmp_path):
    rows = [{"step": i, "loss": math.sin(i) + 1} for i in range(50_000)]
    assert pixels(curve_pictures.loss_curves(rows, tmp_path / "out.png")).size


@pytest.mark.parametrize(
    "rows", [[], [{}], [{"step": 1.0, "epoch": 0.0}], [{"step": 1, "loss": "abc"}], [{"step": "x", "loss": 1.0}]]
)
def test_logs_without_a_loss_are_refused(rows, tmp_path):
    with pytest.raises(DataError):
        curve_pictures.loss_curves(rows, tmp_path / "out.png")


@given(st.lists(st.floats(-1e3, 1e3) | st.just(math.nan), min_size=1, max_size=450))
def test_running_mean_is_the_plain_loop(values):
    half = min(250, len(values) // 100)
    expected = []
    for i, value in enumerate(values):
        window = [other for other in values[max(0, i - half) : i + half + 1] if not math.isnan(other)]
        expected.append(math.nan if math.isnan(value) else sum(window) / len(window))
    np.testing.assert_allclose(panels.running_mean(np.array(values)), expected, rtol=1e-9, atol=1e-9)


def test_running_mean_survives_a_spike():
    values = np.ones(1000)
    values[100] = 1e20
    assert (panels.running_mean(values)[200:] == 1).all()


@given(st.lists(st.floats(-1e3, 1e3) | st.just(math.nan), min_size=1, max_size=300), st.integers(1, 40))
def test_thinning_keeps_the_extremes_and_few_points(values, bins):
    y = np.array(values)
    x, thin = panels.thinned(np.arange(len(y), dtype=float), y, bins)
    assert len(x) == len(thin) <= max(2 * bins, len(y) if len(y) <= 2 * bins else 0)
    assert (np.diff(x) >= 0).all()
    if np.isfinite(y).any():
        assert np.nanmin(thin) == np.nanmin(y)
        assert np.nanmax(thin) == np.nanmax(y)


# label_sheet


@pytest.mark.parametrize(("b", "p"), [(1, 1), (3, 12), (9, 6)])
def test_sheet_has_a_cell_for_each_crop(b, p, tmp_path):
    image = pixels(sheet(tmp_path / "out.png", b, p, captions=[f"crop {i} γ=0.5" for i in range(b)]))
    columns, lines = min(8, b), math.ceil(b / 8)
    assert image.shape[1] == pytest.approx((2 * 0.2 + columns * 1.14 - 0.14) * DPI, abs=2)
    assert image.shape[0] == pytest.approx((0.2 + lines * (2.0 + 2 * 0.19 + 0.14)) * DPI, abs=2)


def test_sheet_shows_what_is_visible(tmp_path):
    visible = np.array([[True, False]])
    labels = np.zeros((1, 4, 2), int)
    one = pixels(sheet(tmp_path / "a.png", 1, 2, labels=labels, visible=visible))
    both = pixels(sheet(tmp_path / "b.png", 1, 2, labels=labels, visible=~visible | visible))
    assert count(both, drawing.shade(1), 2) > 2 * count(one, drawing.shade(1), 2)
    assert count(both, drawing.shade(0), 2) == count(one, drawing.shade(0), 2)


def test_sheet_leaves_negative_labels_uncoloured(tmp_path):
    labels = np.full((1, 4, 2), -1)
    image = pixels(sheet(tmp_path / "out.png", 1, 2, labels=labels))[: int(2.2 * DPI)]
    assert np.ptp(image, axis=2).max() == 0  # all grey: the dimmed crop alone


@pytest.mark.parametrize(
    "options",
    [
        {"labels": np.zeros((2, 4, 2), int)},
        {"visible": np.ones((3, 5), bool)},
        {"captions": ["a"]},
        {"labels": np.full((3, 4, 2), 6)},
        {"labels": np.zeros((3, 0, 2), int)},
        {"b": 0},
        {"labels": np.zeros((3, 4), int)},
    ],
)
def test_sheet_refuses_what_does_not_fit(options, tmp_path):
    with pytest.raises(DataError):
        sheet(tmp_path / "out.png", **options)


# robustness_curve


def test_points_stand_at_their_rank1(tmp_path):
    """A level line at 25 % and one at 75 % are where the axis, from 20 to 80, puts them; order does not matter."""
    low, high = [(0.5, 0.25), (1.0, 0.25)], [(1.0, 0.75), (0.5, 0.75)]
    image = pixels(curve_pictures.robustness_curve({"low": low, "high": high}, tmp_path / "out.png"))
    rows = [
        np.nonzero(np.abs(image - np.array(rgb)).max(axis=2).min(axis=1) <= 20)[0]
        for rgb in ([0, 0x72, 0xB2], [0xE6, 0x9F, 0])
    ]
    full = 50 / 62 * 3.0 * DPI  # 25 to 75 of 19 to 81, on axes of 3 inches
    assert np.median(rows[0]) - np.median(rows[1]) == pytest.approx(full, abs=8)
    again = pixels(curve_pictures.robustness_curve({"low": low[::-1], "high": high[::-1]}, tmp_path / "out.png"))
    assert (again == image).all()


@pytest.mark.parametrize("systems", [1, 25])
def test_many_systems(systems, tmp_path):
    curves = {f"system {i}": [(g / 10, 0.5 + i / 100) for g in range(1, 11)] for i in range(systems)}
    assert pixels(curve_pictures.robustness_curve(curves, tmp_path / "out.png")).size


@pytest.mark.parametrize(
    "pairs",
    [[(1.0, 0.0)], [(1.0, 1.0)], [(0.5, 0.3)], [(0.5, 0.5), (0.5, 0.6)], [(g / 100, g / 100) for g in range(101)]],
)
def test_ends_of_the_range(pairs, tmp_path):
    assert pixels(curve_pictures.robustness_curve({"a": pairs}, tmp_path / "out.png")).size


@pytest.mark.parametrize(
    "curves",
    [
        {},
        {"a": []},
        {"a": np.empty((0, 2))},
        {"a": [(0.5, 70.9)]},
        {"a": [(0.5, -0.1)]},
        {"a": [(0.5, math.nan)]},
        {"a": [(0.5,)]},
        {"a": [(0.5, 0.5, 0.5)], "b": [(0.5, 0.5)]},
        {"a": [(0.5, 0.5), (0.6,)]},
        {"a": "abc"},
    ],
)
def test_curves_that_cannot_be_drawn_are_refused(curves, tmp_path):
    with pytest.raises(DataError):
        curve_pictures.robustness_curve(curves, tmp_path / "out.png")


@given(st.lists(st.floats(0.5, 3.5), min_size=1, max_size=12))
def test_labels_are_spread_in_order(places):
    bottom = max(3.5, 0.2 * len(places))
    spread = panels.spread(places, 0.2, bottom)
    order = np.argsort(places, kind="stable")
    gaps = np.diff(np.array(spread)[order])
    assert (gaps >= 0.2 - 1e-9).all()
    assert max(spread) <= bottom + 1e-9
    if (np.diff(np.sort(places)) >= 0.2).all() and max(places) <= bottom:
        assert spread == pytest.approx(places)


# Text and colours


@given(st.text(max_size=60), st.floats(0.1, 3.0))
def test_shortened_text_fits_and_has_glyphs(text, inches):
    shown = drawing.shorten(text, inches)
    assert all(ord(char) in drawing.glyphs() and char.isprintable() for char in shown)
    assert drawing.text_width(shown) <= inches + 0.1  # an ellipsis alone may be wider
    whole = drawing.printable(text)
    assert shown == whole or ("…" in shown and drawing.text_width(whole) > inches)


def test_shortening_keeps_both_ends():
    shown = drawing.shorten("0002_c1s1_000451_03", 1.0)
    head, tail = shown.split("…")
    assert "0002_c1s1_000451_03".startswith(head)
    assert "0002_c1s1_000451_03".endswith(tail)
    assert len(head) >= 3
    assert len(tail) >= 3


def test_shades_of_21_regions_differ():
    shades = [drawing.to_rgb(drawing.shade(i)) for i in range(21)]
    assert min(np.abs(a - b).max() for i, a in enumerate(shades) for b in shades[:i]) > 0.05
