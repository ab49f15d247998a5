"""The drawing primitives of all pictures: a sheet in inches from the top left corner, and functions that draw on it.

The style of all pictures is set here. `vpmsearch.report.pictures` says why matplotlib is imported late.
"""

from __future__ import annotations

import math
import unicodedata
from bisect import bisect_left
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from vpmsearch.errors import DataError
from vpmsearch.system.atomic import replacing

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
# If installed, these follow DejaVu Sans for scripts that it lacks. A character that no font has is drawn as □.
WIDE_FAMILIES = ("Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Micro Hei", "Noto Sans", "Unifont")

# Inches. A crop is about 1:2; LINE is one line of text.
CELL_W, CELL_H, GAP, LINE, MARGIN = 1.0, 2.0, 0.14, 0.19, 0.2

Floats = NDArray[np.float64]
Box = tuple[float, float, float, float]  # left, top, width, height in inches


def shrunk(image: Image.Image, width: float, height: float) -> Image.Image:
    """The image in RGB, scaled down to the pixels of this many inches, so that it takes no more memory than needed."""
    limit = max(1, math.ceil(width * DPI)), max(1, math.ceil(height * DPI))
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    if image.width <= limit[0] and image.height <= limit[1]:
        return rgb
    size = min(image.width, limit[0]), min(image.height, limit[1])
    return rgb.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)


def draw_image(axes: Axes, pixels: NDArray[Any], box: Box, *, smooth: bool = True) -> None:
    """Draw pixels (h, w, 3 or 4), stretched to the box. Without `smooth`, each pixel is a rectangle."""
    left, top, width, height = box
    extent = (left, left + width, top + height, top)
    interpolation = "hanning" if smooth else "nearest"
    axes.imshow(pixels, extent=extent, origin="upper", aspect="auto", interpolation=interpolation)


def draw_photo(axes: Axes, image: Image.Image, box: Box) -> None:
    """An image, shrunk to what the box can show."""
    draw_image(axes, np.asarray(shrunk(image, *box[2:])), box)


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
    """Write one line literally, without mathtext or TeX: `$` in a file name stays a `$`."""
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
    """The code points that one of our fonts can draw. matplotlib warns about any other."""
    from matplotlib.font_manager import findfont, get_font

    files = [findfont(family, fallback_to_default=False) for family in _families()]
    return frozenset(code for file in files for code in get_font(file).get_charmap())


def printable(text: str) -> str:
    """The text in composed form (NFC), with □ for characters without a glyph: unknown scripts, controls, surrogates."""
    text = unicodedata.normalize("NFC", text)
    return "".join(char if char.isprintable() and ord(char) in glyphs() else "□" for char in text)


def text_width(text: str, size: float = FONT) -> float:
    """The width of a line of text, in inches."""
    from matplotlib.textpath import text_to_path

    return float(text_to_path.get_text_width_height_descent(text, _font(size), ismath=False)[0]) / 72


def shorten(text: str, inches: float, size: float = FONT) -> str:
    """The text if it fits, else its beginning and end around an ellipsis."""
    text = printable(text)
    if len(text) < 400 * inches / size and text_width(text, size) <= inches:
        return text

    def cut(keep: int) -> str:
        return text[: (keep + 1) // 2] + "…" + text[len(text) - keep // 2 :]

    # Hardly any letter is narrower than a fifth of its height, so longer texts need not be measured.
    most = min(len(text), int(400 * inches / size))
    return cut(bisect_left(range(1, most), True, key=lambda keep: text_width(cut(keep), size) > inches))


def wrapped(text: str, inches: float, size: float = FONT) -> list[str]:
    """The text in lines that fit, broken between words; a word that does not fit is shortened."""
    lines: list[str] = []
    for word in printable(text).split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size) <= inches:
            lines[-1] = longer
        else:
            lines.append(shorten(word, inches, size))
    return lines


def fitted(size: tuple[int, int], width: float, height: float) -> tuple[float, float]:
    """The largest width and height that fit, with the aspect of an image of `size` (width, height) pixels."""
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
    """The colour of region or system `index`: from the palette, then darker, then lighter, then all again."""
    turn, position = divmod(index, len(palette))
    target, part = ((0.0, 0.0), (0.0, 0.4), (1.0, 0.5))[turn % 3]
    mixed = (1 - part) * to_rgb(palette[position]) + part * target
    return "#" + "".join(f"{round(255 * value):02x}" for value in mixed)


def new_sheet(width: float, height: float, title: str | None) -> Axes:
    """A white figure of this size in inches. Its axes cover all of it, in inches from the top left corner."""
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
    """The height of margin and title above the picture, in inches."""
    return MARGIN + (1.8 * LINE if title else 0)


def new_plot(sheet: Axes, box: Box) -> Axes:
    """Axes for curves at a place on the sheet, with two spines, a horizontal grid and plain numbers."""
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
    """The number of regions m·n, checked against `count`. what: has `count` regions, for the message."""
    if min(grid) < 1 or grid[0] * grid[1] != count:
        raise DataError(f"a grid of {grid[0]} × {grid[1]} regions does not fit the {count} regions of {what}")
    return count


def checked_output(output: Path) -> Path:
    """The path to write to.

    Raises:
        DataError: the suffix is unknown, or the folder does not exist.
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
