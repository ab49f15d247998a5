"""Support for notebooks: loads a model by one call, and shows results as tables and pictures.

The package sets this module as the view of every `SearchResult` (`vpmsearch.views`). It is imported when a result is
first shown, so the types themselves need neither pictures nor pandas.
"""

from __future__ import annotations

import html
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from PIL import Image

from vpmsearch.data.images import load_image
from vpmsearch.errors import DataError, VpmsearchError
from vpmsearch.labels import Label
from vpmsearch.model.device import choose_device
from vpmsearch.model.extraction import Extractor
from vpmsearch.model.weights import find_by_fingerprint, find_weights, read_weights
from vpmsearch.report.html import picture_tag
from vpmsearch.report.panels import Loader
from vpmsearch.report.pictures import rank_panel
from vpmsearch.report.tables import result_rows
from vpmsearch.search.answers import match_values, rate_text, shares_text
from vpmsearch.search.queries import region_names
from vpmsearch.store import Gallery, GalleryView
from vpmsearch.store.folder.index_types import flat_index
from vpmsearch.store.selection import Selection
from vpmsearch.store.transfer import arrow_schema, arrow_table
from vpmsearch.types import Float32, Int64, Match, SearchResult, as_utc
from vpmsearch.words import number_of, printable

if TYPE_CHECKING:
    from pandas import DataFrame

SHOWN = 10
"""Matches that a notebook shows of a result by default."""


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
    result: SearchResult, query: Image.Image | None, *, top: int, pid: Label | None, load: Loader = load_image
) -> Image.Image:
    """The ranks of one query as a picture; see `vpmsearch.report.pictures.rank_panel`."""
    with tempfile.TemporaryDirectory() as folder:
        shown = result.query if query is None else (query,)
        path = rank_panel([shown], [result], Path(folder) / "ranks.png", query_pids=[pid], load=load, top=top)
        with Image.open(path) as picture:
            return picture.convert("RGB")


def result_html(result: SearchResult, *, top: int = SHOWN, load: Loader = load_image) -> str:
    """The query, if there are pictures of it, and the first matches as an HTML table, for a notebook's cell."""
    above = "".join(picture_tag(image, "query", (64, 96)) for image in result.query)
    if result.empty is not None:
        return f"{above}<p>no result: {html.escape(printable(result.empty.text))}</p>"
    shown = result.matches[:top]
    rows = "".join(_row(rank, match, load) for rank, match in enumerate(shown, start=1))
    names = ("rank", "image", "distance", "path", "pid", "camid", "captured", "attributes", "false matches", "regions")
    head = "".join(f"<th>{name}</th>" for name in names)
    of = number_of(result.images, "image") if result.images is not None else "the index"
    how = "every image that can belong here was compared" if result.complete else "approximate"
    told = f"{len(shown)} of {of}; {result.candidates} compared in {result.elapsed_ms:.1f} ms, {how}"
    word = result.verdict_word
    verdict = f"<b>{html.escape(word)}</b> {html.escape(result.verdict_text)} " if word else ""
    return f"{above}<p>{verdict}{told}</p><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _row(rank: int, match: Match, load: Loader) -> str:
    values = match_values(rank, match)
    attributes = ", ".join(f"{name}={value}" for name, value in match.attributes.items())
    texts = [match.path, values["pid"], values["camid"], values["captured_at"], attributes, rate_text(match)]
    texts.append(shares_text(match))
    cells = [str(rank), _small(match.path, f"rank {rank}", load), f"{match.distance:.4f}"]
    return _cells([*cells, *(html.escape(printable("" if text is None else str(text))) for text in texts)])


def _cells(cells: Iterable[str]) -> str:
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _small(path: str, alt: str, load: Loader) -> str:
    try:
        return picture_tag(load(path), alt, (64, 96))
    except (VpmsearchError, OSError):
        return "missing"


def result_frame(result: SearchResult) -> DataFrame:
    """One row per match: the fields of docs/answers.md, and distance_i, weight_i and share_i of each region i.

    A region that had no part in a match is NaN in its row. pid and camid are nullable integers, but keep their types if
    one of them is a word. Each attribute has a column with its name.

    Raises:
        DataError: pandas is not installed.
    """
    pandas = _pandas()
    columns, rows = result_rows(result)
    return _labelled_frame(pandas, rows, columns)


def _pandas() -> Any:
    try:
        import pandas
    except ModuleNotFoundError as error:
        raise DataError("to_pandas needs pandas, which vpmsearch does not install: pip install pandas") from error
    return pandas


def _labelled_frame(pandas: Any, rows: list[dict[str, Any]], columns: list[str]) -> DataFrame:
    """Rows as a frame. Labels are nullable integers if none is a word; times are UTC."""
    frame: DataFrame = pandas.DataFrame(rows, columns=columns)
    whole = [name for name in ("pid", "camid") if not any(isinstance(row[name], str) for row in rows)]
    frame = frame.astype(dict.fromkeys(whole, "Int64"))
    frame["captured_at"] = pandas.to_datetime(frame["captured_at"], utc=True, format="ISO8601")
    return frame


# Stores and selections --------------------------------------------------------------------------------------------


def store_html(store: Gallery, *, load: Loader = load_image) -> str:
    """What a store holds: its numbers, its model, and its first images."""
    view = store.snapshot
    counts, info, captured = view.counts(), view.model_info, view.captured()
    names = ", ".join(f"{region} {name}" for region, name in enumerate(region_names(info.num_regions)))
    rows = [
        ("index", str(store.path)),
        ("images", str(counts["images"])),
        ("identities, cameras", f"{counts['identities']}, {counts['cameras']}"),
        ("captured", " to ".join(moment.isoformat() for moment in captured) if captured else "no times"),
        ("regions", names),
        ("embeddings", f"{info.p} × {info.embedding_dim} {store.embedding_dtype} an image"),
        ("weights", f"{info.name or 'unnamed'}, trained on {info.dataset or 'an unnamed data set'}"),
    ]
    table = "".join(f"<tr><th>{name}</th><td>{html.escape(printable(text))}</td></tr>" for name, text in rows)
    few = Selection(view, view.image_ids[:SHOWN])
    return f"<table><tbody>{table}</tbody></table>{_pictures(few, load)}"


def selection_html(selection: Selection, *, load: Loader = load_image) -> str:
    """The first images of a selection, and how many there are."""
    few = Selection(selection.view, selection.image_ids[:SHOWN])
    return f"<p>{len(few)} of {number_of(len(selection), 'image')}</p>{_pictures(few, load)}"


def _pictures(images: Selection, load: Loader) -> str:
    cells = (
        f"<td>{_small(each.record.path, f'image {each.image_id}', load)}<br>"
        f"<small>{html.escape(printable(Path(each.record.path).name))}</small></td>"
        for each in images
    )
    return f"<table><tbody><tr>{''.join(cells)}</tr></tbody></table>"


def selection_frame(selection: Selection) -> DataFrame:
    """One row per image: its image_id and labels. Each attribute has a column with its name.

    Raises:
        DataError: pandas is not installed.
    """
    pandas = _pandas()
    plain = ["image_id", "path", "content_hash", "pid", "camid", "captured_at", "width", "height"]
    rows = []
    for image in selection:
        known = {name: getattr(image.record, name) for name in plain[1:]}
        taken = image.record.captured_at
        moment = None if taken is None else as_utc(taken).isoformat()
        rows.append({**image.record.attributes, "image_id": image.image_id, **known, "captured_at": moment})
    return _labelled_frame(pandas, rows, [*plain, *sorted({name for row in rows for name in row} - set(plain))])


def selection_arrow(selection: Selection) -> Any:
    """A `pyarrow.Table` with one row per image and the columns of `vpmsearch export`.

    Raises:
        DataError: pyarrow is not installed.
    """
    view = cast(GalleryView, selection.view)
    return arrow_table(view, selection.image_ids, arrow_schema(view))


def selection_faiss(image_ids: Int64, vectors: Float32) -> Any:
    """A flat FAISS index (L2) of vectors (m, d); their ids are those of the images (m,)."""
    return flat_index(image_ids, vectors)
