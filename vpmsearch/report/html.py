"""A query's answer as one HTML file. It contains its pictures, loads nothing and has no script. Light and dark."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from vpmsearch.data.images import load_image
from vpmsearch.data.reading import scene_name
from vpmsearch.errors import DataError, VpmsearchError
from vpmsearch.report.drawing import fitted
from vpmsearch.report.panels import Loader
from vpmsearch.report.scene import scene_of
from vpmsearch.search.answers import answer_notes, labels_text
from vpmsearch.system.atomic import replacing
from vpmsearch.types import Match, SearchResult
from vpmsearch.words import number_of, printable

SceneLoader = Callable[[str], Image.Image | None]
"""Returns the picture that an image was cut from, by the image's path; None if the image is a whole picture."""
SIZE = (160, 240)
"""Largest size of a picture in pixels: width, height."""
_STYLE = """
:root{color-scheme:light dark;--g:#fff;--p:#f4f5f7;--i:#1c1f23;--q:#55595f;--l:#c9cdd3;--b:#0072b2;--t:#dfe3e8}
@media(prefers-color-scheme:dark){:root{--g:#15181c;--p:#1f2329;--i:#e9ecef;--q:#a9b0b8;--l:#434a53;--b:#56b4e9;--t:#343b44}}
body{margin:0 auto;max-width:72rem;padding:1rem;background:var(--g);color:var(--i);font:1rem/1.45 system-ui,sans-serif}
h1{font-size:1.3rem}h2{font-size:1.1rem;margin-top:2rem;overflow-wrap:anywhere}p,small{color:var(--q)}
ol{list-style:none;padding:0;display:grid;gap:.8rem;grid-template-columns:repeat(auto-fill,minmax(12.5rem,1fr))}
li{border:1px solid var(--l);border-radius:.5rem;background:var(--p);padding:.6rem;overflow-wrap:anywhere}
img{display:block;margin:.3rem auto;max-width:100%;height:auto}
table{border-collapse:collapse;width:100%;font-size:.85rem}
th,td{text-align:left;font-weight:400;padding:.1rem .2rem;white-space:nowrap;overflow-wrap:normal}
td:last-child{text-align:right;font-variant-numeric:tabular-nums}
td:nth-child(2){width:100%}.bar{display:block;height:.7rem;background:var(--t)}.bar>b{display:block;height:100%;background:var(--b)}
.query{display:flex;flex-wrap:wrap;gap:.8rem;align-items:center}.query img{margin:.3rem 0}
.match{color:#00775a}.no-match{color:#b34700}@media(prefers-color-scheme:dark){.match{color:#3fd6a8}.no-match{color:#ff9e5e}}
@media print{.bar,.bar>b{print-color-adjust:exact}}
"""


@dataclass(frozen=True)
class Answer:
    """One query and what was found.

    query: name of the query. images: its photographs. result: the matches, as returned by `vpmsearch.search.judged`.
    confirmed: images that were added to the query. first_rank: rank of the first match.
    """

    query: str
    images: Sequence[Image.Image]
    result: SearchResult
    confirmed: Sequence[Image.Image] = ()
    first_rank: int = 1


def write_report(
    answers: Sequence[Answer], output: Path, *, top: int = 10, load: Loader = load_image, scene: SceneLoader = scene_of
) -> Path:
    """Write all answers into one file, whole or not at all.

    Args:
        answers: one per query. output: a file that ends in .html or .htm.
        top: matches per query at most. load: reads a match's `path`; if it raises VpmsearchError or OSError, the report
            shows "missing". scene: returns the picture that a match was cut from.

    Returns:
        `output`.

    Raises:
        DataError: another suffix, or the file cannot be written.
    """
    check_report(output)
    body = "".join(_section(answer, top, load, scene) for answer in answers)
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>vpmsearch</title><style>{_STYLE}</style></head><body><h1>vpmsearch</h1>"
        "<p>Bars: each region's share of the weight in Eq. 4; beside them the share and the region's distance.</p>"
        f"{body}</body></html>\n"
    )
    try:
        with replacing(output) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot write {output}: {error.strerror or error}") from error
    return output


def check_report(output: Path) -> None:
    """Refuse, before the work begins, a report that could not be written.

    Raises:
        DataError: the suffix is not .html or .htm, or the folder does not exist.
    """
    if output.suffix.lower() not in (".html", ".htm"):
        raise DataError(f"{printable(output)}: a report is a file that ends in .html")
    if not output.parent.is_dir():
        raise DataError(f"{printable(output)}: there is no folder {printable(output.parent)}")


def _section(answer: Answer, top: int, load: Loader, scene: SceneLoader) -> str:
    result = answer.result
    pictures = "".join(picture_tag(image, "query") for image in answer.images)
    pictures += "".join(picture_tag(image, "confirmed") for image in answer.confirmed)
    ranked = enumerate(result.matches[:top], start=answer.first_rank)
    hits = "".join(_hit(rank, match, load, scene, result.filled_from) for rank, match in ranked)
    word = result.verdict_word
    told = f'<b class="{word.replace(" ", "-")}">{html.escape(word)}</b> ' if word else ""
    told += f"{html.escape(result.verdict_text)} " if result.verdict_text else ""
    found = f"{result.candidates} compared in {result.elapsed_ms:.0f} ms"
    decided = [(len(result.confirmed), "confirmed, a part of the query"), (len(result.refused), "refused, left out")]
    found += "".join(f"; {number_of(count, 'image')} {what}" for count, what in decided if count)
    notice = f"; the calibration is old: {result.calibration_notice}" if result.calibration_notice else ""
    empty = result.empty
    missing = "" if hits else f"<p>No result: {html.escape(empty.text if empty else 'nothing was found')}.</p>"
    return (
        f"<h2>{html.escape(answer.query)}</h2><p>{told}{html.escape(found + notice)}</p>"
        f'<div class="query">{pictures}</div>{missing}<ol>{hits}</ol>'
    )


def _hit(rank: int, match: Match, load: Loader, scene: SceneLoader, filled_from: int | None) -> str:
    try:
        picture = picture_tag(load(match.path), f"rank {rank}")
        if (around := scene(match.path)) is not None:
            picture += picture_tag(around, f"rank {rank} in its scene")
    except (VpmsearchError, OSError):
        picture = "<p>missing</p>"
    notes = [*labels_text(match), *answer_notes(match, filled_from)]
    labels = "".join(f"<br>{html.escape(printable(note))}" for note in notes)
    rows = "".join(
        f"<tr><th>{part.region} {part.name}</th>"
        f'<td><span class="bar"><b style="width:{part.share:.1%}"></b></span></td>'
        f"<td>{part.share:.0%}</td><td>{part.distance:.3f}</td></tr>"
        for part in match.regions
    )
    name = html.escape(printable(match.path))
    return (
        f"<li><b>{rank}</b> · {match.distance:.4f}{labels}{picture}"
        f'<small title="{name}">{html.escape(scene_name(match.path))}</small><table>{rows}</table></li>'
    )


def picture_tag(image: Image.Image, alt: str, size: tuple[int, int] = SIZE) -> str:
    """An <img> that holds its picture, without the metadata of its file.

    The picture is scaled to fit `size` (width, height) in pixels. Small pictures are enlarged for display, so that a
    query looks as large as its matches; the stored picture has no more pixels than the original.
    """
    shown = fitted(image.size, *size)
    small = image.convert("RGB")
    small.thumbnail(size, Image.Resampling.BICUBIC)
    small.info = {}
    target = io.BytesIO()
    small.save(target, "JPEG", quality=85)
    data = base64.b64encode(target.getvalue()).decode()
    width, height = (max(1, round(side)) for side in shown)
    return f'<img alt="{alt}" width="{width}" height="{height}" src="data:image/jpeg;base64,{data}">'
