"""The tables, their migrations, and how SQLite is opened and its errors are told."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy.exc import OperationalError

from vpmsearch.errors import (
    StoreDamagedError,
    StoreError,
    StoreLockedError,
    StoreNotFoundError,
    StoreVersionError,
)
from vpmsearch.store import GalleryStore, migrations, upgrade
from vpmsearch.store.folder import catalog, migrate, tables
from vpmsearch.store.folder.locking import writer_lock
from vpmsearch.store.folder.schema import expected
from vpmsearch.store.folder.sqlite import catalog_uri, translated
from vpmsearch.types import ImageRecord, RegionFeatures


def schema(path):
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE name NOT LIKE '%alembic%'").fetchall()
    connection.close()
    # Constraints may stand in any order; the commas within their brackets do not separate them.
    parts = {name: re.split(r", (?![^(]*\))", " ".join((sql or "").split())) for name, sql in rows}
    return {name: sorted(part.rstrip(" )") for part in found) for name, found in parts.items()}


def test_models_and_migrations_give_the_same_schema(tmp_path, store):
    """A new index has the tables that the migrations make."""
    path = tmp_path / "migrated.sqlite3"
    with tables.open_engine(path, create=True).begin() as connection:
        migrations.make_tables(connection)
    migrated = schema(path)
    assert migrated == schema(store.path / "catalog.sqlite3")
    assert {"model", "image", "visibility", "segment", "rejected"} <= migrated.keys()
    with tables.open_engine(path).connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.METADATA) == []


def test_the_head_is_what_the_code_expects(store):
    assert migrations.head_revision() == catalog.REVISION
    with tables.open_engine(store.path / "catalog.sqlite3").connect() as connection:
        assert migrations.current_revision(connection) == catalog.REVISION


def test_migrations_are_found_inside_or_beside_the_package(tmp_path):
    real = migrations.migrations_folder()
    package = tmp_path / "site-packages" / "vpmsearch"
    package.mkdir(parents=True)
    with pytest.raises(StoreError, match="install vpmsearch again"):
        migrations.migrations_folder(package)
    (tmp_path / "site-packages" / "migrations").mkdir()  # somebody else's package
    with pytest.raises(StoreError, match="install vpmsearch again"):
        migrations.migrations_folder(package)
    shutil.copytree(real, package / "migrations")
    assert migrations.migrations_folder(package) == package / "migrations"
    checkout = tmp_path / "check%out" / "vpmsearch"
    checkout.mkdir(parents=True)
    shutil.copytree(real, checkout.parent / "migrations")
    assert migrations.migrations_folder(checkout) == checkout.parent / "migrations"


def test_migrations_run_from_wherever_they_are_installed(tmp_path, monkeypatch):
    folder = tmp_path / "50% odd" / "migrations"  # a percent sign means something to ConfigParser
    shutil.copytree(migrations.migrations_folder(), folder)
    monkeypatch.setattr(migrations, "migrations_folder", lambda: folder)
    assert migrate.schema_at("head") == expected()


def test_upgrade(filled, next_version):
    path = filled.path
    before = filled.live_files()
    filled.close()
    assert upgrade(path) == ("0003", "0003")
    next_version()
    with pytest.raises(StoreVersionError, match="vpmsearch upgrade"):
        GalleryStore.open(path)
    with writer_lock(path), pytest.raises(StoreLockedError):
        upgrade(path)
    assert upgrade(path) == ("0003", "0004")
    with GalleryStore.open(path) as store:
        assert store.live_files() == before
        assert store.verify().ok  # the visibility rows did not fall with the old table
    backup = path / "catalog.sqlite3.backup-0003"
    with sqlite3.connect(backup) as connection:
        assert connection.execute("SELECT count(*) FROM image").fetchone() == (50,)
    connection.close()
    assert upgrade(path) == ("0004", "0004")


def test_upgrade_that_fails_changes_nothing(filled, next_version, monkeypatch):
    path = filled.path
    filled.close()
    before = schema(path / "catalog.sqlite3")
    next_version()
    real = migrate.make_tables

    def fail_late(connection, *revision):
        real(connection, *revision)
        if revision:  # it looks what the tables are to be
            return
        raise OperationalError("COMMIT", {}, sqlite3.OperationalError("database or disk is full"))

    monkeypatch.setattr(migrate, "make_tables", fail_late)
    with pytest.raises(StoreError, match="free some MB"):
        upgrade(path)
    assert schema(path / "catalog.sqlite3") == before
    monkeypatch.setattr(migrate, "make_tables", real)
    assert upgrade(path) == ("0003", "0004")


@pytest.mark.parametrize("recreate", ["always", "auto"])
def test_a_batch_migration_is_refused(filled, next_version, recreate):
    """It would give ids of removed images again, and empty `visibility` by its cascade, both in silence."""
    path = filled.path
    filled.close()
    before = schema(path / "catalog.sqlite3")
    next_version(
        f"with op.batch_alter_table('image', recreate='{recreate}') as batch:\n"
        "    batch.alter_column('width', nullable=True)"
    )
    with pytest.raises(StoreError, match="batch_alter_table"):
        upgrade(path)
    assert schema(path / "catalog.sqlite3") == before
    connection = sqlite3.connect(path / "catalog.sqlite3")
    assert connection.execute("SELECT count(*) FROM visibility").fetchone() == (50,)
    connection.close()


BY_HAND = """
made = op.get_bind().exec_driver_sql("SELECT sql FROM sqlite_schema WHERE name = 'image'").scalar_one()
op.execute(made.replace('image', 'other', 1){change})
op.execute("INSERT INTO other SELECT * FROM image{where}")
op.execute("DROP TABLE image")
op.execute("ALTER TABLE other RENAME TO image")
op.create_index('ix_image_pid', 'image', ['pid'])
op.create_index('ix_image_camid', 'image', ['camid'])
op.create_index('ix_image_removed', 'image', ['id'], sqlite_where=sa.text('removed_at IS NOT NULL'))
op.create_index('uq_image_path_live', 'image', ['path'], unique=True, sqlite_where=sa.text('removed_at IS NULL'))
"""


@pytest.mark.parametrize(
    ("change", "where", "words"),
    [
        ("", "", ""),
        ("", " WHERE removed_at IS NULL", "dangling rows"),
        (".replace(' AUTOINCREMENT', '')", "", "of ids of image"),
    ],
)
def test_an_upgrade_that_lessens_what_is_kept_changes_nothing(filled, next_version, change, where, words):
    path = filled.path
    with filled.writer() as writer:  # the last ids are those of removed images
        assert writer.remove([49, 50]) == 2
        writer.commit()
    filled.close()
    before = schema(path / "catalog.sqlite3")
    next_version(BY_HAND.format(change=change, where=where))
    if words:
        with pytest.raises(StoreError, match=words):
            upgrade(path)
        assert schema(path / "catalog.sqlite3") == before
        return
    assert upgrade(path) == ("0003", "0004")
    with GalleryStore.open(path) as store, store.writer() as writer:
        assert store.verify().ok
        assert writer.add([ImageRecord("new")], RegionFeatures(np.ones((1, 6)), np.ones((1, 6, 8)))) == [51]


def test_newer_and_unversioned_catalogs(filled, tmp_path):
    path = filled.path
    filled.close()
    with pytest.raises(StoreNotFoundError, match="vpmsearch index"):
        upgrade(tmp_path / "nowhere")
    connection = sqlite3.connect(path / "catalog.sqlite3")
    with connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreVersionError, match="9999"):
        GalleryStore.open(path)
    with pytest.raises(StoreVersionError, match="newer version"):
        upgrade(path)
    with connection:
        connection.execute("DROP TABLE alembic_version")
    connection.close()
    with pytest.raises(StoreDamagedError, match="alembic_version"):
        GalleryStore.open(path)
    with pytest.raises(StoreDamagedError, match="alembic_version"):
        upgrade(path)


def test_how_a_catalog_is_opened(tmp_path, monkeypatch):
    path = tmp_path / "a? b#" / "catalog.sqlite3"
    path.parent.mkdir()
    path.touch()
    assert catalog_uri(path) == f"{path.as_uri()}?mode=rw"
    assert "%3F" in catalog_uri(path)
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    wal, shared = path.with_name("catalog.sqlite3-wal"), path.with_name("catalog.sqlite3-shm")
    assert catalog_uri(path).endswith("?mode=ro&immutable=1")
    wal.touch()  # left empty by a copy: nothing is in it
    assert catalog_uri(path).endswith("?mode=ro&immutable=1")
    shared.touch()  # somebody has it open
    assert catalog_uri(path).endswith("?mode=ro")
    shared.unlink()
    wal.write_bytes(b"commits")
    assert catalog_uri(path).endswith("?mode=ro")


def test_connections_are_set_up(store):
    path = store.path / "catalog.sqlite3"
    with tables.open_engine(path, write=True).connect() as connection:
        names = ("journal_mode", "synchronous", "foreign_keys", "secure_delete", "query_only")
        values = [connection.execute(sa.text(f"PRAGMA {name}")).scalar_one() for name in names]
    assert values == ["wal", 2, 1, 1, 0]
    with (
        pytest.raises(OperationalError, match="readonly"),
        tables.open_engine(path).begin() as connection,
    ):
        connection.execute(sa.text("DELETE FROM model"))


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (sqlite3.OperationalError("database is locked"), StoreLockedError, "busy"),
        (sqlite3.OperationalError("database or disk is full"), StoreError, "free some MB"),
        (sqlite3.DatabaseError("database disk image is malformed"), StoreDamagedError, "restore"),
        (sqlite3.OperationalError("unable to open database file"), StoreError, "permissions"),
        (sqlite3.IntegrityError("UNIQUE constraint failed: image.path"), StoreError, "same commit"),
        (sqlite3.IntegrityError("FOREIGN KEY constraint failed"), StoreError, "verify"),
    ],
)
def test_errors_are_told(tmp_path, error, kind, words):
    for raised in (error, OperationalError("SELECT", {}, error)):
        with pytest.raises(kind, match=words) as caught, translated(tmp_path / "catalog.sqlite3"):
            raise raised
        assert caught.value.__cause__ is raised
        assert "\n" not in str(caught.value)
    with pytest.raises(ZeroDivisionError), translated(tmp_path):
        raise ZeroDivisionError


def test_times_come_back_in_utc(store, make_features):
    naive = datetime(2024, 5, 1, 12, 30, 0, 123456)
    zoned = datetime(2024, 5, 1, 12, 30, tzinfo=timezone(timedelta(hours=-5)))
    records = [ImageRecord("a", captured_at=naive), ImageRecord("b", captured_at=zoned), ImageRecord("c")]
    with store.writer() as writer:
        ids = writer.add(records, make_features(3))
        writer.commit()
    view = store.snapshot
    times = [record.captured_at for record in view.records(view.rows(ids))]
    assert times == [naive.replace(tzinfo=UTC), datetime(2024, 5, 1, 17, 30, tzinfo=UTC), None]
    assert times[0].tzinfo is UTC
