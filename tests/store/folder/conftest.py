"""Galleries of random features, the same for every run."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from vpmsearch.store import GalleryStore, migrations
from vpmsearch.store.folder import catalog, migrate, schema
from vpmsearch.types import ImageRecord, ModelInfo, RegionFeatures

MakeFeatures = Callable[..., RegionFeatures]


@pytest.fixture(scope="session")
def make_features() -> MakeFeatures:
    def make(n: int, p: int = 6, d: int = 8, seed: int = 0) -> RegionFeatures:
        rng = np.random.default_rng(seed)
        visibility = rng.dirichlet(np.full(p, 0.5), n).astype(np.float32).reshape(n, p)
        return RegionFeatures(visibility, rng.normal(size=(n, p, d)).astype(np.float32))

    return make


@pytest.fixture(scope="session")
def make_records() -> Callable[..., list[ImageRecord]]:
    def make(n: int, start: int = 0) -> list[ImageRecord]:
        numbers = range(start, start + n)
        return [ImageRecord(f"cam{i % 3}/{i:04}.jpg", f"hash{i}", i % 5, i % 3, None, 64, 128) for i in numbers]

    return make


@pytest.fixture(scope="session")
def info() -> ModelInfo:
    return ModelInfo((6, 1), 8, "sha256:feed", weights="vpm.safetensors", input_size=(384, 128))


@pytest.fixture
def store(tmp_path: Path, info: ModelInfo) -> Iterator[GalleryStore]:
    with GalleryStore.create(tmp_path / "index", info) as store:
        yield store


@pytest.fixture(scope="session")
def filled_folder(
    tmp_path_factory: pytest.TempPathFactory,
    info: ModelInfo,
    make_features: MakeFeatures,
    make_records: Callable[..., list[ImageRecord]],
) -> Path:
    """What `filled` is a copy of; nobody opens it."""
    path = tmp_path_factory.mktemp("filled") / "index"
    with GalleryStore.create(path, info) as store, store.writer() as writer:
        writer.add(make_records(30), make_features(30))
        writer.commit()
        writer.add(make_records(20, start=30), make_features(20, seed=1))
        writer.commit()
        assert writer.remove([7, 40]) == 2
        writer.commit()
    return path


@pytest.fixture
def filled(tmp_path: Path, filled_folder: Path) -> Iterator[GalleryStore]:
    """Two segments, 30 and 20 images with ids 1 to 50, of which 7 and 40 are removed."""
    shutil.copytree(filled_folder, tmp_path / "index")
    with GalleryStore.open(tmp_path / "index") as store:
        yield store


@pytest.fixture
def next_version(tmp_path, monkeypatch):
    """Makes this the version after: its migrations add a column."""
    folder = tmp_path / "later"
    shutil.copytree(migrations.migrations_folder(), folder)
    (folder / "versions" / "0004_notes.py").write_text(
        "import sqlalchemy as sa\nfrom alembic import op\n"
        "revision, down_revision, branch_labels, depends_on = '0004', '0003', None, None\n"
        "def upgrade():\n"
        "    op.add_column('image', sa.Column('note', sa.String()))\n"
    )

    def switch(migration=None):
        """migration: the body of its `upgrade` instead."""
        if migration is not None:
            file = folder / "versions" / "0004_notes.py"
            head = file.read_text().partition("def upgrade")[0]
            file.write_text(head + "def upgrade():\n" + "".join(f"    {line}\n" for line in migration.splitlines()))
        monkeypatch.setattr(migrations, "migrations_folder", lambda: folder)
        monkeypatch.setattr(migrate, "REVISION", "0004")
        monkeypatch.setattr(catalog, "REVISION", "0004")
        monkeypatch.setattr(schema, "expected", cache(lambda: migrate.schema_at("head")))

    return switch
