"""`vpmsearch migrate` and `vpmsearch export`: an index taken elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vpmsearch.commands import options
from vpmsearch.commands.terminal import answer, answer_json, building, command, may_replace, progress
from vpmsearch.store.place import Place
from vpmsearch.words import number_of


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, example="vpmsearch migrate indexes/mine postgresql+psycopg://me@host/gallery")(migrate)
    command(app, example="vpmsearch export gallery.parquet --index indexes/mine")(export)


def migrate(
    source: Annotated[Place, typer.Argument(parser=Place.of, metavar="SRC", help="An index: a folder or a database.")],
    target: Annotated[
        Place, typer.Argument(parser=Place.of, metavar="DST", help="The same; made where there is none.")
    ],
    json: options.Json = False,
) -> None:
    """Copy an index from a folder to a server, or back, and compare every image with its copy.

    Interrupted, it goes on when it is run again. Image ids are given anew; visibility, embeddings, labels and the
    calibration stay.
    """
    from dataclasses import asdict

    from vpmsearch.errors import StoreNotFoundError
    from vpmsearch.store.open import create_index, fitting_type, open_index
    from vpmsearch.store.transfer import migrate as run

    with open_index(source) as ours:
        try:
            theirs = open_index(target)
        except StoreNotFoundError:
            kind = fitting_type(target, ours.index_type)
            theirs = create_index(target, ours.model_info, embedding_dtype=ours.embedding_dtype, index_type=kind)
        with theirs, progress("migrating", 2 * len(ours.snapshot)) as advance:
            report = run(ours, theirs, on_progress=advance, on_build=building(advance))
    if json:
        answer_json(asdict(report))
        return
    notes = f"; {report.others} others were there before" if report.others else ""
    notes += "; calibrated as there" if report.calibrated else ""
    images = number_of(report.images, "image")
    answer(f"{target}: {images}, each the same as in {source}, {report.copied} copied now{notes}")


def export(
    output: Annotated[Path, typer.Argument(metavar="FILE", help="The Parquet file.")],
    index: options.Index = options.DEFAULT_INDEX,
    where: options.Where = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file without asking.")] = False,
    json: options.Json = False,
) -> None:
    """Write an index as a Parquet file: labels, visibility and embeddings of every image, or of some (--where).

    A file that is there is replaced only after a question, or with --overwrite.
    """
    from vpmsearch.store.open import open_index
    from vpmsearch.store.transfer import check_parquet
    from vpmsearch.store.transfer import export as run

    wanted = options.where(where)
    replace = overwrite or may_replace(output)
    check_parquet(output, overwrite=replace)
    with open_index(index) as store, progress("exporting", len(store.snapshot)) as advance:
        images = run(store, output, overwrite=replace, where=wanted, on_progress=advance)
    if json:
        answer_json({"images": images, "path": str(output)})
    else:
        answer(f"{output}: {number_of(images, 'image')}")
