"""Curves as pictures: the losses of a training, rank-1 over γ, and recall over time.

Style, checks and files are as in `vpmsearch.report.pictures`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vpmsearch.errors import DataError
from vpmsearch.report.drawing import (
    LINE,
    LINES,
    MARGIN,
    MARKERS,
    QUIET,
    STROKE,
    checked_numbers,
    checked_output,
    draw_line,
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
    checked_curve,
    draw_series,
    frame_curves,
    spread,
)
from vpmsearch.words import number_of


def loss_curves(rows: Sequence[Mapping[str, float]], output: Path, *, title: str | None = None) -> Path:
    """Draw each loss term and the learning rate in a panel of its own.

    The faint line shows every row (for long logs, the smallest and largest of each bin). The strong line is the mean
    over a centred window of 2 % of the rows, at most 501. The number at the top right is its last value.

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
        raise DataError(
            f"no loss to draw in {number_of(len(rows), 'row')} of the log: train for at least one logged step"
        )
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


def robustness_curve(
    results: Mapping[str, Sequence[tuple[float, float]]], output: Path, *, title: str | None = None
) -> Path:
    """Draw rank-1 over γ, the share of the query that is left (Table 1 and Fig. 4), with one line for each system.

    Args:
        results: name of the system -> pairs (γ, rank-1) in any order, both in 0-1.
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
    """Draw recall@10 over the median time of a search, with one line for each kind of query.

    Args:
        results: name of the kind of query -> pairs (milliseconds, recall in 0-1).
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
        # Also the marker: if two lines end at the same place, only the colour would tell whose name is whose.
        sheet.plot(
            [right + 0.3], [places[i]], color=style["color"], marker=style["marker"], markersize=5, markeredgewidth=0
        )
        put_text(sheet, right + 0.4, places[i], name, va="center")
    return save_picture(sheet, output)
