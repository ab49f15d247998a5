"""Run as a program: does everything that one can do to an index, to indexes that a stranger has prepared.

    stranger_driver.py FOLDER STEP OFFSET

Every STEP-th case from OFFSET on, each with every operation; with a STEP of 0 what `NAMED` names. Prints a line of
JSON for each thing that went wrong: an error that is none of vpmsearch's, more than 10 s of CPU or 1 GiB, a wait,
something outside the index that has changed, or an index that is opened and must not be. Then how many cases were
tried, and how they ended.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import resource
import shutil
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vpmsearch.errors import VpmsearchError
from vpmsearch.store import GalleryStore, compact, repair, restore, upgrade, verify
from vpmsearch.store.folder.catalog import sum_all
from vpmsearch.store.folder.tables import open_engine
from vpmsearch.types import ImageRecord, ModelInfo, RegionFeatures, SearchFilter

MEMORY = 1 << 30
SECONDS = 10.0  # of CPU
WAIT = 120.0  # by the clock: whoever waits for a pipe uses no CPU
HUGE = 1 << 40
P, D, IMAGES = 2, 4, 12


@dataclass(frozen=True)
class Case:
    """name: for messages. spoil: makes an index what a stranger might give away; told where something else lies.

    refused: opening it must fail, rather than do no harm.
    """

    name: str
    spoil: Callable[[Path, Path], None]
    refused: bool = False


# ------------------------------------------------------------------------------------------------------ what is done


def features(n: int) -> RegionFeatures:
    """Anything."""
    rng = np.random.default_rng(n)
    return RegionFeatures(np.full((n, P), 0.5, np.float32), rng.normal(size=(n, P, D)).astype(np.float32))


def use(index: Path, other: Path) -> None:
    """Open, search, look at everything."""
    with GalleryStore.open(index) as store:
        view = store.snapshot
        for region in range(min(store.model_info.p, 4)):
            view.search_region(region, np.zeros((1, store.model_info.embedding_dim), np.float32), 3)
        view.records(np.arange(len(view)))
        view.select(SearchFilter(pids=(1,), path_prefix="0"))
        view.embeddings(np.arange(min(len(view), 20)))
        view.counts()
        view.camids()
        view.captured()
        for image_id in view.image_ids[:1].tolist():
            view.is_sound(image_id)
        store.stats()
        store.live_files()
        store.rejected()


def write(index: Path, other: Path) -> None:
    """Add, relabel, remove, reject."""
    with GalleryStore.open(index) as store, store.writer() as writer:
        writer.add([ImageRecord("new.jpg")], features(1))
        writer.update(2, ImageRecord("renamed.jpg", pid=3))
        writer.remove([3])
        writer.reject("bad.jpg", "why")
        writer.commit()
        store.keep_calibration({"fingerprint": "f", "min_visibility": 0.25, "images": 1})


def take_snapshot(index: Path, other: Path) -> None:
    """A copy."""
    with GalleryStore.open(index) as store:
        store.snapshot_to(other / "snapshot")


OPERATIONS: dict[str, Callable[[Path, Path], object]] = {
    "open": use,
    "verify": lambda index, other: verify(index),
    "repair": lambda index, other: repair(index),
    "snapshot": take_snapshot,
    "restore": lambda index, other: restore(index, other / "restored"),
    "compact": lambda index, other: compact(index, wait_seconds=0, purge_backups=True),
    "write": write,
    "upgrade": lambda index, other: upgrade(index),
    "create": lambda index, other: GalleryStore.create(index, ModelInfo(P, D, "f")).close(),
}

# ------------------------------------------------------------------------------------------------------ what is given

VALUES = ("NULL", "-1", "0", "9223372036854775807", "1e308", "9e999", "1.5", "''", "'x'", "'1'", "x'00ff'",
          "'../../outside/7'", "'/outside'", "char(0,10,27)", "CAST(x'ff' AS TEXT)", "zeroblob(100000)",
          "'2024-99-99 00:00:00.000000'", "'now'")  # fmt: skip
COLUMNS = {
    "model": "weights fingerprint name dataset regions_high regions_wide embedding_dim input_height input_width "
    "min_visibility embedding_dtype index_type created_at index_id",
    "segment": "id images created_at",
    "segment_file": "segment_id name size digest",
    "image": "id path content_hash pid camid captured_at width height segment_id row removed_at",
    "visibility": "image_id scores",
    "rejected": "path reason rejected_at",
    "checksum": "name total",
    "copy": "path created_at total owner",
    "alembic_version": "version_num",
    "sqlite_sequence": "name seq",
}


@contextlib.contextmanager
def raw(index: Path) -> Iterator[sqlite3.Connection]:
    """The catalog without vpmsearch, and without what SQLite would check."""
    with closing(sqlite3.connect(index / "catalog.sqlite3", isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        yield connection


def with_value(table: str, column: str, value: str, loose: bool) -> Case:
    """One value of a wrong kind in every row; loose: in a table that takes any, keys too."""

    def spoil(index: Path, other: Path) -> None:
        with raw(index) as connection:
            if loose:
                names = ", ".join(COLUMNS[table].split())
                if table != "sqlite_sequence":
                    connection.execute("PRAGMA legacy_alter_table = ON")
                    connection.execute(f"ALTER TABLE {table} RENAME TO was_{table}")
                    connection.execute(f"CREATE TABLE {table} AS SELECT {names} FROM was_{table}")
                    connection.execute("PRAGMA writable_schema = ON")
                    connection.execute("DELETE FROM sqlite_schema WHERE name = ?", (f"was_{table}",))
            with contextlib.suppress(sqlite3.Error):
                connection.execute(f"UPDATE OR IGNORE {table} SET {column} = {value}")
        put_sums_right(index)

    return Case(f"{'loose ' * loose}{table}.{column} = {value}", spoil)


def put_sums_right(index: Path) -> None:
    """As whoever can write the catalog can."""
    with contextlib.suppress(Exception), open_engine(index / "catalog.sqlite3", write=True).begin() as connection:
        sum_all(connection)


ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) "


def with_schema(name: str, *statements: str) -> Case:
    """Other tables than vpmsearch makes."""

    def spoil(index: Path, other: Path) -> None:
        with raw(index) as connection:
            connection.execute("PRAGMA legacy_alter_table = ON")
            for statement in statements:
                connection.execute(statement)

    return Case(name, spoil, refused=True)


def view_of(table: str) -> Case:
    """A view that never ends, in place of a table."""
    names = COLUMNS[table].split()
    columns = ", ".join(f"x AS {name}" for name in names)
    drop = f"ALTER TABLE {table} RENAME TO was_{table}"
    return with_schema(f"view {table}", drop, f"CREATE VIEW {table} AS {ENDLESS} SELECT {columns} FROM c")


SCHEMAS = [
    *(view_of(table) for table in COLUMNS if table != "sqlite_sequence"),
    with_schema("trigger", "CREATE TRIGGER t AFTER UPDATE ON image BEGIN DELETE FROM visibility; END"),
    with_schema("computed", "ALTER TABLE image ADD COLUMN bomb AS (hex(zeroblob(500000000)))"),
    with_schema("index", "CREATE INDEX i ON image (length(hex(zeroblob(100000) || path)))"),
    with_schema("more", "CREATE TABLE more (a)"),
    with_schema("virtual", "CREATE VIRTUAL TABLE v USING fts5(a)"),
    with_schema("many", *(f"CREATE TABLE many{i} (a)" for i in range(300))),
    with_schema("long", f"CREATE TABLE long ({', '.join(f'a{i}' for i in range(2000))})"),
    with_schema("gone", "PRAGMA foreign_keys = OFF", "DROP TABLE visibility"),
]

PATHS = ("catalog.sqlite3", "catalog.sqlite3-wal", "catalog.sqlite3-shm", "catalog.sqlite3-journal", "writer.lock",
         "calibration.json", "segments", "segments/1", "segments/1/embeddings.h5", "segments/1/images.bin",
         "segments/1/labels.bin", "segments/1/region_0.faiss", "segments/1/more.bin", "segments/9",
         "segments/.tmp-9-01234567", "catalog.sqlite3.backup-0001", ".catalog.sqlite3.x",
         ".new-catalog.sqlite3")  # fmt: skip
NEEDED = ("catalog.sqlite3", "segments", "segments/1", *(f"segments/1/{name}" for name in (
          "embeddings.h5", "images.bin", "region_0.faiss")))  # fmt: skip
NAMED: dict[str, tuple[str, ...]] = {  # a case -> the operations that it would lead astray
    "deleting_journal": ("open", "verify", "write", "upgrade"),
    "only_segments_folder": ("create",),
    "naming_copies": ("compact",),
    "loose segment.id = '../../outside/7'": ("open", "compact", "write"),
    "segment_file.name = '../../outside/7'": ("verify", "repair", "snapshot"),
    "view image": ("open", "verify", "write"),
    "trigger": ("write", "compact"),
    "moved segments": ("compact", "snapshot", "write"),
    "moved segments/1/images.bin": ("repair", "snapshot"),
    "moved segments/1/labels.bin": ("open", "write", "compact", "repair", "snapshot"),
    "pipe segments/1/labels.bin": ("open", "verify", "snapshot", "write"),
    "grown segments/1/labels.bin": ("open", "verify", "write"),
    "labels 3": ("open", "verify", "repair", "write"),
    "labels 7": ("open", "snapshot", "compact"),
    "pipe segments/1/embeddings.h5": ("open", "verify", "restore"),
    "sparse catalog.sqlite3": ("open", "restore", "upgrade"),
    "grown segments/1/region_0.faiss": ("open", "verify", "repair"),
    "dangling writer.lock": ("write", "compact", "create"),
    "link calibration.json": ("write", "snapshot", "restore"),
    "image.captured_at = 'now'": ("open", "verify"),
    "nothing wrong": tuple(OPERATIONS),
}
KINDS = ("link", "dangling", "pipe", "folder", "sparse", "moved")


def with_path(name: str, kind: str) -> Case:
    """Something else than a file or a folder of its own at a path of the index."""

    def spoil(index: Path, other: Path) -> None:
        path = index / name
        if kind == "moved":  # all is well, but elsewhere
            if not path.exists():
                return
            shutil.move(path, other / "moved")
            path.symlink_to(other / "moved")
            return
        was_folder = path.is_dir()
        if was_folder:
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        if kind == "link":
            path.symlink_to(other / ("7" if was_folder or ("segments/" in name and path.suffix == "") else "file.txt"))
        elif kind == "dangling":
            path.symlink_to(other / "made through a link")
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
            (path / "mine.txt").write_text("mine")
        else:
            with path.open("wb") as file:
                file.truncate(HUGE)

    return Case(f"{kind} {name}", spoil, refused=name in NEEDED)


def grown(name: str, refused: bool) -> Case:
    """A file with its own beginning, and a hole of a tebibyte behind; the catalog says so."""

    def spoil(index: Path, other: Path) -> None:
        os.truncate(index / name, HUGE)
        with raw(index) as connection:
            connection.execute("UPDATE segment_file SET size = ? WHERE name = ?", (HUGE, Path(name).name))
        put_sums_right(index)

    return Case(f"grown {name}", spoil, refused)


def with_labels(seed: int) -> Case:
    """A file of labels with other bytes here and there, or other sizes of its arrays; the catalog says so."""

    def spoil(index: Path, other: Path) -> None:
        rng = np.random.default_rng(seed)
        path = index / "segments/1/labels.bin"
        data = np.frombuffer(path.read_bytes(), np.uint8).copy()
        end = 176 if seed % 3 == 0 else len(data)  # of its head
        places = rng.integers(8, end, size=1 + seed % 8)
        data[places] = rng.choice(np.array([0, 1, 2, 0x7F, 0x80, 0xFF], np.uint8), size=len(places))
        path.write_bytes(data.tobytes())
        total = hashlib.blake2b(data.tobytes(), digest_size=16).digest()
        with raw(index) as connection:
            connection.execute("UPDATE segment_file SET digest = ? WHERE name = 'labels.bin'", (total,))
        put_sums_right(index)

    return Case(f"labels {seed}", spoil)


def only_segments_folder(index: Path, other: Path) -> None:
    """No index yet, but a way out of the folder that is to become one."""
    shutil.rmtree(index)
    index.mkdir()
    (other / "empty").mkdir()
    (index / "segments").symlink_to(other / "empty")


def deleting_journal(index: Path, other: Path) -> None:
    """A rollback journal with the name of a file that SQLite deletes once it has rolled back."""
    path = index / "catalog.sqlite3"
    page, nonce = path.read_bytes()[:4096], 7
    total = nonce + sum(page[at] for at in range(len(page) - 200, 0, -200))
    magic = bytes.fromhex("d9d505f920a163d7")
    numbers = (1, nonce, path.stat().st_size // 4096, 512, 4096)
    journal = (magic + b"".join(n.to_bytes(4) for n in numbers)).ljust(512, b"\0")
    journal += (1).to_bytes(4) + page + (total % 2**32).to_bytes(4)
    victim = os.fsencode(other / "file.txt")
    journal += (0x40000000 // 4096 + 1).to_bytes(4) + victim + len(victim).to_bytes(4) + sum(victim).to_bytes(4) + magic
    Path(f"{path}-journal").write_bytes(journal)


def naming_copies(index: Path, other: Path) -> None:
    """Snapshots that are none."""
    with raw(index) as connection:
        (total,) = connection.execute("SELECT total FROM checksum WHERE name = 'image'").fetchone()
        rows = [(str(path), "2024-01-01 00:00:00.000000", total, str(index)) for path in (other, other / "7")]
        connection.executemany("INSERT INTO copy VALUES (?, ?, ?, ?)", rows)
    put_sums_right(index)


def cases() -> list[Case]:
    """All of them."""
    columns = [(table, column) for table, names in COLUMNS.items() for column in names.split()]
    values = [with_value(*place, value, loose) for place in columns for value in VALUES for loose in (False, True)]
    paths = [with_path(name, kind) for name in PATHS for kind in KINDS]
    large = [grown(f"segments/1/{name}", True) for name in ("embeddings.h5", "images.bin", "region_0.faiss")]
    large.append(grown("segments/1/labels.bin", False))
    labels = [with_labels(seed) for seed in range(60)]
    odd = [Case(act.__name__, act) for act in (only_segments_folder, naming_copies)]
    odd.append(Case("deleting_journal", deleting_journal, refused=True))
    return [*odd, *large, *labels, *SCHEMAS, *paths, *values, Case("nothing wrong", lambda index, other: None)]


# -------------------------------------------------------------------------------------------------------------- watch


def make_index(path: Path) -> None:
    """A sound one, of every kind of file."""
    with GalleryStore.create(path, ModelInfo((P, 1), D, "f", weights="w", input_size=(64, 32))) as store:
        with store.writer() as writer:
            writer.add([ImageRecord(f"{i}.jpg", f"{i:032x}", i % 3, i % 2) for i in range(IMAGES)], features(IMAGES))
            writer.reject("bad.jpg", "damaged")
            writer.commit()
            writer.remove([5])
            writer.commit()
        store.keep_calibration({"fingerprint": "f", "min_visibility": 0.25, "images": 11})
        store.snapshot_to(path.parent / "made")
    shutil.copy(path / "catalog.sqlite3", path / "catalog.sqlite3.backup-0001")
    shutil.rmtree(path.parent / "made")


def make_other(path: Path) -> None:
    """What nobody may touch."""
    (path / "7").mkdir(parents=True)
    (path / "7" / "precious.txt").write_text("precious")
    (path / "7" / "embeddings.h5").write_text("precious")
    (path / "file.txt").write_text("secret")


def state(path: Path) -> dict[str, object]:
    """Every file, folder and link below a path, what was made there on purpose aside."""
    found: dict[str, object] = {}
    for entry in sorted(path.rglob("*")):
        name = str(entry.relative_to(path))
        if name.split("/")[0] in ("snapshot", "restored"):
            continue
        if entry.is_symlink() or entry.is_dir():
            found[name] = str(entry.readlink()) if entry.is_symlink() else "folder"
        elif entry.is_file() and entry.stat().st_size < 1 << 24:
            found[name] = hashlib.sha256(entry.read_bytes()).hexdigest()
        else:
            found[name] = entry.lstat().st_size
    return found


def copied_secret(other: Path) -> bool:
    """Whether what lay elsewhere was taken along."""
    places = [path for name in ("snapshot", "restored") for path in (other / name).rglob("*")]
    return any(path.is_file() and b"secret" in path.read_bytes()[:100] for path in places)


def resident() -> int:
    """Peak of memory since the last reset, bytes."""
    text = Path("/proc/self/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0]) * 1024


def attempt(operation: Callable[[Path, Path], object], index: Path, other: Path) -> tuple[str, str]:
    """(outcome, problem)."""
    Path("/proc/self/clear_refs").write_text("5")
    before, start = resident(), time.process_time()
    try:
        operation(index, other)
        outcome, problem = "done", ""
    except VpmsearchError as error:
        outcome, text = type(error).__name__, str(error)
        problem = "" if text.isprintable() and len(text) < 1500 else f"not one clear line: {text[:300]!r}"
    except BaseException as error:
        outcome, problem = "", f"{type(error).__name__}: {error}"[:300]
    if time.process_time() - start > SECONDS:
        problem = problem or f"{time.process_time() - start:.0f} s of CPU"
    if resident() - before > MEMORY:
        problem = problem or f"{(resident() - before) >> 20} MiB"
    return outcome, problem


def stop(number: int, frame: object) -> None:
    """Somebody waits."""
    raise TimeoutError("no end")


def main() -> None:
    folder, step, offset = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    signal.signal(signal.SIGALRM, stop)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    make_index(folder / "sound")
    for name, operation in OPERATIONS.items():  # what is loaded late is loaded now
        (folder / "warm").mkdir()
        shutil.copytree(folder / "sound", folder / "warm" / name)
        attempt(operation, folder / "warm" / name, folder / "warm")
        shutil.rmtree(folder / "warm")
    outcomes = Counter[str]()
    chosen = cases()[offset::step] if step else [case for case in cases() if case.name in NAMED]
    for number, case in enumerate(chosen):
        for name in OPERATIONS if step else NAMED[case.name]:
            operation = OPERATIONS[name]
            place = folder / f"{number}-{name}"
            index, other = place / "index", place / "outside"
            shutil.copytree(folder / "sound", index)
            make_other(other)
            with contextlib.suppress(sqlite3.Error):
                case.spoil(index, other)
            before = state(other)
            signal.setitimer(signal.ITIMER_REAL, WAIT)
            outcome, problem = attempt(operation, index, other)
            signal.setitimer(signal.ITIMER_REAL, 0)
            outcomes[outcome] += 1
            if state(other) != before:
                problem = f"changed outside: {set(state(other).items()) ^ set(before.items())}"[:300]
            if case.refused and name == "open" and outcome == "done":
                problem = "was opened"
            if copied_secret(other):
                problem = "took along what lies outside"
            if problem:
                print(json.dumps({"case": case.name, "operation": name, "problem": problem}), flush=True)
            shutil.rmtree(place)
    print(json.dumps({"cases": len(chosen), "outcomes": outcomes}))


if __name__ == "__main__":
    main()
