"""What an index was promised to hold and what it does hold: states, and the journal in which they are noted.

Only the public functions of the store are used, so that this stays valid whatever its insides become.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vpmsearch.store import GalleryStore
from vpmsearch.types import Float32, ImageRecord, ModelInfo, RegionFeatures

# Three regions: what is written for one region is written for each, and every region is more to kill, fail and check.
INFO = ModelInfo((3, 1), 8, "sha256:feed", weights="vpm.safetensors", input_size=(384, 128))
Held = tuple[str, int | None, str, str]  # path, pid, content hash, digest of visibility and embeddings


@dataclass(frozen=True)
class State:
    """Everything an index holds: images by id, rejected files with the reason by path."""

    images: dict[int, Held] = field(default_factory=dict)
    rejected: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, values: dict[str, Any]) -> State:
        """From JSON, whose keys are text."""
        images = {int(image_id): tuple(held) for image_id, held in values["images"].items()}
        return cls(images, values["rejected"])

    def contents(self) -> tuple[list[Held], dict[str, str]]:
        """What it is, ids aside: two runs that add the same may give other ids."""
        return sorted(self.images.values()), self.rejected


def features_of(content_hash: str, info: ModelInfo = INFO) -> RegionFeatures:
    """The features of the one image with this content; one region of some images is not visible."""
    rng = np.random.default_rng(zlib.crc32(content_hash.encode()))
    visibility = rng.dirichlet(np.full(info.p, 0.5), 1).astype(np.float32)
    return RegionFeatures(visibility, rng.normal(size=(1, info.p, info.embedding_dim)).astype(np.float32))


def digest(visibility: Float32, embeddings: Float32) -> str:
    """Of one image, (p,) and (p, d): differs when a bit differs."""
    return hashlib.sha256(visibility.tobytes() + embeddings.tobytes()).hexdigest()[:20]


def held_by(record: ImageRecord, visibility: Float32, embeddings: Float32) -> Held:
    """What a state says of one image."""
    return record.path, record.pid, record.content_hash, digest(visibility, embeddings)


def read_state(index: Path) -> State:
    """What an index holds, as a reader sees it, once every way to ask for it has given the same answer."""
    with GalleryStore.open(index) as store:
        view = store.snapshot
        rows = np.arange(len(view))
        embeddings, records = view.embeddings(rows), view.records(rows)
        ids = view.image_ids.tolist()
        named = {record.path: (image_id, record.content_hash) for image_id, record in zip(ids, records, strict=True)}
        assert store.live_files() == named
        assert store.find() == ids
        for region in range(store.model_info.p):
            visible = np.flatnonzero(view.visible[:, region])
            found = view.search_region(region, embeddings[visible, region], 1)
            assert [int(nearest[0]) for nearest, _ in found] == visible.tolist()  # random vectors: itself
        values = (held_by(*image) for image in zip(records, view.visibility, embeddings, strict=True))
        return State(dict(zip(ids, values, strict=True)), dict(store.rejected()))


@dataclass(frozen=True)
class Entry:
    """A line of the journal. kind: "intent" before an operation, "done" when it returned, and so was promised."""

    kind: str
    step: int
    state: State
    began: float
    written: float

    @property
    def seconds(self) -> float:
        return self.written - self.began


class Journal:
    """Lines of JSON, each on the disk before `note` returns; times are of the clock that all processes share."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def note(self, kind: str, step: int, state: State, began: float | None = None) -> None:
        """Append one line."""
        now = time.monotonic()
        values = {"kind": kind, "step": step, "state": asdict(state), "began": now if began is None else began}
        line = json.dumps({**values, "written": now}).encode()
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(handle, b"\n" + line + b"\n")  # a line that a kill has torn stays on its own
            os.fsync(handle)
        finally:
            os.close(handle)

    def entries(self) -> list[Entry]:
        """All whole lines."""
        if not self.path.exists():
            return []
        lines = [line for line in self.path.read_bytes().split(b"\n") if line.endswith(b"}")]
        return [Entry(**{**values, "state": State.of(values["state"])}) for values in map(_whole, lines) if values]

    def promised(self) -> Entry | None:
        """The last operation that returned."""
        return next((entry for entry in reversed(self.entries()) if entry.kind == "done"), None)

    def in_flight(self) -> Entry | None:
        """The operation that was begun and has not returned."""
        entries = self.entries()
        return entries[-1] if entries and entries[-1].kind == "intent" else None


def _whole(line: bytes) -> dict[str, Any] | None:
    try:
        return json.loads(line)
    except ValueError:
        return None
