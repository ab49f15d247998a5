"""An answer as a file: its ranks, and the confirmed and refused images."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from fastapi.responses import Response
from PIL import Image

from vpmsearch.data.fragment import part_of
from vpmsearch.errors import VpmsearchError
from vpmsearch.report.html import Answer, write_report
from vpmsearch.report.tables import csv_text, decided_rows, parquet_bytes, result_rows
from vpmsearch.types import Match, SearchResult
from vpmsearch.web.answers import search_answer, shown_result
from vpmsearch.web.searching import Searched
from vpmsearch.web.service import SearchService

FileForm = Literal["csv", "html", "json", "parquet"]
MEDIA_TYPES: dict[str, str] = {
    "csv": "text/csv; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "json": "application/json",
    "parquet": "application/vnd.apache.parquet",
}


def exported(service: SearchService, searched: Searched, form: FileForm) -> Response:
    """The answer as a file.

    Raises:
        DataError: `form` is Parquet, and pyarrow is not installed.
    """
    content = _MAKERS[form](service, searched)
    name = {"Content-Disposition": f'attachment; filename="vpmsearch.{form}"', "Cache-Control": "no-store"}
    return Response(content, media_type=MEDIA_TYPES[form], headers=name)


def _table(searched: Searched) -> tuple[list[str], list[dict[str, object]]]:
    view, found = searched.view, searched.found
    result = found.result
    columns, rows = result_rows(result, found.offset + 1)
    for row in rows:
        row["path"] = view.shown_path(row["path"])
    decided = []
    for decision, ids in (("confirmed", result.confirmed), ("refused", _known(searched, result.refused))):
        records = view.snapshot.records_of(ids) if ids else []
        shown = [replace(record, path=view.shown_path(record.path)) for record in records]
        decided += [(decision, image_id, record) for image_id, record in zip(ids, shown, strict=True)]
    return decided_rows(columns, rows, decided)


def _known(searched: Searched, image_ids: tuple[int, ...]) -> tuple[int, ...]:
    """The ids that are in the index: a refused image may have been removed since."""
    known = set(searched.view.snapshot.image_ids.tolist()) if image_ids else set()
    return tuple(image_id for image_id in image_ids if image_id in known)


def _csv(_: SearchService, searched: Searched) -> bytes:
    # With a byte order mark: without it Excel reads the file in the country's code page.
    return csv_text(*_table(searched)).encode("utf-8-sig")


def _parquet(_: SearchService, searched: Searched) -> bytes:
    return parquet_bytes(*_table(searched))


def _json(_: SearchService, searched: Searched) -> bytes:
    values = search_answer(searched).model_dump(mode="json", by_alias=True)
    return json.dumps(values, ensure_ascii=False, indent=1).encode()


def _html(service: SearchService, searched: Searched) -> bytes:
    asked, found = searched.asked, searched.found
    result, images = _told_apart(shown_result(searched.view, found.result))
    query = []
    for upload, box in zip(asked.uploads, asked.boxes, strict=True):
        upload.file.seek(0)
        query.append(service.part(upload.file.read(), box))
    query += _pictures(service, asked.image_ids)
    confirmed = _pictures(service, list(dict.fromkeys(asked.confirmed)))
    answer = Answer(asked.name, query, result, confirmed, found.offset + 1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.html"
        write_report(
            [answer],
            path,
            top=len(result.matches),
            load=lambda name: service.stored_image(images[str(name)]),
            scene=lambda name: _scene(service, images[name]),
        )
        return path.read_bytes()


def _scene(service: SearchService, image_id: int) -> Image.Image | None:
    is_part = part_of(service.view.record(image_id).path).box is not None
    return service.scene_image(image_id) if is_part else None


def _pictures(service: SearchService, image_ids: list[int]) -> list[Image.Image]:
    """The pictures of images of the index, without those whose files are gone."""
    found = []
    for image_id in image_ids:
        try:
            found.append(service.stored_image(image_id))
        except (VpmsearchError, OSError):
            continue
    return found


def _told_apart(result: SearchResult) -> tuple[SearchResult, dict[str, int]]:
    """The result with distinct paths, and the image of each path. In answers, paths may be file names and repeat."""
    images: dict[str, int] = {}

    def unlike(match: Match) -> Match:
        path = match.path if match.path not in images else f"{match.path} (image {match.image_id})"
        images[path] = match.image_id
        return replace(match, path=path)

    return replace(result, matches=tuple(map(unlike, result.matches))), images


_MAKERS: dict[FileForm, Callable[[SearchService, Searched], bytes]] = {
    "csv": _csv,
    "html": _html,
    "json": _json,
    "parquet": _parquet,
}
