"""A query's answer as one HTML file: pictures inside, nothing loaded from anywhere, no script. Light and dark."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from vpmsearch.data.images import load_image, printable
from vpmsearch.data.reading import scene_name
from vpmsearch.errors import DataError, VpmsearchError
from vpmsearch.report.panels import Loader
from vpmsearch.report.scene import scene_of
from vpmsearch.search.queries import region_names
from vpmsearch.system.atomic import replacing
from vpmsearch.types import Match, SearchResult

SIZE = (160, 240)
"""Pixels of a picture at most: width, height."""
_STYLE = """
:root{color-scheme:light dark;--g:#fff;--p:#f4f5f7;--i:#1c1f23;--q:#55595f;--l:#c9cdd3;--b:#0072b2;--t:#dfe3e8}
@media(prefers-color-scheme:dark){:root{--g:#15181c;--p:#1f2329;--i:#e9ecef;--q:#a9b0b8;--l:#434a53;--b:#56b4e9;--t:#343b44}}
body{margin:0 auto;max-width:72rem;padding:1rem;background:var(--g);color:var(--i);font:1rem/1.45 system-ui,sans-serif}
h1{font-size:1.3rem}h2{font-size:1.1rem;margin-top:2rem;overflow-wrap:anywhere}p,small{color:var(--q)}
ol{list-style:none;padding:0;display:grid;gap:.8rem;grid-template-columns:repeat(auto-fill,minmax(10rem,1fr))}
li{border:1px solid var(--l);border-radius:.5rem;background:var(--p);padding:.6rem;overflow-wrap:anywhere}
img{display:block;margin:.3rem auto;max-width:100%}
table{border-collapse:collapse;width:100%;font-size:.85rem}th,td{text-align:left;font-weight:400;padding:.1rem}
td:last-child{text-align:right;font-variant-numeric:tabular-nums}
meter{width:100%;height:.6rem}meter::-webkit-meter-bar{background:var(--t);border:0}
meter::-webkit-meter-optimum-value{background:var(--b)}meter::-moz-meter-bar{background:var(--b)}
"""


@dataclass(frozen=True)
class Answer:
    """One query and what was found.

    query: its name. images: the photographs. result: the matches. verdict: "match", "unsure", "no match" or "".
    """

    query: str
    images: Sequence[Image.Image]
    result: SearchResult
    verdict: str = ""


def write_report(
    answers: Sequence[Answer], output: Path, *, grid: tuple[int, int], top: int = 10, load: Loader = load_image
) -> Path:
    """Write all answers into one file, whole or not at all.

    Args:
        answers: one a query. output: a file that ends in .html or .htm. grid: (m, n) rows and columns of regions.
        top: matches a query at most. load: reads a match's `path`; "missing" where it raises VpmsearchError or OSError.

    Returns:
        `output`.

    Raises:
        DataError: another suffix, or the file cannot be written.
    """
    check_report(output)
    body = "".join(_section(answer, region_names(grid), top, load) for answer in answers)
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>vpmsearch</title><style>{_STYLE}</style></head><body><h1>vpmsearch</h1>"
        "<p>Bars: each region's share of the weight in Eq. 4; beside them the region's distance.</p>"
        f"{body}</body></html>\n"
    )
    try:
        with replacing(output) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot write {output}: {error.strerror or error}") from error
    return output


def check_report(output: Path) -> None:
    """Refuse before the work what could not be written after it.

    Raises:
        DataError: another suffix than .html or .htm, or no such folder.
    """
    if output.suffix.lower() not in (".html", ".htm"):
        raise DataError(f"{printable(output)}: a report is a file that ends in .html")
    if not output.parent.is_dir():
        raise DataError(f"{printable(output)}: there is no folder {printable(output.parent)}")


def _section(answer: Answer, names: Sequence[str], top: int, load: Loader) -> str:
    pictures = "".join(picture_tag(image, "query") for image in answer.images)
    hits = "".join(_hit(rank, match, names, load) for rank, match in enumerate(answer.result.matches[:top], start=1))
    told = f"{answer.verdict}; " if answer.verdict else ""
    found = f"{told}{answer.result.candidates} compared in {answer.result.elapsed_ms:.0f} ms"
    empty = answer.result.empty
    missing = "" if hits else f"<p>No result: {html.escape(empty.text if empty else 'nothing was found')}.</p>"
    return f"<h2>{html.escape(answer.query)}</h2><p>{html.escape(found)}</p>{pictures}{missing}<ol>{hits}</ol>"


def _hit(rank: int, match: Match, names: Sequence[str], load: Loader) -> str:
    try:
        picture = picture_tag(load(match.path), f"rank {rank}")
        if (scene := scene_of(match.path)) is not None:
            picture += picture_tag(scene, f"rank {rank} in its scene")
    except (VpmsearchError, OSError):
        picture = "<p>missing</p>"
    labels = "".join(f" · {k} {v}" for k, v in (("pid", match.pid), ("camera", match.camid)) if v is not None)
    rows = "".join(
        f"<tr><th>{part.region} {names[part.region]}</th>"
        f'<td><meter value="{part.share:.4f}" title="{part.share:.0%}">{part.share:.0%}</meter></td>'
        f"<td>{part.distance:.3f}</td></tr>"
        for part in match.regions
    )
    name = html.escape(printable(match.path))
    return (
        f"<li><b>{rank}</b> · {match.distance:.4f}{labels}{picture}"
        f'<small title="{name}">{html.escape(scene_name(match.path))}</small><table>{rows}</table></li>'
    )


def picture_tag(image: Image.Image, alt: str, size: tuple[int, int] = SIZE) -> str:
    """An <img> that holds its picture, at most `size` (width, height) pixels, without the metadata of its file."""
    small = image.convert("RGB")
    small.thumbnail(size, Image.Resampling.BICUBIC)
    small.info = {}
    target = io.BytesIO()
    small.save(target, "JPEG", quality=85)
    data = base64.b64encode(target.getvalue()).decode()
    return f'<img alt="{alt}" width="{small.width}" height="{small.height}" src="data:image/jpeg;base64,{data}">'
