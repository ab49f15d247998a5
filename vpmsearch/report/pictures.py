"""Pictures of results and of what a model sees. `vpmsearch.report.curves` has the curves.

Every function checks its arguments, draws, and writes one file, whole or not at all. The suffix of `output` decides the
kind of file: png, jpg, svg or pdf, at 150 dpi. All functions raise DataError if the arguments do not fit together, the
suffix is unknown, the folder does not exist or the file cannot be written.

All pictures have one style: a white ground, DejaVu Sans of 9 points or more, and the colours of Okabe and Ito ("Color
Universal Design", 2008), which people with any kind of colour vision can tell apart. A mark or a number repeats what a
colour says. Regions are numbered from 0, row by row, as in `query --json`.

Importing this module does not import matplotlib; the first drawing does. matplotlib's global state (pyplot, rcParams)
is not changed, and a user's matplotlibrc has no effect (docs/decisions/0002-matplotlib.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from vpmsearch.data.images import load_image
from vpmsearch.errors import DataError
from vpmsearch.labels import Label, as_label
from vpmsearch.model.runtime import likeliest_regions
from vpmsearch.report.drawing import (
    CELL_H,
    CELL_W,
    GAP,
    LARGE,
    LINE,
    MARGIN,
    QUIET,
    centred,
    checked_numbers,
    checked_output,
    checked_regions,
    draw_box,
    draw_photo,
    fitted,
    head_height,
    new_sheet,
    put_text,
    save_picture,
    shade,
    shorten,
    wrapped,
)
from vpmsearch.report.panels import (
    Loader,
    draw_labels,
    draw_match,
    draw_query,
    draw_shares,
    draw_visibility,
    share_scale,
    verdict,
)
from vpmsearch.types import SearchResult
from vpmsearch.words import number_of

QueryImages = Image.Image | Sequence[Image.Image] | None
"""The query in a row of a panel: one photograph, several of one person, or none."""


def rank_panel(
    query_images: Sequence[QueryImages],
    results: Sequence[SearchResult],
    output: Path,
    *,
    query_pids: Sequence[Label | None] | None = None,
    load: Loader = load_image,
    top: int = 10,
    title: str | None = None,
    num_regions: int | None = None,
) -> Path:
    """Draw one row a query: the query, then its best matches with the reasons for their rank.

    Above a match are its rank and distance. Below it is a bar for each region: the region's share of the weight in
    Eq. 4, on one scale for the whole panel. A region without a bar had no part in the match. Then follow the file's
    name, and person, camera and false-match rate if they are known. Below the query is the verdict, if there is one, or
    that it shows no person; the lines at the foot say what that means.

    Args:
        query_images: one for each result, drawn with its own aspect, so that half a body looks like half. Several
            images are photographs of one person. None leaves the place empty.
        results: the answers of the search, in the same order. If one has no matches, its row says "no result".
        output: where to write.
        query_pids: the person of each query. If both pids are known, a match has a green frame with ✓ or an orange-red
            one with ✗.
        load: reads a match's `path`. If it raises VpmsearchError or OSError, "missing" is drawn.
        top: most matches in a row.
        title: a line above everything.
        num_regions: p, if the matches name only some regions; default: up to the largest region named.

    Returns:
        `output`.
    """
    output = checked_output(output)
    given = [None] * len(results) if query_pids is None else query_pids
    pids = [None if pid is None else as_label(pid) for pid in given]
    if not results or len(query_images) != len(results) or len(pids) != len(results) or top < 1:
        raise DataError(
            "a rank panel needs one image and pid a result, one result and top 1 or more; "
            f"got {number_of(len(query_images), 'image')}, {number_of(len(results), 'result')}, "
            f"{number_of(len(pids), 'pid')} and top {top}"
        )
    rows = [result.matches[:top] for result in results]
    p, peak = share_scale(rows, num_regions)
    rated = any(match.false_match_rate is not None for row in rows for match in row)
    notes = [f"Bars: each region's share of the weight, {f'regions 0 to {p - 1}' if p > 1 else 'region 0'}"]
    if any(verdict(match, pid) is not None for row, pid in zip(rows, pids, strict=True) for match in row):
        notes.append("✓ same identity as the query   ✗ another")
    if rated:
        notes.append("false: of searches for people who are not there, so many find an image as near")
    columns, row_height = 1 + max(3, *map(len, rows)), CELL_H + (5 if rated else 4) * LINE + GAP
    feet = head_height(title) + len(rows) * row_height
    width = 2 * MARGIN + columns * (CELL_W + GAP) + GAP
    notes = [line for note in (*_meanings(results), *notes) for line in wrapped(note, width - 2 * MARGIN)]
    axes = new_sheet(width, feet + len(notes) * LINE + MARGIN, title)
    for i, (images, row, pid) in enumerate(zip(query_images, rows, pids, strict=True)):
        x, y = MARGIN, head_height(title) + i * row_height
        shown = [] if images is None else [images] if isinstance(images, Image.Image) else list(images)
        draw_query(axes, shown, pid, results[i].verdict_word, x, y)
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


def _meanings(results: Sequence[SearchResult]) -> list[str]:
    """What the verdicts mean, each once."""
    told = [f"{each.verdict_word}: {each.verdict_text}" for each in results if each.verdict_word and each.verdict_text]
    return list(dict.fromkeys(told))


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
    """Draw which region each pixel of T most likely belongs to, as the paper's Fig. 5 does; occluders get no colour.

    From left to right: the image; the image under the colours of the likeliest regions; the grid on a whole person, as
    a legend; and the visibility of each region.

    Args:
        image: the model's input, before it was resized.
        probabilities: (p, h, w), Eq. 1.
        visibility: (p,), C_i / (h·w) of Eq. 2, in 0-1.
        output: where to write.
        grid: (m, n) rows and columns of regions, m·n = p.
        min_visibility: drawn as a line. Regions below it count as not visible and get hollow bars.
        title: a line above everything.

    Returns:
        `output`.
    """
    output = checked_output(output)
    chances = checked_numbers(probabilities, "probabilities", 3)
    seen = checked_numbers(visibility, "visibility", 1)
    p = checked_regions(grid, chances.shape[0], "probabilities")
    if len(seen) != p or 0 in chances.shape:
        raise DataError(f"probabilities {chances.shape} and visibility {seen.shape} must be (p, h, w) and (p,)")
    labels = likeliest_regions(chances)  # (p, h, w) -> (h, w)

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
    """Draw crops under the region labels that they are trained with, to check self-supervision by eye.

    Below each crop is a box for each region, filled if the region counts as visible.

    Args:
        images: B crops, as given to the model.
        labels: (B, h, w) int, the region of each pixel of T (Eq. 5); a negative label is no region, without colour.
        visible: (B, p) bool, the set V.
        grid: (m, n) rows and columns of regions, m·n = p.
        output: where to write.
        captions: a line for each crop.
        title: a line above everything.

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
