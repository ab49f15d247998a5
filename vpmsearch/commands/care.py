"""The commands that look after an index: stats, verify, remove, compact, snapshot, restore, upgrade."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vpmsearch.commands import options
from vpmsearch.commands.terminal import answer, answer_json, command, counted, say
from vpmsearch.words import byte_size, number_of, printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from vpmsearch.store.contract import Gallery

SHOWN = 10
"""Paths that a message names at most."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, example="vpmsearch stats --index indexes/mine --json")(stats)
    command(app, example="vpmsearch verify --index indexes/mine")(verify)
    command(app, example="vpmsearch remove --pid 17 --index indexes/mine")(remove)
    command(app, example="vpmsearch compact --index indexes/mine")(compact)
    command(app, example="vpmsearch snapshot copies/monday --index indexes/mine")(snapshot)
    command(app, example="vpmsearch restore copies/monday --index indexes/mine")(restore)
    command(app, example="vpmsearch upgrade --index indexes/mine")(upgrade)


def stats(
    index: options.Index = options.DEFAULT_INDEX,
    rejected: Annotated[bool, typer.Option("--rejected", help="List the files that were rejected, and why.")] = False,
    json: options.Json = False,
) -> None:
    """Say what an index holds: images, identities, cameras, bytes, and how often each region is visible.

    It notices a missing file or one of another size, and does not read the embeddings: `verify` finds changed bytes.
    """
    from vpmsearch.store.open import open_index

    with open_index(index, files=False) as store:
        found = asdict(store.stats())
        if rejected:
            found["rejections"] = [{"path": path, "reason": reason} for path, reason in store.rejected()]
    if json:
        answer_json(found)
        return
    for key, value in found.items():
        if key == "rejections":
            for item in value:
                answer(f"rejected: {printable(item['path'])}: {item['reason']}")
        else:
            answer(f"{key}: {_plain(value, byte_size) if key == 'bytes_on_disk' else _plain(value)}")


def verify(
    index: options.Index = options.DEFAULT_INDEX,
    repair: Annotated[
        bool, typer.Option("--repair", help="Build anew what follows from the embeddings: region indexes.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Check that the index is whole: every file and row is what was written, and all say the same. Exit 1 if not."""
    from vpmsearch.store import repair as repair_store
    from vpmsearch.store.open import folder_of, verify_index

    # By its place: a damaged index may not open.
    report = repair_store(folder_of(index, "REINDEX there")) if repair else verify_index(index)
    if json:
        answer_json({"ok": report.ok, "images": report.images, "problems": list(report.problems)})
    else:
        answer(f"{index}: {'ok' if report.ok else 'damaged'}, {number_of(report.images, 'image')}")
        for problem in report.problems:
            answer(f"problem: {problem}")
    if not report.ok:
        raise typer.Exit(1)


def remove(
    paths: Annotated[list[Path] | None, typer.Argument(metavar="PATH", help="Images, or folders of them.")] = None,
    pid: Annotated[
        list[str] | None, typer.Option(help="All images of this identity, a number or a word (repeatable).")
    ] = None,
    camid: Annotated[list[str] | None, typer.Option(help="All images of this camera (repeatable).")] = None,
    where: options.Where = None,
    before: Annotated[
        str | None, typer.Option(help="All images captured before this time (retention).", show_default=False)
    ] = None,
    timezone: options.Timezone = "",
    index: options.Index = options.DEFAULT_INDEX,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Name the images and remove none.")] = False,
    json: options.Json = False,
) -> None:
    """Remove images: they are found no more at once; `compact` then erases them from the files.

    Several kinds together remove what fits all of them. A PATH that the index does not know is an error, and nothing is
    removed.
    """
    from vpmsearch.store.open import open_index

    if not paths and not pid and not camid and not where and before is None:
        raise typer.BadParameter("say what to remove: a PATH, --pid, --camid, --where or --before")
    moment = options.moment(before, options.zone(timezone))
    labels = {"pids": options.labels(pid), "camids": options.labels(camid), "where": options.where(where)}
    with open_index(index, files=False) as store:
        found = _asked_for(store, paths or [], {**labels, "before": moment})
        names = _paths_of(store, found) if dry_run else []
        count = len(found)
        if not dry_run:
            with store.writer() as writer:
                count = writer.remove(found)
                writer.commit()
    if json:
        answer_json({"removed": 0, "would_remove": count, "paths": names} if dry_run else {"removed": count})
        return
    for name in names:
        answer(printable(name))
    if dry_run:
        say(f"{number_of(count, 'image')} would be removed")
        return
    erase = "the server's VACUUM erases" if index.is_server else "run `vpmsearch compact` to erase"
    answer(f"{number_of(count, 'image')} removed; {erase} {'it' if count == 1 else 'them'} from the index files")
    say("a file that is still in the gallery comes back when the gallery is indexed again: delete it there too")


def _paths_of(store: Gallery, ids: list[int]) -> list[str]:
    """The paths of images, in the order asked. Only the catalog is read, so a damaged index answers, too."""
    paths = {image_id: path for path, (image_id, _) in store.live_files().items()}
    return [paths[image_id] for image_id in ids if image_id in paths]  # another process may have removed one just now


def _asked_for(store: Gallery, paths: list[Path], conditions: dict[str, Any]) -> list[int]:
    """Ids, ascending, of the images at or below these paths, or of all where there are none, that meet the conditions.

    Raises:
        DataError: the index knows nothing at one of the paths, or nothing fits.
    """
    from vpmsearch.errors import DataError
    from vpmsearch.indexing.paths import rejected_path, stored_path

    found, unknown = set[int](), list[str]()
    for path in paths:
        name = rejected_path(stored_path(path))  # text, whatever bytes were given
        at_or_below = ({"paths": [name]}, {"prefix": name.rstrip("/") + "/"})
        if not any(store.find(**places) for places in at_or_below):
            unknown.append(name)
        found.update(*(store.find(**conditions, **places) for places in at_or_below))
    if unknown:
        shown = ", ".join(map(printable, unknown[:SHOWN])) + (", …" if len(unknown) > SHOWN else "")
        raise DataError(
            f"nothing was removed: {store.path} has no image at {shown}; paths are as `query` prints them, or relative "
            "to this folder"
        )
    if not paths:
        found.update(store.find(**conditions))
    if not found:
        raise DataError(f"nothing in {store.path} fits; `vpmsearch stats` says what it holds")
    return sorted(found)


def compact(
    index: options.Index = options.DEFAULT_INDEX,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for searches that hold an earlier view.")] = 5.0,
    purge_backups: Annotated[
        bool, typer.Option("--purge-backups", help="Delete backups and snapshots that still hold removed images.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would do, and who is in its way.")] = False,
    json: options.Json = False,
) -> None:
    """Rewrite an index as one segment: of the removed images nothing stays in its files.

    Needs room for the images that stay once more. Where the disk has less, it goes segment by segment.
    """
    from vpmsearch.store import compact as compact_store
    from vpmsearch.store.open import folder_of

    folder = folder_of(index, "VACUUM the database: what was removed goes with it")
    with counted("region indexes") as on_build:
        report = compact_store(
            folder, wait_seconds=wait, purge_backups=purge_backups, dry_run=dry_run, on_build=on_build
        )
    if json:
        answer_json(asdict(report))
    else:
        answer(
            f"{'would be: ' if dry_run else ''}{number_of(report.images, 'image')} kept, {report.removed} erased; "
            f"{byte_size(report.bytes_before)} -> {'about ' if dry_run else ''}{byte_size(report.bytes_after)}"
        )
    if not report.erased:
        who = f" (process {', '.join(map(str, report.readers))})" if report.readers else ""
        say(f"a search holds an earlier view{who}: removed images are not erased until it ends; then compact again")
    for copy in report.purged:
        say(f"deleted: {copy}")
    for copy in report.copies:
        say(f"{copy} still holds images that were removed; delete it, or compact with --purge-backups")


def snapshot(
    target: Annotated[Path, typer.Argument(help="A new folder for the copy.")],
    index: options.Index = options.DEFAULT_INDEX,
    json: options.Json = False,
) -> None:
    """Copy an index as it is at this moment, also while it is written to. The copy is an index like any other."""
    from vpmsearch.store import GalleryStore
    from vpmsearch.store.open import folder_of

    with GalleryStore.open(folder_of(index, "use pg_dump or pg_basebackup"), files=False) as store:
        images = store.snapshot_to(target)
    _copied(images, target, json)


def restore(
    source: Annotated[Path, typer.Argument(metavar="SNAPSHOT", help="A folder that `vpmsearch snapshot` made.")],
    index: options.Index = options.DEFAULT_INDEX,
    json: options.Json = False,
) -> None:
    """Make an index out of a snapshot, which stays. Where there is an index already, move it away first."""
    from vpmsearch.store import restore as restore_store
    from vpmsearch.store.open import folder_of

    folder = folder_of(index, "restore into a folder, then `vpmsearch migrate` it")
    _copied(restore_store(source, folder), folder, json)


def _copied(images: int, target: Path, json: bool) -> None:
    if json:
        answer_json({"images": images, "path": str(target)})
    else:
        answer(f"{target}: {number_of(images, 'image')}")


def upgrade(index: options.Index = options.DEFAULT_INDEX, json: options.Json = False) -> None:
    """Bring an index of an earlier vpmsearch to this one's format.

    A folder keeps a copy of its catalog beside it. A server builds its indexes of embeddings again if they changed.
    """
    from vpmsearch.store.open import upgrade_index

    with counted("region indexes") as on_build:
        old, new = upgrade_index(index, on_build, _tables_change)
    if json:
        answer_json({"from": old, "to": new})
    else:
        answer(f"{index}: already at {new}" if old == new else f"{index}: {old} -> {new}")


def _tables_change(images: int) -> None:
    count = number_of(images, "image")
    say(f"changing the tables of {count}; it may take minutes. If it is interrupted, the old ones stay")


def _plain(value: object, whole: Callable[[int], str] = str) -> str:
    """A value for people; `whole` shows whole numbers."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(inner, whole)}" for key, inner in value.items())
    if isinstance(value, list):
        return " ".join(_plain(inner, whole) for inner in value)
    if isinstance(value, int) and not isinstance(value, bool):
        return whole(value)
    return f"{value:.3f}" if isinstance(value, float) else str(value)
