"""What the pictures are made of: a sheet whose units are inches from the top left corner, and what is drawn on it.

The one style of all pictures is set here; `vpmsearch.pictures` says what it is and why matplotlib is imported late.
"""

from __future__ import annotations

import math
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from vpmsearch.atomic import replacing
from vpmsearch.errors import DataError, VpmsearchError
from vpmsearch.types import Match

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.font_manager import FontProperties

DPI = 150
SUFFIXES = (".png", ".jpg", ".jpeg", ".svg", ".pdf")
MAX_PIXELS = 60_000_000  # 240 MB while it is drawn
MAX_SIDE = 32_000  # pixels; Agg stops at 2¹⁶, many viewers earlier

RIGHT, WRONG, NEUTRAL, BAR = "#009E73", "#D55E00", "#999999", "#0072B2"
INK, QUIET, FAINT = "#222222", "#595959", "#E8E8E8"
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442")
LINES = (*PALETTE[:6], "#000000")  # a yellow line is hard to see on white
MARKERS = "osD^vPX"
STROKE: dict[str, Any] = {"linewidth": 1.6, "linestyle": "-"}
FONT, LARGE = 9.0, 11.0  # points
# Tried after DejaVu Sans, where installed, for scripts that it lacks; what is in none is drawn as □.
WIDE_FAMILIES = ("Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Micro Hei", "Noto Sans", "Unifont")

# Inches. A crop is about 1:2; LINE is one line of text.
CELL_W, CELL_H, GAP, LINE, MARGIN = 1.0, 2.0, 0.14, 0.19, 0.2

Loader = Callable[[str], Image.Image]
Floats = NDArray[np.float64]
Box = tuple[float, float, float, float]  # left, top, width, height in inches


# What the pictures are made of. Each draws on a sheet, whose units are inches from the top left corner.


def share_scale(rows: Sequence[Sequence[Match]], num_regions: int | None) -> tuple[int, float]:
    """The number of bars a match and the share of the highest."""
    parts = [part for row in rows for match in row for part in match.regions]
    named = max((part.region + 1 for part in parts), default=1)
    if num_regions is not None and num_regions < named:
        raise DataError(f"{num_regions} regions are too few: the matches need {named}; give the p of the index")
    return num_regions or named, max((part.share for part in parts), default=0.0) or 1.0


def verdict(match: Match, pid: int | None) -> bool | None:
    """Whether the match shows the query's person; None where unknown (a negative pid is junk)."""
    known = pid is not None and match.pid is not None and min(pid, match.pid) >= 0
    return match.pid == pid if known else None


def draw_query(axes: Axes, image: Image.Image, pid: int | None, x: float, y: float) -> None:
    """The query in its cell, its true aspect kept, pid above it."""
    box = centred(image.size, (x, y + LINE, CELL_W, CELL_H))
    draw_photo(axes, image, box)
    draw_box(axes, box, edge=INK, linewidth=1.0)
    put_text(axes, x, y + LINE - 0.06, "query", weight="bold")
    if pid is not None:
        put_text(axes, x + 0.5, y + LINE - 0.06, f"pid {pid}", color=QUIET)


def draw_match(axes: Axes, match: Match, rank: int, verdict: bool | None, load: Loader, x: float, y: float) -> None:
    """One match with its frame; the caller adds the bars."""
    color = {None: NEUTRAL, True: RIGHT, False: WRONG}[verdict]
    mark = {None: "", True: "✓", False: "✗"}[verdict]
    put_text(axes, x, y + LINE - 0.06, str(rank), weight="bold")
    put_text(axes, x + text_width(str(rank)) + 0.09, y + LINE - 0.06, mark, size=LARGE, color=color)
    put_text(axes, x + CELL_W, y + LINE - 0.06, _brief(match.distance), color=QUIET, ha="right")
    cell = (x, y + LINE, CELL_W, CELL_H)
    try:
        image = load(match.path)
        box = centred(image.size, cell)
        draw_photo(axes, image, box)
    except (VpmsearchError, OSError):
        box = cell
        draw_box(axes, box, fill="white")
        put_text(axes, x + CELL_W / 2, y + LINE + CELL_H / 2, "missing", color=QUIET, ha="center", va="center")
    draw_box(axes, box, edge=color, linewidth=1.0 if verdict is None else 3.0)
    put_text(axes, x, y + LINE + CELL_H + 2 * LINE, shorten(Path(match.path).stem, CELL_W))


def draw_shares(axes: Axes, match: Match, p: int, peak: float, box: Box) -> None:
    """One bar a region, as high as its share of the weight; `peak` fills the box."""
    left, top, width, height = box
    slot = width / p
    shares = {part.region: part.share for part in match.regions}
    for region in range(p):
        x, wide = left + (region + 0.06) * slot, 0.88 * slot
        draw_box(axes, (x, top, wide, height), fill=FAINT)
        tall = height * min(1.0, max(0.0, shares.get(region, 0.0) / peak))
        draw_box(axes, (x, top + height - tall, wide, tall), fill=BAR)


def draw_labels(axes: Axes, image: Image.Image | None, labels: NDArray[np.int64], p: int, box: Box) -> None:
    """Colour each pixel of T, labels (h, w), by its region over the dimmed image; number each region once."""
    left, top, width, height = box
    if image is not None:
        grey = np.asarray(shrunk(image, width, height).convert("L"))[:, :, None].repeat(3, axis=2)
        _draw_image(axes, (0.85 * grey + 0.15 * 255).astype(np.uint8), box)
    h, w = labels.shape
    paint = np.zeros((h, w, 4))
    for region in range(p):
        rows, columns = np.nonzero(labels == region)
        if not len(rows):
            continue
        paint[rows, columns, :3] = to_rgb(shade(region))
        paint[rows, columns, 3] = 0.45 if image is not None else 1.0
        # The pixel of the region next to its middle: the middle itself may lie in another region.
        middle = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
        x, y = left + (columns[middle] + 0.5) * width / w, top + (rows[middle] + 0.5) * height / h
        put_text(axes, x, y, str(region), size=LARGE, ha="center", va="center", halo=True)
    _draw_image(axes, paint, box, smooth=False)


def draw_visibility(axes: Axes, seen: Floats, threshold: float | None, box: Box) -> None:
    """One horizontal bar a region; hollow under the threshold, which is a dashed line."""
    left, top, width, height = box
    row = height / len(seen)
    bar_left, bar_width = left + 0.28, width - 0.28 - 0.45
    full = max(float(seen.max()), threshold or 0.0) or 1.0
    for region, value in enumerate(seen):
        y, long = top + region * row, bar_width * max(0.0, float(value)) / full
        counts = threshold is None or value >= threshold
        place = (bar_left, y + 0.2 * row, long, 0.6 * row)
        draw_box(axes, place, fill=shade(region) if counts else "white", edge=shade(region))
        put_text(axes, left + 0.18, y + row / 2, str(region), ha="right", va="center")
        put_text(axes, left + width, y + row / 2, f"{value:.2f}", color=QUIET, ha="right", va="center")
    if threshold is not None:
        x = bar_left + bar_width * threshold / full
        draw_line(axes, (x, top), (x, top + height), INK, dashed=True)
        label = f"min_visibility {threshold:.3g}"
        put_text(axes, x, top + height + 0.05, label, color=QUIET, ha="center", va="top")


def draw_series(axes: Axes, steps: Floats, values: Floats, smooth: bool) -> str:
    """Draw one term; gives its last (smoothed) value in words."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    good = np.isfinite(values) & np.isfinite(steps)
    if not good.any():
        return "no finite value"
    line = np.where(good, values, np.nan)
    if smooth:
        axes.plot(*thinned(steps, line), color=BAR, alpha=0.3, linewidth=0.8, linestyle="-", marker="")
        line = running_mean(line)
    dot: dict[str, Any] = {"marker": "o", "markersize": 4 if len(steps) == 1 else 0, "markeredgewidth": 0}
    axes.plot(*thinned(steps, line), color=BAR, **STROKE, **dot)
    if not smooth and values[good].min() > 0 and values[good].max() >= 10 * values[good].min():
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_locator(NullLocator())
    return f"{line[good][-1]:.4g}"


def checked_curve(name: str, pairs: Sequence[tuple[float, float]]) -> Floats:
    """(N, 2): γ, ascending, and rank-1 in percent."""
    curve = checked_numbers(pairs, f"the curve of {name!r}", 2)
    if curve.shape[1] != 2 or not len(curve) or curve.min() < 0 or curve.max() > 1:
        raise DataError(f"the curve of {name!r} needs pairs of γ and rank-1, both fractions from 0 to 1")
    return curve[np.argsort(curve[:, 0], kind="stable")] * (1, 100)


def frame_curves(axes: Axes, points: Floats) -> tuple[float, float]:
    """Give rank-1 whole tens of percent and γ a tick a value; gives the lower and upper end."""
    from matplotlib.ticker import MultipleLocator

    low, high = 10 * math.floor(points[:, 1].min() / 10), 10 * math.ceil(points[:, 1].max() / 10)
    if low == high:
        low, high = max(0, low - 10), min(100, high + 10)
    axes.set_ylim(low - 1, high + 1)
    axes.yaxis.set_major_locator(MultipleLocator(20 if high - low > 50 else 10 if high - low > 20 else 5))
    gammas = np.unique(points[:, 0])
    axes.set_xticks(gammas[:: math.ceil(len(gammas) / 11)])
    return low - 1, high + 1


def shrunk(image: Image.Image, width: float, height: float) -> Image.Image:
    """In RGB, and no larger than these inches show: a photograph costs no more memory than what is seen."""
    limit = max(1, math.ceil(width * DPI)), max(1, math.ceil(height * DPI))
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    if image.width <= limit[0] and image.height <= limit[1]:
        return rgb
    size = min(image.width, limit[0]), min(image.height, limit[1])
    return rgb.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)


def _draw_image(axes: Axes, pixels: NDArray[Any], box: Box, *, smooth: bool = True) -> None:
    left, top, width, height = box
    extent = (left, left + width, top + height, top)
    interpolation = "hanning" if smooth else "nearest"
    axes.imshow(pixels, extent=extent, origin="upper", aspect="auto", interpolation=interpolation)


def draw_photo(axes: Axes, image: Image.Image, box: Box) -> None:
    """An image, shrunk to what the box can show."""
    _draw_image(axes, np.asarray(shrunk(image, *box[2:])), box)


def draw_box(axes: Axes, box: Box, *, fill: str = "none", edge: str = "none", linewidth: float = 0.8) -> None:
    """A rectangle."""
    from matplotlib.patches import Rectangle

    left, top, width, height = box
    style: dict[str, Any] = {"facecolor": fill, "edgecolor": edge, "linewidth": linewidth, "linestyle": "-"}
    axes.add_patch(Rectangle((left, top), width, height, joinstyle="miter", zorder=3, **style))


def draw_line(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], color: str, *, dashed: bool = False
) -> None:
    """A straight line."""
    dashes: Any = (0, (4, 3)) if dashed else "-"
    xs, ys = zip(start, end, strict=True)
    axes.plot(xs, ys, color=color, linewidth=1.0, linestyle=dashes, marker="", zorder=4)


def put_text(
    axes: Axes,
    x: float,
    y: float,
    text: str,
    *,
    size: float = FONT,
    weight: str = "normal",
    color: str = INK,
    halo: bool = False,
    **align: Any,
) -> None:
    """Write one line as it is: no mathtext or TeX, so that `$` in a file name is a `$`."""
    from matplotlib.patheffects import withStroke

    effects = [withStroke(linewidth=2.5, foreground="white")] if halo else []
    plain: dict[str, Any] = {"parse_math": False, "usetex": False, "path_effects": effects, "zorder": 5}
    axes.text(x, y, printable(text), fontproperties=_font(size, weight), color=color, **plain, **align)


@cache
def _families() -> tuple[str, ...]:
    from matplotlib.font_manager import fontManager

    installed = {entry.name for entry in fontManager.ttflist}
    return ("DejaVu Sans", *(name for name in WIDE_FAMILIES if name in installed))


@cache
def _font(size: float, weight: str = "normal") -> FontProperties:
    from matplotlib.font_manager import FontProperties

    return FontProperties(
        family=list(_families()), size=size, weight=weight, style="normal", variant="normal", stretch="normal"
    )


@cache
def glyphs() -> frozenset[int]:
    """The code points that some font of ours can draw; any other makes matplotlib warn."""
    from matplotlib.font_manager import findfont, get_font

    files = [findfont(family, fallback_to_default=False) for family in _families()]
    return frozenset(code for file in files for code in get_font(file).get_charmap())


def printable(text: str) -> str:
    """The composed text, with □ for what has no glyph: unknown scripts, control characters, surrogates."""
    text = unicodedata.normalize("NFC", text)
    return "".join(char if char.isprintable() and ord(char) in glyphs() else "□" for char in text)


def text_width(text: str, size: float = FONT) -> float:
    """Inches that a line of text takes."""
    from matplotlib.textpath import text_to_path

    return float(text_to_path.get_text_width_height_descent(text, _font(size), ismath=False)[0]) / 72


def shorten(text: str, inches: float, size: float = FONT) -> str:
    """The text if it fits, else its beginning and end around an ellipsis."""
    text = printable(text)
    if len(text) < 400 * inches / size and text_width(text, size) <= inches:
        return text

    def cut(keep: int) -> str:
        return text[: (keep + 1) // 2] + "…" + text[len(text) - keep // 2 :]

    # Hardly a letter is narrower than a fifth of its height: no need to measure more than so many.
    most = min(len(text), int(400 * inches / size))
    return cut(bisect_left(range(1, most), True, key=lambda keep: text_width(cut(keep), size) > inches))


def fitted(size: tuple[int, int], width: float, height: float) -> tuple[float, float]:
    """Width and height of an image of `size` (width, height) pixels as large as fits, at its own aspect."""
    scale = min(width / max(1, size[0]), height / max(1, size[1]))
    return max(1, size[0]) * scale, max(1, size[1]) * scale


def centred(size: tuple[int, int], box: Box) -> Box:
    """The largest box of an image's aspect in the middle of `box`."""
    left, top, width, height = box
    wide, high = fitted(size, width, height)
    return left + (width - wide) / 2, top + (height - high) / 2, wide, high


def to_rgb(color: str) -> NDArray[np.float64]:
    """A colour written #RRGGBB as three numbers in 0-1."""
    return np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255


def shade(index: int, palette: Sequence[str] = PALETTE) -> str:
    """The colour of region or system `index`: the palette, then darker, then lighter, and again."""
    turn, position = divmod(index, len(palette))
    target, part = ((0.0, 0.0), (0.0, 0.4), (1.0, 0.5))[turn % 3]
    mixed = (1 - part) * to_rgb(palette[position]) + part * target
    return "#" + "".join(f"{round(255 * value):02x}" for value in mixed)


def _brief(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.4g}"


def spread(places: Sequence[float], gap: float, bottom: float) -> list[float]:
    """The places moved apart, in their order, until neighbours are `gap` away and none is below `bottom`."""
    spread = list(places)
    previous = -math.inf
    for rank, index in enumerate(np.argsort(places, kind="stable")):
        highest = bottom - (len(places) - 1 - rank) * gap
        previous = spread[index] = max(min(places[index], highest), previous + gap)
    return spread


def running_mean(values: Floats) -> Floats:
    """Mean of the finite values in a centred window; NaN stays NaN."""
    good = np.isfinite(values)
    # A sum a window: differences of one cumulative sum would lose all digits after a spike of 1e20.
    window = np.ones(2 * min(250, len(values) // 100) + 1)
    sums = np.convolve(np.where(good, values, 0.0), window, mode="same")
    return np.where(good, sums / np.maximum(1, np.convolve(good, window, mode="same")), np.nan)


def thinned(x: Floats, y: Floats, bins: int = 1000) -> tuple[Floats, Floats]:
    """At most two points a bin, its smallest and largest: Agg refuses lines of millions of points."""
    if len(x) <= 2 * bins:
        return x, y
    starts = np.linspace(0, len(x), bins, endpoint=False).astype(np.int64)
    ends = np.fmin.reduceat(y, starts), np.fmax.reduceat(y, starts)  # these ignore NaN
    return np.repeat(x[starts], 2), np.stack(ends, axis=1).ravel()  # (bins, 2) -> (2·bins,)


def new_sheet(width: float, height: float, title: str | None) -> Axes:
    """A white figure of that many inches, and axes over all of it in inches from the top left corner."""
    from matplotlib.figure import Figure

    pixels = (width * DPI, height * DPI)
    if max(pixels) > MAX_SIDE or pixels[0] * pixels[1] > MAX_PIXELS:
        raise DataError(
            f"the picture would be {pixels[0]:.0f} × {pixels[1]:.0f} pixels, more than {MAX_SIDE} a side or "
            f"{MAX_PIXELS} in all; draw fewer rows or columns"
        )
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white", edgecolor="white")
    figure.set_layout_engine("none")
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0), facecolor="none")
    axes.set_axis_off()
    axes.set_autoscale_on(False)
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    if title:
        put_text(axes, MARGIN, MARGIN, shorten(title, width - 2 * MARGIN, LARGE), size=LARGE, va="top")
    return axes


def head_height(title: str | None) -> float:
    """Inches above the picture proper."""
    return MARGIN + (1.8 * LINE if title else 0)


def new_plot(sheet: Axes, box: Box) -> Axes:
    """Axes for curves at a place of the sheet: two spines, horizontal grid, plain numbers."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

    left, top, width, height = box
    figure = sheet.figure.canvas.figure
    wide, high = figure.get_size_inches()
    axes = figure.add_axes((left / wide, 1 - (top + height) / high, width / wide, height / high), facecolor="white")
    axes.margins(x=0.02, y=0.06)
    axes.grid(False)
    axes.grid(True, axis="y", color=FAINT, linewidth=0.8, linestyle="-", alpha=1.0)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set(visible=side in ("left", "bottom"), color=QUIET, linewidth=0.8)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], integer=axis is axes.xaxis))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_locator(NullLocator())
    sides: dict[str, Any] = {"left": True, "bottom": True, "right": False, "top": False}
    labels: dict[str, Any] = {f"label{side}": shown for side, shown in sides.items()}
    axes.tick_params(which="both", direction="out", length=3, width=0.8, pad=3, **sides, **labels)
    axes.tick_params(colors=QUIET)
    return axes


def checked_numbers(values: ArrayLike, what: str, ndim: int, *, finite: bool = True) -> Floats:
    """The values as float64 with `ndim` axes."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{what} cannot be drawn: {error}") from error
    if array.ndim != ndim or (finite and not np.isfinite(array).all()):
        raise DataError(f"{what} must have {ndim} axes and be finite to be drawn; got shape {array.shape}")
    return array


def checked_regions(grid: tuple[int, int], count: int, what: str) -> int:
    """The number of regions m·n, checked against what came along."""
    if min(grid) < 1 or grid[0] * grid[1] != count:
        raise DataError(f"a grid of {grid[0]} × {grid[1]} regions does not fit the {count} regions of {what}")
    return count


def checked_output(output: Path) -> Path:
    """The path to write to.

    Raises:
        DataError: an unknown suffix, or the folder is not there.
    """
    output = Path(output)
    if output.suffix.lower() not in SUFFIXES:
        raise DataError(f"{output} does not name a kind of picture; end it in one of {', '.join(SUFFIXES)}")
    if not output.parent.is_dir():
        raise DataError(f"there is no folder {output.parent} to write {output.name} into; create it first")
    return output


def save_picture(axes: Axes, output: Path) -> Path:
    """Write the figure whole or not at all.

    Raises:
        DataError: the file cannot be written.
    """
    kind = output.suffix.lower().removeprefix(".")
    figure = axes.figure.canvas.figure
    style: dict[str, Any] = {"dpi": DPI, "facecolor": "white", "edgecolor": "white"}
    style["bbox_inches"] = figure.bbox_inches  # all of it; None would ask rcParams
    style["metadata"] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    for plot in figure.axes:
        for label in [*plot.get_xticklabels(), *plot.get_yticklabels()] if plot.axison else []:
            label.set_fontproperties(_font(FONT))
    try:
        with replacing(output) as temporary:
            figure.savefig(temporary, format=kind, **style)
    except OSError as error:
        raise DataError(f"cannot write the picture {output}: {error.strerror or error}") from error
    return output
