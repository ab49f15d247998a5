"""How near is near enough: distances turned into false-match rates, measured on the gallery itself.

A ranking always has a first. Whether that is the person searched for follows from how near the first comes for people
who are *not* there: images of the gallery, whole and cut to halves, searched for among the images of all others. The
share of them whose nearest other person is as near as a match is the match's *false-match rate*: what one would get
wrong of searches for absent people by accepting at that distance. It is kept apart by how many regions the query shows,
since fewer regions come nearer by chance, and it holds for a gallery of about the size it was measured on.

Where the gallery has no pids, only the image itself is left out of its own search; other images of the same person then
count as strangers, so that the distances asked for are nearer than they need to be: more `unsure`, not more false
matches.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from vpmsearch.data.crops import CropBox
from vpmsearch.errors import DataError
from vpmsearch.model.extraction import Extractor, Request
from vpmsearch.search.engine import Searcher
from vpmsearch.search.exact import QUERY_ROWS
from vpmsearch.store import Gallery, calibration_file
from vpmsearch.types import ImageRecord, Match, RegionFeatures

MATCH, UNSURE, NO_MATCH = "match", "unsure", "no match"
ACCEPTED, DOUBTFUL = 0.05, 0.25
"""False-match rates up to which a hit is a match, and up to which it is unsure."""
PROBES = 400
BOXES = (None, CropBox(bottom=0.5), CropBox(top=0.5), CropBox(bottom=0.7), CropBox(top=0.3))
"""What is searched for of each image: all, and the halves and larger parts that partial photographs show."""
LOOKED_UP = 1024
"""Images whose pids are looked up at once when probes are drawn."""
OWN_IMAGES = 64
"""Ranks that are looked at for the first image of somebody else, and eight times as many where there is none."""
FEWEST = 40
"""Distances a number of regions needs for rates of its own; with fewer it shares those of its neighbours."""


@dataclass(frozen=True)
class Calibration:
    """Distances of the nearest stranger, by how many regions the query shows.

    fingerprint: of the weights. min_visibility: of the index. images: in the gallery then. labelled: whether strangers
    were known by their pids. distances: for each number of visible regions, 1 to p, the distances, ascending.
    """

    fingerprint: str
    min_visibility: float
    images: int
    labelled: bool
    distances: tuple[tuple[float, ...], ...]

    def false_match_rate(self, visible: int, distance: float) -> float:
        """The share of searches for absent people whose nearest image is at least as near, in [0, 1].

        Args:
            visible: regions that the query shows, 1 to p. distance: of a match, by Eq. 4.
        """
        known = self._of(visible)
        return float(np.searchsorted(known, distance, side="right") / len(known))

    def verdict(self, visible: int, distance: float | None) -> str:
        """`MATCH`, `UNSURE` or `NO_MATCH` for the nearest match; None where there is none."""
        if distance is None:
            return NO_MATCH
        rate = self.false_match_rate(visible, distance)
        return MATCH if rate <= ACCEPTED else UNSURE if rate <= DOUBTFUL else NO_MATCH

    def _of(self, visible: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """The distances for a number of regions, with those of the nearest numbers until there are enough."""
        order = sorted(range(len(self.distances)), key=lambda i: (abs(i + 1 - visible), i))
        found: list[float] = []
        for number in order:
            found += self.distances[number]
            if len(found) >= FEWEST:
                break
        return np.sort(np.array(found, np.float64))

    def save(self, index: Path) -> Path:
        """Write it into the folder of an index, whole or not at all."""
        return calibration_file.write(index, asdict(self))


def load_calibration(
    index: Gallery | str | os.PathLike[str], fingerprint: str, min_visibility: float
) -> Calibration | None:
    """The calibration of an index; None where there is none, or one of other weights or another threshold.

    Args:
        index: an open index, or the folder of one.

    Raises:
        StoreDamagedError: it is not what was written.
    """
    if isinstance(index, str | os.PathLike):
        where: object = Path(index) / calibration_file.FILE_NAME
        written = calibration_file.read(Path(index))
    else:
        where, written = f"the calibration of {index.path}", index.calibration()
    values = calibration_file.of_model(written, fingerprint, min_visibility)
    if values is None:
        return None
    try:
        distances = tuple(tuple(map(float, each)) for each in values["distances"])
        found = Calibration(**{**values, "distances": distances})
    except (KeyError, TypeError, ValueError) as error:
        raise calibration_file.damaged(where) from error
    return found if any(found.distances) else None


def visible_regions(engine: Searcher, query: RegionFeatures) -> int:
    """How many regions of one query count where images are compared."""
    return int(engine.snapshot.model_info.visible(query.visibility[0]).sum())


def calibrate(
    engine: Searcher,
    extractor: Extractor,
    *,
    probes: int = PROBES,
    seed: int = 0,
    on_progress: Callable[[int], None] = lambda images: None,
) -> Calibration:
    """Search for images of the gallery, whole and in part, among those of other people.

    Args:
        engine: over the index. extractor: of its weights. probes: images to search with. seed: which.
        on_progress: told how many more are done, of `probes` × len(BOXES).

    Raises:
        DataError: too few images, or too few whose files are still there.
    """
    snapshot, info = engine.snapshot, engine.snapshot.model_info
    chosen = _probes(engine, probes, seed)
    owners = [(image_id, record.pid) for image_id, record in chosen]
    labelled = all(pid is not None for _, pid in owners)
    distances: list[list[float]] = [[] for _ in range(info.p)]
    wanted = [(probe, box) for probe in range(len(chosen)) for box in BOXES]
    for start in range(0, len(wanted), QUERY_ROWS):
        some = wanted[start : start + QUERY_ROWS]
        requests = (Request(i, Path(chosen[probe][1].path), box) for i, (probe, box) in enumerate(some))
        probed, parts = list[int](), list[RegionFeatures]()
        for batch in extractor.extract(requests):
            probed += [some[seen.position][0] for seen in batch.seen]
            parts.append(batch.features)
            on_progress(len(batch.seen) + len(batch.rejected))
        queries = RegionFeatures.concatenate(parts)
        nearest = _nearest_strangers(engine, queries, [owners[probe] for probe in probed])
        visible = info.visible(queries.visibility).sum(axis=1)
        for regions, distance in zip(visible.tolist(), nearest, strict=True):
            if distance is not None and regions:
                distances[regions - 1].append(distance)
    if sum(map(len, distances)) < FEWEST:
        raise DataError(f"{engine.store.path} has too few images with files to calibrate on; index more")
    ascending = tuple(tuple(sorted(each)) for each in distances)
    return Calibration(info.fingerprint, info.threshold, len(snapshot), labelled, ascending)


def _probes(engine: Searcher, count: int, seed: int) -> list[tuple[int, ImageRecord]]:
    """Images to search with, drawn at random: those of known people first where there are any.

    Of distractors (pid 0) nobody knows which other images show the same person; counted as strangers, those would make
    strangers look nearer than they are. Junk (pid below 0) is no photograph of a person.
    """
    snapshot = engine.snapshot
    ids = snapshot.image_ids[np.random.default_rng(seed).permutation(len(snapshot.image_ids))]
    known, others = list[tuple[int, ImageRecord]](), list[tuple[int, ImageRecord]]()
    for start in range(0, len(ids), LOOKED_UP):
        some = ids[start : start + LOOKED_UP]
        for image_id, record in zip(some.tolist(), snapshot.records_of(some), strict=True):
            group = known if record.pid is None or record.pid > 0 else others
            group.append((image_id, record))
        if len(known) >= count:
            break
    return [*known, *others][:count]


def _nearest_strangers(
    engine: Searcher, queries: RegionFeatures, owners: Sequence[tuple[int, int | None]]
) -> list[float | None]:
    """For each query the distance of the nearest image of somebody else than its owner: an (image id, pid).

    Junk is nobody's. All queries share a pass over the gallery; those whose own images fill the ranks take another.
    """
    nearest: list[float | None] = [None] * len(queries)
    waiting, k = list(range(len(queries))), OWN_IMAGES
    while waiting:
        found = engine.search(queries[np.array(waiting)], min(k, len(engine.snapshot)), exact=True)
        left = []
        for query, result in zip(waiting, found, strict=True):
            strangers = (match for match in result.matches if _is_stranger(match, *owners[query]))
            stranger = next(strangers, None)
            if stranger is not None:
                nearest[query] = stranger.distance
            elif len(result.matches) == k:
                left.append(query)
        waiting, k = left, 8 * k
    return nearest


def _is_stranger(match: Match, image_id: int, pid: int | None) -> bool:
    if match.image_id == image_id:
        return False
    if pid is None or pid < 1 or match.pid is None:  # 0: somebody, nobody knows who
        return True
    return match.pid != pid and match.pid >= 0
