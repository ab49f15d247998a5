"""Pictures for people: what was found and why, what a model sees, how training went, how well it works.

Every function checks its arguments, draws, and writes one file whole or not at all. The kind of file follows
the suffix of `output`: png, jpg, svg or pdf, at 150 dpi. All raise DataError where the arguments do not fit
together, the suffix is unknown, the folder is not there or the file cannot be written.

One style: white ground, DejaVu Sans of 9 points or more, the colours of Okabe and Ito ("Color Universal
Design", 2008), which people with any kind of colour vision can tell apart; what a colour says is also said by
a mark or a number. Regions are numbered from 0, row by row, as in `query --json`.

matplotlib is imported by the first drawing, never by importing this module. Its global state (pyplot,
rcParams) is not written, and a user's matplotlibrc does not show (docs/decisions/0002-matplotlib.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from vpmsearch.data.images import load_image
from vpmsearch.errors import DataError
from vpmsearch.report.drawing import (
    CELL_H,
    CELL_W,
    GAP,
    LARGE,
    LINE,
    LINES,
    MARGIN,
    MARKERS,
    QUIET,
    STROKE,
    centred,
    checked_numbers,
    checked_output,
    checked_regions,
    draw_box,
    draw_line,
    draw_photo,
    fitted,
    head_height,
    new_plot,
    new_sheet,
    put_text,
    save_picture,
    shade,
    shorten,
    text_width,
)
from vpmsearch.report.panels import (
    Loader,
    checked_curve,
    draw_labels,
    draw_match,
    draw_query,
    draw_series,
    draw_shares,
    draw_visibility,
    frame_curves,
    share_scale,
    spread,
    verdict,
)
from vpmsearch.types import SearchResult


def rank_panel(
    query_images: Sequence[Image.Image | None],
    results: Sequence[SearchResult],
    output: Path,
    *,
    query_pids: Sequence[int | None] | None = None,
    load: Loader = load_image,
    top: int = 10,
    title: str | None = None,
    num_regions: int | None = None,
) -> Path:
    """Draw one row a query: the query, then its best matches with the reasons for their rank.

    Above a match stand its rank and distance, under it one bar a region: the region's share of the weight in
    Eq. 4, on one scale over the whole panel; an empty slot is a region that had no part.

    Args:
        query_images: one image a result, drawn at its own aspect: half a body is visibly half. None leaves its
            place empty.
        results: what the search answered, in the same order; without matches the row says "no result".
        output: where to write.
        query_pids: whom each query shows. Where both pids are known, a match is framed green with ✓ or
            orange-red with ✗.
        load: reads a match's `path`; "missing" is drawn where it raises VpmsearchError or OSError.
        top: matches a row at most.
        title: a line above it all.
        num_regions: p, where the matches name only some regions; default: up to the largest region named.

    Returns:
        `output`.
    """
    output = checked_output(output)
    pids = [None] * len(results) if query_pids is None else list(query_pids)
    if not results or len(query_images) != len(results) or len(pids) != len(results) or top < 1:
        raise DataError(
            "a rank panel needs one image and pid a result, one result and top 1 or more; "
            f"got {len(query_images)} images, {len(results)} results, {len(pids)} pids and top {top}"
        )
    rows = [result.matches[:top] for result in results]
    p, peak = share_scale(rows, num_regions)
    notes = [f"Bars: each region's share of the weight, {f'regions 0 to {p - 1}' if p > 1 else 'region 0'}"]
    if any(verdict(match, pid) is not None for row, pid in zip(rows, pids, strict=True) for match in row):
        notes.append("✓ same identity as the query   ✗ another")
    columns, row_height = 1 + max(3, *map(len, rows)), CELL_H + 3 * LINE + GAP
    feet = head_height(title) + len(rows) * row_height
    width = 2 * MARGIN + columns * (CELL_W + GAP) + GAP
    axes = new_sheet(width, feet + len(notes) * LINE + MARGIN, title)
    for i, (image, row, pid) in enumerate(zip(query_images, rows, pids, strict=True)):
        x, y = MARGIN, head_height(title) + i * row_height
        draw_query(axes, image, pid, x, y)
        if not row:
            middle = y + LINE + CELL_H / 2
            put_text(axes, x + CELL_W + 3 * GAP, middle, "no result", size=LARGE, color=QUIET, va="center")
        for rank, match in enumerate(row, start=1):
            x = MARGIN + 2 * GAP + rank * (CELL_W + GAP)
            draw_match(axes, match, rank, verdict(match, pid), load, x, y)
            draw_shares(axes, match, p, peak, (x, y + LINE + CELL_H + 0.05, CELL_W, LINE))
    for i, note in enumerate(notes):
        put_text(axes, MARGIN, feet + i * LINE, note, color=QUIET, va="top")
    return save_picture(axes, output)


def region_overlay(
    image: Image.Image,
    probabilities: ArrayLike,
    visibility: ArrayLike,
    output: Path,
    *,
    grid: tuple[int, int],
    min_visibility: float | None = None,
    title: str | None = None,
) -> Path:
    """Draw which region each pixel of T most likely belongs to, as the paper's Fig. 5 does.

    From left to right: the image, the image under the colours of the likeliest regions, the grid on a whole
    person as a key, and the visibility of each region.

    Args:
        image: what was given to the model, before it was resized.
        probabilities: (p, h, w), Eq. 1.
        visibility: (p,), C_i / (h·w) of Eq. 2, in 0-1.
        output: where to write.
        grid: (m, n) rows and columns of regions, m·n = p.
        min_visibility: a line is drawn there; regions under it, which count as not visible, get empty bars.
        title: a line above it all.

    Returns:
        `output`.
    """
    output = checked_output(output)
    chances = checked_numbers(probabilities, "probabilities", 3)
    seen = checked_numbers(visibility, "visibility", 1)
    p = checked_regions(grid, chances.shape[0], "probabilities")
    if len(seen) != p or 0 in chances.shape:
        raise DataError(f"probabilities {chances.shape} and visibility {seen.shape} must be (p, h, w) and (p,)")
    labels = chances.argmax(axis=0)  # (p, h, w) -> (h, w)

    height = max(3.6, p * 0.9 * LINE)
    shown_w, shown_h = fitted(image.size, 3.2, height)
    widths = (max(shown_w, 0.75), max(shown_w, 1.15), min(2.4, max(0.75, 0.45 * grid[1])), 2.2)
    lefts = [MARGIN + sum(widths[:column]) + column * 2 * GAP for column in range(4)]
    head = head_height(title) + LINE
    axes = new_sheet(lefts[-1] + widths[-1] + MARGIN, head + height + 2 * LINE, title)
    for x, name in zip(lefts, ("image", "likeliest region", "regions", "visibility"), strict=True):
        put_text(axes, x, head - 0.06, name, color=QUIET)
    top = head + (height - shown_h) / 2
    draw_photo(axes, image, (lefts[0], top, shown_w, shown_h))
    draw_labels(axes, image, labels, p, (lefts[1], top, shown_w, shown_h))
    draw_labels(axes, None, np.arange(p).reshape(grid), p, (lefts[2], head, widths[2], height))
    draw_visibility(axes, seen, min_visibility, (lefts[3], head, widths[3], height))
    return save_picture(axes, output)


def loss_curves(rows: Sequence[Mapping[str, float]], output: Path, *, title: str | None = None) -> Path:
    """Draw each loss term and the learning rate in a panel of its own.

    The faint line is every row (of long logs: the smallest and largest of each bin), the strong one the mean
    over a centred window of 2 % of the rows, at most 501; the number at the top right is its last value.

    Args:
        rows: as read from the trainer's log: `step`, every key that begins with `loss`, `lr`; others are
            ignored. A term that a row lacks, or that is not finite, leaves a gap.
        output: where to write.
        title: a line above it all.

    Returns:
        `output`.
    """
    output = checked_output(output)
    names = list(dict.fromkeys(key for row in rows for key in row if key.startswith("loss")))
    names += ["lr"] if any("lr" in row for row in rows) else []
    if not names:
        raise DataError(f"no loss to draw in {len(rows)} rows of the log: train for at least one logged step")
    axis = "step" if all("step" in row for row in rows) else "row"
    steps = checked_numbers([row.get(axis, i) for i, row in enumerate(rows)], axis, 1, finite=False)

    columns, (width, height) = min(3, len(names)), (2.9, 1.9)
    pitch_w, pitch_h, head = width + 0.75, height + 0.85, head_height(title)
    lines = math.ceil(len(names) / columns)
    sheet = new_sheet(columns * pitch_w + 0.1, head + lines * pitch_h, title)
    for i, name in enumerate(names):
        left, top = 0.6 + i % columns * pitch_w, head + i // columns * pitch_h + LINE
        values = checked_numbers([row.get(name, math.nan) for row in rows], name, 1, finite=False)
        axes = new_plot(sheet, (left, top, width, height))
        last = draw_series(axes, steps, values, smooth=name != "lr")
        put_text(sheet, left, top - 0.06, name)
        put_text(sheet, left + width, top - 0.06, last, color=QUIET, ha="right")
        put_text(sheet, left + width / 2, top + height + 0.38, axis, color=QUIET, ha="center")
    return save_picture(sheet, output)


def label_sheet(
    images: Sequence[Image.Image],
    labels: ArrayLike,
    visible: ArrayLike,
    grid: tuple[int, int],
    output: Path,
    captions: Sequence[str] | None = None,
    *,
    title: str | None = None,
) -> Path:
    """Draw crops under the region labels they are trained with, to check self-supervision by eye.

    Under each crop one box a region: full where the region counts as visible.

    Args:
        images: B crops, as given to the model.
        labels: (B, h, w) int, the region of each pixel of T (Eq. 5); negative: none, left uncoloured.
        visible: (B, p) bool, the set V.
        grid: (m, n) rows and columns of regions, m·n = p.
        output: where to write.
        captions: a line a crop.
        title: a line above it all.

    Returns:
        `output`.
    """
    output = checked_output(output)
    regions = checked_numbers(labels, "labels", 3).astype(np.int64)
    shown = checked_numbers(visible, "visible", 2).astype(bool)
    p = checked_regions(grid, shown.shape[1], "visible")
    lengths = {len(images), len(regions), len(shown), len(images if captions is None else captions)}
    if len(lengths) != 1 or not regions.size or regions.max() >= p:
        raise DataError(
            f"a label sheet needs as many images ({len(images)}), labels {regions.shape}, "
            f"visible {shown.shape} and captions, one or more, and every label below p={p}"
        )
    columns, pitch_w, pitch_h = min(8, len(images)), CELL_W + GAP, CELL_H + 2 * LINE + GAP
    head = head_height(title)
    lines = math.ceil(len(images) / columns)
    axes = new_sheet(2 * MARGIN + columns * pitch_w - GAP, head + lines * pitch_h, title)
    for i, image in enumerate(images):
        x, y = MARGIN + i % columns * pitch_w, head + i // columns * pitch_h
        draw_labels(axes, image, regions[i], p, centred(image.size, (x, y, CELL_W, CELL_H)))
        for region, color in enumerate(map(shade, range(p))):
            place = (x + (region + 0.06) * CELL_W / p, y + CELL_H + 0.05, 0.88 * CELL_W / p, 0.1)
            draw_box(axes, place, fill=color if shown[i, region] else "white", edge=color)
        if captions is not None:
            put_text(axes, x, y + CELL_H + 0.19, shorten(captions[i], CELL_W), va="top")
    return save_picture(axes, output)


def robustness_curve(
    results: Mapping[str, Sequence[tuple[float, float]]], output: Path, *, title: str | None = None
) -> Path:
    """Draw rank-1 over γ, the share of the query that is left (Table 1 and Fig. 4), one line a system.

    Args:
        results: (γ, rank-1) pairs in any order by the name of the system; both in 0-1.
        output: where to write.
        title: a line above it all.

    Returns:
        `output`.
    """
    curves = {name: checked_curve(name, pairs) for name, pairs in results.items()}
    return _curves(curves, "rank-1 (%)", "γ: share of the query that is left", output, title)


def recall_curve(
    results: Mapping[str, Sequence[tuple[float, float]]], output: Path, *, title: str | None = None
) -> Path:
    """Draw recall@10 over the median time of a search, one line a kind of query.

    Args:
        results: (milliseconds, recall in 0-1) pairs by the name of the kind of query.
        output: where to write.
        title: a line above it all.

    Returns:
        `output`.
    """
    curves = {}
    for name, pairs in results.items():
        curve = checked_numbers(pairs, f"the curve of {name!r}", 2)
        if curve.shape[1] != 2 or not len(curve) or curve.min() < 0 or curve[:, 1].max() > 1:
            raise DataError(f"the curve of {name!r} needs pairs of milliseconds and a recall from 0 to 1")
        curves[name] = curve[np.argsort(curve[:, 0], kind="stable")] * (1, 100)
    return _curves(curves, "recall@10 (%)", "median time of a search (ms)", output, title)


def _curves(
    results: Mapping[str, NDArray[np.float64]], height_is: str, width_is: str, output: Path, title: str | None
) -> Path:
    """Lines (N, 2) with their names at their ends."""
    output = checked_output(output)
    curves = list(results.values())
    if not curves:
        raise DataError("nothing to draw: give pairs of numbers by name")
    names = [shorten(name, 2.2) for name in results]
    head, left, width, height = head_height(title) + LINE, 0.6, 4.4, max(3.0, LINE * len(curves))
    right = left + width
    sheet = new_sheet(right + 0.45 + max(map(text_width, names)) + MARGIN, head + height + 0.7, title)
    axes = new_plot(sheet, (left, head, width, height))
    low, high = frame_curves(axes, np.concatenate(curves), ticks=width_is.startswith("γ"))
    put_text(sheet, MARGIN, head - 0.08, height_is, color=QUIET)
    put_text(sheet, left + width / 2, head + height + 0.45, width_is, color=QUIET, ha="center")
    ends = [head + height * (high - curve[-1, 1]) / (high - low) for curve in curves]
    places = spread(ends, LINE, head + height)
    for i, (name, curve) in enumerate(zip(names, curves, strict=True)):
        style = STROKE | {"color": shade(i, LINES), "marker": MARKERS[i % len(MARKERS)]}
        axes.plot(*curve.T, **style, markersize=5, markeredgewidth=0)
        draw_line(sheet, (right + 0.05, ends[i]), (right + 0.3, places[i]), style["color"])
        # The marker too: where two lines end at one place, colour alone would say which name is whose.
        sheet.plot(
            [right + 0.3], [places[i]], color=style["color"], marker=style["marker"], markersize=5, markeredgewidth=0
        )
        put_text(sheet, right + 0.4, places[i], name, va="center")
    return save_picture(sheet, output)
