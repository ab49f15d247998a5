"""A seeded sequence of operations on one index, which goes on from where its journal and the index say it is.

What a step does follows from the seed, its number and the paths the index holds, not from ids: so a run that was
interrupted ends with what an unbroken run ends with.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from promises import INFO, Held, Journal, State, features_of, held_by, read_state

from vpmsearch.errors import StoreNotFoundError
from vpmsearch.store import GalleryStore, GalleryWriter, upgrade
from vpmsearch.types import ImageRecord, RegionFeatures

_COMPACT_EVERY = 7
_SESSION = 3  # steps with one writer


class Sequence:
    """Steps 0 to `steps` − 1: the first makes or upgrades the index, the others change it.

    Args:
        index: its folder. journal: of this index. announce: called when a step begins.
    """

    def __init__(self, index: Path, journal: Journal, seed: int, steps: int, announce: Callable[[], None]) -> None:
        self.index = index
        self.journal = journal
        self.seed = seed
        self.steps = steps
        self.announce = announce
        self._began = 0.0

    def run(self) -> None:
        """Do what is left to do."""
        promised = self.journal.promised()
        if promised is None or promised.step < 0:
            self._first(State() if promised is None else promised.state)
        start, state = self._resume()
        with GalleryStore.open(self.index) as store, ExitStack() as session:
            writer = None
            for number in range(start, self.steps):
                self._begin()
                compacts = number % _COMPACT_EVERY == _COMPACT_EVERY - 1
                if compacts or number % _SESSION == 0:
                    session.close()
                    writer = None
                if compacts:
                    self._promise(number, state, store.compact)
                    continue
                writer = writer or session.enter_context(store.writer())
                state = self._change(number, writer, state, store)
                self._promise(number, state, writer.commit)

    def _begin(self) -> None:
        self._began = time.monotonic()
        self.announce()

    def _promise(self, number: int, state: State, act: Callable[[], object]) -> None:
        """Note what is meant, do it, note that it was done."""
        self.journal.note("intent", number, state, self._began)
        act()
        self.journal.note("done", number, state, self._began)

    def _first(self, state: State) -> None:
        self._begin()
        self._promise(0, state, self._upgrade_or_create)

    def _upgrade_or_create(self) -> None:
        try:
            upgrade(self.index)
        except StoreNotFoundError:
            GalleryStore.create(self.index, INFO).close()

    def _resume(self) -> tuple[int, State]:
        """The next step, and the state it starts from."""
        promised, in_flight = self.journal.promised(), self.journal.in_flight()
        assert promised is not None
        actual = read_state(self.index)
        if in_flight is not None and actual == in_flight.state:
            self.journal.note("done", in_flight.step, actual)
            return in_flight.step + 1, actual
        assert actual == promised.state
        return promised.step + 1, actual

    def _change(self, number: int, writer: GalleryWriter, state: State, store: GalleryStore) -> State:
        """Hand a step's additions, changes, removals and rejections to a writer; the state its commit will make."""
        rng = np.random.default_rng([self.seed, number])
        name = rng.choice(["add", "add", "change", "remove"])
        by_path = {held[0]: image_id for image_id, held in sorted(state.images.items(), key=lambda item: item[1][0])}
        chosen = rng.permutation(list(by_path))[: rng.integers(1, 12)].tolist() if by_path else []
        images, rejected = dict(state.images), dict(state.rejected)
        if name in ("change", "remove"):
            removed = [by_path[path] for path in chosen]
            assert writer.remove(removed) == len(removed)
            images = {image_id: held for image_id, held in images.items() if image_id not in removed}
        if name == "change":
            images |= _add(writer, chosen, number, store)
        if name == "add":
            paths = [f"{number:04}/{i:02}.jpg" for i in range(rng.integers(1, 40))]
            images |= _add(writer, paths, number, store)
            rejected[f"{number:04}.txt"] = f"no image, said step {number}"
            writer.reject(f"{number:04}.txt", rejected[f"{number:04}.txt"])
        return State(images, rejected)


def _add(writer: GalleryWriter, paths: list[str], number: int, store: GalleryStore) -> dict[int, Held]:
    """Add one image a path; what a state says of them, by the ids the writer gave."""
    if not paths:
        return {}
    records = [ImageRecord(path, f"{path}@{number}", number % 5, number % 3, None, 64, 128) for path in paths]
    features = RegionFeatures.concatenate([features_of(record.content_hash, store.model_info) for record in records])
    ids = writer.add(records, features)
    stored = features.embeddings.astype(store.embedding_dtype).astype(np.float32)
    values = zip(records, features.visibility, stored, strict=True)
    return dict(zip(ids, (held_by(*image) for image in values), strict=True))
