"""What a notebook asks of the package: a model by one call, and results that show themselves.

The package sets this module as the view of every `SearchResult` (`vpmsearch.views`) and imports it when a
result is first shown: the types themselves know neither pictures nor pandas.
"""

from __future__ import annotations

import html
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from vpmsearch.data.images import load_image, printable
from vpmsearch.errors import DataError, VpmsearchError
from vpmsearch.model.device import choose_device
from vpmsearch.model.extraction import Extractor
from vpmsearch.model.weights import find_by_fingerprint, find_weights, read_weights
from vpmsearch.report.html import picture_tag
from vpmsearch.report.panels import Loader
from vpmsearch.report.pictures import rank_panel
from vpmsearch.store import Gallery
from vpmsearch.types import Match, SearchResult
from vpmsearch.words import number_of

if TYPE_CHECKING:
    from pandas import DataFrame

SHOWN = 10
"""Matches that a result shows of itself."""


def load_model(weights: str | os.PathLike[str] | Gallery | None = None, *, device: str = "auto") -> Extractor:
    """A model that sees images.

    Args:
        weights: a weights file; or a store, for the weights that it was built with; or None, for
            $VPMSEARCH_WEIGHTS, weights/vpm.safetensors or those in the package, whichever is there first.
        device: "auto", "cpu", "cuda" or "cuda:N".

    Raises:
        WeightsError: the file is not there, damaged, or not the one the store was built with. DeviceError: no such
            device.
    """
    if weights is None or isinstance(weights, str | os.PathLike):
        loaded = read_weights(find_weights(None if weights is None else Path(weights)))
    else:
        loaded = find_by_fingerprint(weights.model_info.fingerprint, weights.model_info.weights)
    return Extractor(loaded, choose_device(device))


def result_picture(
    result: SearchResult, query: Image.Image | None, *, top: int, pid: int | None, load: Loader = load_image
) -> Image.Image:
    """The ranks of one query as a picture; see `vpmsearch.report.pictures.rank_panel`."""
    with tempfile.TemporaryDirectory() as folder:
        path = rank_panel([query], [result], Path(folder) / "ranks.png", query_pids=[pid], load=load, top=top)
        with Image.open(path) as picture:
            return picture.convert("RGB")


def result_html(result: SearchResult, *, top: int = SHOWN, load: Loader = load_image) -> str:
    """The first matches as an HTML table with small pictures, for a notebook's cell."""
    rows = "".join(_row(rank, match, load) for rank, match in enumerate(result.matches[:top], start=1))
    head = "".join(
        f"<th>{name}</th>" for name in ("rank", "image", "distance", "path", "pid", "camid", "regions: share")
    )
    shown = f"the first {min(top, len(result.matches))} of {len(result.matches)} matches"
    if result.empty is not None:
        return f"<p>no result: {html.escape(printable(result.empty.text))}</p>"
    how = "every image that can belong here was compared" if result.complete else "approximate"
    told = f"{shown}; {number_of(result.candidates, 'image')} compared in {result.elapsed_ms:.1f} ms, {how}"
    return f"<p>{told}</p><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _row(rank: int, match: Match, load: Loader) -> str:
    try:
        picture = picture_tag(load(match.path), f"rank {rank}", (64, 96))
    except (VpmsearchError, OSError):
        picture = "missing"
    shares = ", ".join(f"{part.region}: {part.share:.0%}" for part in match.regions)
    labels = ("" if value is None else str(value) for value in (match.pid, match.camid))
    cells = [str(rank), picture, f"{match.distance:.4f}", html.escape(printable(match.path)), *labels, shares]
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def result_frame(result: SearchResult) -> DataFrame:
    """One row a match: rank, image_id, path, pid, camid, distance, and distance_i and share_i of each region i.

    A region that had no part in a match is NaN there; pid and camid are nullable integers.

    Raises:
        DataError: pandas is not installed.
    """
    try:
        import pandas
    except ModuleNotFoundError as error:
        raise DataError("to_pandas needs pandas, which vpmsearch does not install: pip install pandas") from error
    regions = sorted({part.region for match in result.matches for part in match.regions})
    columns = ["rank", "image_id", "path", "pid", "camid", "distance"]
    columns += [f"{kind}_{region}" for region in regions for kind in ("distance", "share")]
    rows = []
    for rank, match in enumerate(result.matches, start=1):
        row: dict[str, object] = {"rank": rank, "image_id": match.image_id, "path": match.path}
        row |= {"pid": match.pid, "camid": match.camid, "distance": match.distance}
        for part in match.regions:
            row |= {f"distance_{part.region}": part.distance, f"share_{part.region}": part.share}
        rows.append(row)
    return pandas.DataFrame(rows, columns=columns).astype({"pid": "Int64", "camid": "Int64"})
