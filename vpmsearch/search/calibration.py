"""The experiment behind a verdict: how near do strangers come in this gallery, and how far do right answers lie?

Images of the gallery are searched for in it: whole, and cut to halves and larger parts. Each search leaves out the
image itself and every image with the same content. Its result is a list of distances, nearest first, to images of the
same person and of strangers. The two are told apart in one of three ways, the basis:

- **pids**, where both images have one. Where cameras are known, only images by other cameras are right answers, since
  photographs by the same camera lie nearer than real queries do.
- **pairs**: a person said of some pairs whether they show one person (`vpmsearch.search.pairs`). These answers tell how
  likely two images at a distance show one person. Who each image of a list shows is drawn with that probability.
- **likeness**, where nothing is known. A person is assumed to occur at most `MOST` times, so images from rank `MOST` on
  are certainly strangers. Their distances from there to rank `FAR` tell how near the nearest stranger is likely to be:
  a normal distribution is laid through these two ranks and followed down to the first rank, as if all images before
  rank `MOST` were strangers too. This places strangers nearer than they are, so there are fewer matches, not more
  false ones.
  Right answers: the nearer a first image is, the more often it is right. So a distance that 5 % of all searches exceed
  is exceeded by at most 5 % of the searches whose first image is right. Where cameras are known, the first image is
  the first by another camera.

One list may need all three, as in a gallery where only some images have labels.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from vpmsearch.data.crops import CropBox
from vpmsearch.errors import DataError
from vpmsearch.labels import is_junk
from vpmsearch.model.extraction import Extractor, Request
from vpmsearch.search.distances import QUERY_ROWS
from vpmsearch.search.itself import Source, search_others
from vpmsearch.search.pairs import Answers, Curve, Sample, fit
from vpmsearch.search.searcher import Searcher
from vpmsearch.search.verdict import FEWEST, LIKENESS, PAIRS, PIDS, Calibration
from vpmsearch.types import ImageRecord, Match, RegionFeatures
from vpmsearch.words import number_of

PROBES = 400
BOXES = (None, CropBox(bottom=0.5), CropBox(top=0.5), CropBox(bottom=0.7), CropBox(top=0.3))
"""The parts of each image that are searched for: all of it, and halves and larger parts as in partial photographs."""
MOST, FAR = 20, 60
"""How often a person is assumed to occur at most without pids, and the last rank at which strangers are looked at."""
LEAST = 300
"""Images without pids that the basis likeness needs: `FAR` ranks must be at most the nearest fifth of them."""
RANKS = 96
"""Ranks that are looked at; eight times as many where all of these show the person searched for."""
LOOKED_UP = 1024
"""Images whose pids are looked up at once when probes are drawn."""
FIRST = 64
"""After so many searches the time that all will take is reported."""
OWN, STRANGER, UNKNOWN, NOBODY = "own", "stranger", "unknown", "nobody"
"""Who an image shows. NOBODY: the image does not count, as it is junk or the same person by the same camera."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Probe:
    """An image of the gallery to search for."""

    image_id: int
    record: ImageRecord

    @property
    def known(self) -> bool:
        """Whether the image has a pid."""
        return self.record.pid is not None and self.record.pid != 0 and not is_junk(self.record.pid)

    @property
    def source(self) -> Source:
        """What the search must not find: the image itself, under any path."""
        return replace(Source.of(self.record.content_hash), image_ids=frozenset({self.image_id}))


@dataclass(frozen=True)
class Listed:
    """One search: the distances of its list, sorted by what is known of the person, each ascending.

    visible: number of regions that the query shows. own: distances to the same person, by another camera where cameras
    are known. stranger: to somebody else. unknown: to images whose person is not known. by_another: which of the
    unknown are by another camera; all where cameras are not known. answered: pairs that a person has answered.
    """

    visible: int
    own: Floats
    stranger: Floats
    unknown: Floats
    by_another: NDArray[np.bool_]
    answered: tuple[Sample, ...] = ()


def calibrate(
    engine: Searcher,
    extractor: Extractor,
    *,
    probes: int = PROBES,
    seed: int = 0,
    answers: Answers | None = None,
    on_progress: Callable[[int], None] = lambda searches: None,
    on_estimate: Callable[[float], None] = lambda seconds: None,
) -> Calibration:
    """Measure how near strangers come and how far right answers lie, by searches for whole and cut gallery images.

    Args:
        engine: search of the index. extractor: has the weights of the index. probes: number of images to search with.
        seed: seed by which they are drawn. answers: a person's answers about pairs, see `vpmsearch.search.pairs`.
        on_progress: called with the number of searches newly done, of `probes` × len(BOXES). on_estimate: called once,
            early, with the seconds that all searches will take.

    Raises:
        DataError: there are too few images, or too few whose files still exist; or nothing tells strangers from other
            images of the same person. The message says what would.
    """
    chosen, unlabelled = draw_probes(engine, probes, seed, first=answers.probes if answers else ())
    known = [probe for probe in chosen if probe.known]
    if len(known) < FEWEST and answers is None and unlabelled < LEAST and len(known) < len(chosen):
        raise DataError(_what_would_do(engine, unlabelled))
    listed = _searched(engine, extractor, chosen, answers, on_progress, on_estimate)
    curve = None if answers is None else fit([sample for item in listed for sample in item.answered])
    found = [_drawn(item, curve, unlabelled, rng) for rng in [np.random.default_rng(seed)] for item in listed]
    if sum(nearest is not None for nearest, _ in found) < FEWEST:
        raise DataError(f"{engine.store.path} has too few images with files to calibrate on; index more")
    labelled = not any(item.unknown.size for item in listed)
    info, visible = engine.snapshot.model_info, [item.visible for item in listed]
    return Calibration(
        info.fingerprint,
        info.threshold,
        len(engine.snapshot),
        labelled,
        _by_regions(info.p, visible, [nearest for nearest, _ in found]),
        _by_regions(info.p, visible, [right for _, right in found]),
        PIDS if labelled else PAIRS if curve else LIKENESS,
        engine.snapshot.counts()["identities"],
    )


def draw_probes(engine: Searcher, count: int, seed: int, first: Sequence[int] = ()) -> tuple[list[Probe], int]:
    """Images to search with, drawn at random; and about how many images of the index have no pid.

    If at least `FEWEST` images have a known person, only those are drawn; else those come first. Of a distractor
    (pid 0) nobody knows which other images show the same person. Junk (pid below 0) shows no person. A camera is left
    out of the records if it is the only one, as it then tells nothing.

    Args:
        first: ids of images that are taken before any other.
    """
    snapshot, several = engine.snapshot, engine.snapshot.counts()["cameras"] > 1
    every = snapshot.image_ids[np.random.default_rng(seed).permutation(len(snapshot.image_ids))]
    chosen = [Probe(*item) for item in zip(first, snapshot.records_of(first), strict=True)] if len(first) else []
    known, others, without, seen = list[Probe](), list[Probe](), 0, 0
    for start in range(0, len(every), LOOKED_UP):
        some = every[start : start + LOOKED_UP]
        for image_id, record in zip(some.tolist(), snapshot.records_of(some), strict=True):
            probe = Probe(image_id, record if several else replace(record, camid=None))
            without, seen = without + (record.pid is None), seen + 1
            if not is_junk(record.pid):
                (known if probe.known else others).append(probe)
        if len(known) >= count:
            break
    rest = known if len(known) >= FEWEST else [*known, *others]
    taken = set(first)
    chosen += [probe for probe in rest if probe.image_id not in taken]
    return chosen[: max(count, len(first))], round(len(every) * without / max(seen, 1))


def _what_would_do(engine: Searcher, unlabelled: int) -> str:
    return (
        f"{engine.store.path}: among {number_of(unlabelled, 'image')} without pids, strangers cannot be told from "
        f"other images of the same person, so no verdict can be promised. What would allow one: {LEAST} images or "
        f"more; or pids of some people, {FEWEST} images between them (`vpmsearch index LIST.csv`, columns path,pid); "
        "or some pairs that you answer (`vpmsearch calibrate --ask pairs.csv`, then `--pairs pairs.csv`)"
    )


def _by_regions(p: int, visible: Sequence[int], distances: Sequence[float | None]) -> tuple[tuple[float, ...], ...]:
    """For each number of visible regions, 1 to p: the distances of the searches with so many, ascending."""
    pairs = [(shown, each) for shown, each in zip(visible, distances, strict=True) if each is not None]
    return tuple(tuple(sorted(each for shown, each in pairs if shown == number)) for number in range(1, p + 1))


def _searched(
    engine: Searcher,
    extractor: Extractor,
    chosen: Sequence[Probe],
    answers: Answers | None,
    on_progress: Callable[[int], None],
    on_estimate: Callable[[float], None],
) -> list[Listed]:
    """Search for each probe, whole and in part. Those whose files cannot be read any more are left out."""
    wanted = [(probe, box) for probe in chosen for box in BOXES]
    listed, began, start = list[Listed](), time.perf_counter(), 0
    while start < len(wanted):
        some = wanted[start : start + (QUERY_ROWS if start else FIRST)]
        requests = (Request(i, Path(probe.record.path), box) for i, (probe, box) in enumerate(some))
        probed, parts = list[Probe](), list[RegionFeatures]()
        for batch in extractor.extract(requests):
            probed += [some[seen.position][0] for seen in batch.seen]
            parts.append(batch.features)
            on_progress(len(batch.seen) + len(batch.rejected))
        listed += _lists(engine, RegionFeatures.concatenate(parts), probed, answers)
        if not start:
            on_estimate((time.perf_counter() - began) * len(wanted) / len(some))
        start += len(some)
    return listed


def _lists(engine: Searcher, queries: RegionFeatures, probed: Sequence[Probe], answers: Answers | None) -> list[Listed]:
    """The list of each query. All share one pass; a second one serves queries whose own images fill all ranks."""
    visible = engine.snapshot.model_info.visible(queries.visibility).sum(axis=1).tolist()
    listed: list[Listed | None] = [None] * len(probed)
    waiting, k = list(range(len(probed))), RANKS
    while waiting:
        asked = min(k, len(engine.snapshot))
        sources = [probed[i].source for i in waiting]
        found = search_others(engine, queries[np.array(waiting)], sources, asked, exact=True)
        left = []
        for i, answered in zip(waiting, found, strict=True):
            matches = answered.result.matches
            item = listed[i] = _told_apart(probed[i], visible[i], matches, answers)
            if not item.stranger.size and item.unknown.size < FAR and len(matches) == asked:
                left.append(i)
        waiting, k = left, 8 * k
    return [item for item in listed if item is not None]


def _told_apart(probe: Probe, visible: int, matches: Sequence[Match], answers: Answers | None) -> Listed:
    """The distances of a list, sorted by who the images show."""
    kinds: dict[str, list[float]] = {kind: [] for kind in (OWN, STRANGER, UNKNOWN, NOBODY)}
    answered, by_another = list[Sample](), list[bool]()
    for match in matches:
        said = None if answers is None else answers.of(probe.image_id, match.image_id)
        if said is not None:
            answered.append(Sample(visible, match.distance, said))
        kind = _kind(probe.record, match) if said is None else OWN if said else STRANGER
        kinds[kind].append(match.distance)
        if kind == UNKNOWN:
            by_another.append(_by_another(probe.record, match))
    arrays = {kind: np.array(distances, np.float64) for kind, distances in kinds.items()}
    return Listed(visible, arrays[OWN], arrays[STRANGER], arrays[UNKNOWN], np.array(by_another, bool), tuple(answered))


def _kind(probe: ImageRecord, match: Match) -> str:
    """Who an image shows, as far as its pid tells."""
    if is_junk(match.pid):
        return NOBODY
    if probe.pid is None or match.pid is None or (probe.pid == 0 and match.pid == 0):
        return UNKNOWN
    if probe.pid != match.pid:
        return STRANGER
    return OWN if _by_another(probe, match) else NOBODY


def _by_another(probe: ImageRecord, match: Match) -> bool:
    """Whether the match is by another camera, as far as is known."""
    return probe.camid is None or match.camid is None or probe.camid != match.camid


def _drawn(
    item: Listed, curve: Curve | None, unlabelled: int, rng: np.random.Generator
) -> tuple[float | None, float | None]:
    """The distances of the nearest stranger and of a right first answer in one list; None where there is none."""
    if not item.visible:
        return None, None
    certain, drawn, own = item.stranger[:1].tolist(), list[float](), item.own[:1].tolist()
    nearer = certain  # a right answer comes before those
    if item.unknown.size and curve is not None:
        same = rng.random(len(item.unknown)) < curve.same(item.visible, item.unknown)
        drawn = item.unknown[~same][:1].tolist()
        own = own or item.unknown[same & item.by_another][:1].tolist()
        nearer = certain + drawn
    elif item.unknown.size:
        drawn = [_nearest_unknown(item.unknown, unlabelled, rng)]
        own = own or item.unknown[item.by_another][:1].tolist()  # may be wrong; "likeness" in the module says why
    right = own[0] if own and own[0] <= min(nearer, default=np.inf) else None
    return min(certain + drawn, default=None), right


def _nearest_unknown(distances: Floats, images: int, rng: np.random.Generator) -> float:
    """Draw a distance for the nearest stranger, from a list that may also hold images of the same person.

    Args:
        distances: ascending. images: number of images that were searched for the list.
    """
    if images < LEAST or len(distances) < FAR:
        return float(distances[0])  # too few to tell: as if all were strangers
    near, far = distances[MOST - 1], distances[FAR - 1]
    # The least of n uniform numbers is about an exponential number divided by n.
    shares = np.array([rng.standard_exponential(), MOST - 1.0, FAR - 1.0]) / images
    first, at_near, at_far = map(NormalDist().inv_cdf, np.clip(shares, 1e-12, 0.5).tolist())
    drawn = near + (far - near) * (first - at_near) / (at_far - at_near)
    return float(np.clip(drawn, distances[0], near))
