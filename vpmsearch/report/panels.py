"""The panels of pictures: queries and matches, bars, labels over an image, curves.

Each is drawn on a sheet of `vpmsearch.report.drawing`, in inches from the top left corner.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vpmsearch.data.reading import scene_name
from vpmsearch.errors import DataError, VpmsearchError
from vpmsearch.labels import Label, is_junk
from vpmsearch.report.drawing import (
    BAR,
    CELL_H,
    CELL_W,
    FAINT,
    GAP,
    INK,
    LARGE,
    LINE,
    NEUTRAL,
    QUIET,
    RIGHT,
    STROKE,
    WRONG,
    Box,
    Floats,
    centred,
    checked_numbers,
    draw_box,
    draw_image,
    draw_line,
    draw_photo,
    put_text,
    shade,
    shorten,
    shrunk,
    text_width,
    to_rgb,
)
from vpmsearch.types import Match

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Loader = Callable[[str], Image.Image]


def share_scale(rows: Sequence[Sequence[Match]], num_regions: int | None) -> tuple[int, float]:
    """The number of bars for each match, and the share that the highest bar shows."""
    parts = [part for row in rows for match in row for part in match.regions]
    named = max((part.region + 1 for part in parts), default=1)
    if num_regions is not None and num_regions < named:
        raise DataError(f"{num_regions} regions are too few: the matches need {named}; give the p of the index")
    return num_regions or named, max((part.share for part in parts), default=0.0) or 1.0


def verdict(match: Match, pid: Label | None) -> bool | None:
    """Whether the match shows the query's person; None if a pid is unknown or junk (negative)."""
    known = pid is not None and match.pid is not None and not is_junk(pid) and not is_junk(match.pid)
    return match.pid == pid if known else None


def draw_query(
    axes: Axes, images: Sequence[Image.Image], pid: Label | None, verdict: str | None, x: float, y: float
) -> None:
    """Draw the query's photographs below each other in a cell, with their aspects; pid above, verdict below."""
    height = (CELL_H - (len(images) - 1) * GAP / 2) / max(len(images), 1)
    for number, image in enumerate(images):
        box = centred(image.size, (x, y + LINE + number * (height + GAP / 2), CELL_W, height))
        draw_photo(axes, image, box)
        draw_box(axes, box, edge=INK, linewidth=1.0)
    if images:
        put_text(axes, x, y + LINE - 0.06, "query", weight="bold")
    if pid is not None:
        put_text(axes, x + 0.5, y + LINE - 0.06, shorten(f"pid {pid}", CELL_W - 0.5), color=QUIET)
    if verdict:
        color = {"match": RIGHT, "no match": WRONG}.get(verdict, QUIET)
        put_text(axes, x, y + LINE + CELL_H + LINE, verdict, color=color, weight="bold")


def draw_match(axes: Axes, match: Match, rank: int, verdict: bool | None, load: Loader, x: float, y: float) -> None:
    """Draw one match with its frame. The caller adds the bars."""
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
    put_text(axes, x, y + LINE + CELL_H + 2 * LINE, shorten(scene_name(match.path, stem=True), CELL_W))
    put_text(axes, x, y + LINE + CELL_H + 3 * LINE, shorten(_labels(match), CELL_W), color=QUIET)
    if match.false_match_rate is not None:
        put_text(axes, x, y + LINE + CELL_H + 4 * LINE, f"{match.false_match_rate:.0%} false", color=QUIET)


def _labels(match: Match) -> str:
    """Person and camera, as far as they are known."""
    told = [f"pid {match.pid}"] if match.pid is not None else []
    told += [f"cam {match.camid}"] if match.camid is not None else []
    return " ".join(told)


def draw_shares(axes: Axes, match: Match, p: int, peak: float, box: Box) -> None:
    """Draw a bar for each region, as high as its share of the weight. A share of `peak` fills the box."""
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
        draw_image(axes, (0.85 * grey + 0.15 * 255).astype(np.uint8), box)
    h, w = labels.shape
    paint = np.zeros((h, w, 4))
    for region in range(p):
        rows, columns = np.nonzero(labels == region)
        if not len(rows):
            continue
        paint[rows, columns, :3] = to_rgb(shade(region))
        paint[rows, columns, 3] = 0.45 if image is not None else 1.0
        # The region's pixel that is nearest to its centre: the centre itself may lie in another region.
        middle = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
        x, y = left + (columns[middle] + 0.5) * width / w, top + (rows[middle] + 0.5) * height / h
        put_text(axes, x, y, str(region), size=LARGE, ha="center", va="center", halo=True)
    draw_image(axes, paint, box, smooth=False)


def draw_visibility(axes: Axes, seen: Floats, threshold: float | None, box: Box) -> None:
    """Draw a horizontal bar for each region, hollow below the threshold. The threshold is a dashed line."""
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
    """Draw one term. Returns its last (smoothed) value as text."""
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
    """(N, 2), γ in ascending order, and rank-1 in percent."""
    curve = checked_numbers(pairs, f"the curve of {name!r}", 2)
    if curve.shape[1] != 2 or not len(curve) or curve.min() < 0 or curve.max() > 1:
        raise DataError(f"the curve of {name!r} needs pairs of γ and rank-1, both fractions from 0 to 1")
    return curve[np.argsort(curve[:, 0], kind="stable")] * (1, 100)


def frame_curves(axes: Axes, points: Floats, *, ticks: bool) -> tuple[float, float]:
    """Set the limits of the percents to whole tens, and return them. With `ticks`, each γ gets a tick."""
    from matplotlib.ticker import MultipleLocator

    low, high = 10 * math.floor(points[:, 1].min() / 10), 10 * math.ceil(points[:, 1].max() / 10)
    if low == high:
        low, high = max(0, low - 10), min(100, high + 10)
    axes.set_ylim(low - 1, high + 1)
    axes.yaxis.set_major_locator(MultipleLocator(20 if high - low > 50 else 10 if high - low > 20 else 5))
    if ticks:
        gammas = np.unique(points[:, 0])
        axes.set_xticks(gammas[:: math.ceil(len(gammas) / 11)])
    return low - 1, high + 1


def _brief(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.4g}"


def spread(places: Sequence[float], gap: float, bottom: float) -> list[float]:
    """The places, moved apart in their order until neighbours are `gap` apart and none is below `bottom`."""
    spread = list(places)
    previous = -math.inf
    for rank, index in enumerate(np.argsort(places, kind="stable")):
        highest = bottom - (len(places) - 1 - rank) * gap
        previous = spread[index] = max(min(places[index], highest), previous + gap)
    return spread


def running_mean(values: Floats) -> Floats:
    """Mean of the finite values in a centred window; NaN stays NaN."""
    good = np.isfinite(values)
    # Each window is summed on its own: with one cumulative sum, a spike of 1e20 would destroy all later digits.
    window = np.ones(2 * min(250, len(values) // 100) + 1)
    sums = np.convolve(np.where(good, values, 0.0), window, mode="same")
    return np.where(good, sums / np.maximum(1, np.convolve(good, window, mode="same")), np.nan)


def thinned(x: Floats, y: Floats, bins: int = 1000) -> tuple[Floats, Floats]:
    """At most two points for each bin, its smallest and largest: Agg refuses lines of millions of points."""
    if len(x) <= 2 * bins:
        return x, y
    starts = np.linspace(0, len(x), bins, endpoint=False).astype(np.int64)
    ends = np.fmin.reduceat(y, starts), np.fmax.reduceat(y, starts)  # these ignore NaN
    return np.repeat(x[starts], 2), np.stack(ends, axis=1).ravel()  # (bins, 2) -> (2·bins,)
