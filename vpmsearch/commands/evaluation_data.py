"""The data of `vpmsearch evaluate`: data sets with their protocols, and galleries that are already in an index."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from vpmsearch.commands import options
from vpmsearch.commands.model import weights_of_index
from vpmsearch.commands.terminal import say
from vpmsearch.store.place import Place

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vpmsearch.data.datasets import LabelledImage, ReidDataset
    from vpmsearch.data.labelled import Protocol
    from vpmsearch.evaluation.labelled import LabelledFeatures
    from vpmsearch.evaluation.labels import Labels
    from vpmsearch.model.weights import LoadedWeights


@dataclass(frozen=True)
class MeasuredSet:
    """A data set, its protocol, and the labels of queries and gallery under that protocol."""

    images: ReidDataset
    protocol: Protocol
    labels: tuple[Labels, Labels]


def read_sets(
    name: str, root: Path, pattern: str, trial: str | None, where: Mapping[str, Sequence[str]]
) -> list[ReidDataset]:
    """What is evaluated of a data set: all of it, one of its trials, or each of them.

    Args:
        trial: a number, "all", or None. where: attributes of the images that count.
    """
    from vpmsearch.data.datasets import read_dataset, read_trials
    from vpmsearch.evaluation.where import only_where

    wanted = ("query", "gallery")
    if trial == "all":
        found = read_trials(name, root, wanted, pattern=pattern)
    else:
        number = None if trial is None else int(trial)
        found = [read_dataset(name, root, wanted, pattern=pattern, trial=number)]
    return [only_where(images, where) for images in found] if where else found


def check_trial(trial: str | None) -> None:
    """Refuse what is neither a number from 1 nor all."""
    if trial not in (None, "all") and not (trial.isascii() and trial.isdigit() and len(trial) < 10 and int(trial)):
        raise typer.BadParameter(f"{trial!r} is neither a number from 1 nor all", param_hint="--trial")


def headline(each: MeasuredSet, trials: int, photo: str, where: Mapping[str, Sequence[str]]) -> str:
    """What is measured, above the figures."""
    from vpmsearch.data.poor import AS_IT_IS
    from vpmsearch.evaluation.where import in_words

    told = [f"protocol: {each.protocol}"]
    if (trial := each.images.trial) is not None:
        told.append(str(trial) if trials == 1 else f"mean of {trial.count} trials, {trial.source}")
    if where:
        told.append(f"images with {in_words(where)}")
    if photo != AS_IT_IS:
        told.append(f"queries: {photo}")
    return ", ".join(told)


def row_notes(each: MeasuredSet, where: Mapping[str, Sequence[str]]) -> dict[str, object]:
    """What `--json` says in each row besides its figures."""
    trial = each.images.trial
    notes: dict[str, object] = {"protocol": str(each.protocol)}
    if trial is not None:
        notes |= {"trial": trial.number, "trials": trial.count, "halves": trial.source}
    return notes | ({"where": dict(where)} if where else {})


def measured(
    images: ReidDataset, leave_out: str | None, tracks: str | None, draws: int | None, queries: int | None, seed: int
) -> MeasuredSet:
    """A data set as the options ask for it.

    Args:
        leave_out, tracks, draws: of the protocol; None is the data set's own. queries: how many, drawn by the seed.

    Raises:
        DataError: no query has an image of its person to find.
    """
    from vpmsearch.evaluation.labels import labels_of

    images = _drawn(images, queries, seed)
    protocol = _protocol(images, leave_out, tracks, draws)
    labels = labels_of(images, protocol)
    _check_matches(*labels)  # needs only labels, so it comes before the first image is read
    return MeasuredSet(images, protocol, labels)


def load(
    weights: Path | None,
    computed: tuple[str, str],
    index: Place | None,
    gallery: Sequence[LabelledImage],
    labels: Labels,
) -> tuple[LoadedWeights, LabelledFeatures | None, float]:
    """The weights, the gallery of the index that was built with them, and the `min_visibility` to use.

    Args:
        computed: the precision that was asked for, and the kind of device.
    """
    from vpmsearch.evaluation.features import indexed_gallery
    from vpmsearch.model.weights import find_weights, read_weights
    from vpmsearch.store.open import open_index

    if index is None:
        loaded = replace(read_weights(find_weights(weights)), precision=options.precision(*computed))
        return loaded, None, loaded.info.threshold
    with open_index(index) as store:
        loaded = weights_of_index(store.model_info, weights, computed[0])
        store.check_model(loaded.info)
        return loaded, indexed_gallery(store.snapshot, gallery, labels), store.model_info.threshold


def _drawn(images: ReidDataset, queries: int | None, seed: int) -> ReidDataset:
    """The data set with only `queries` of its queries, drawn at random. They keep their order."""
    import numpy as np

    if queries is None or queries >= len(images.query):
        return images
    rows = np.sort(np.random.default_rng(seed).choice(len(images.query), queries, replace=False))
    return replace(images, query=tuple(images.query[row] for row in rows.tolist()))


def _protocol(images: ReidDataset, leave_out: str | None, tracks: str | None, draws: int | None) -> Protocol:
    """The data set's protocol. What the user asked for replaces the data set's own choice."""
    from vpmsearch.evaluation.labels import protocol_of

    protocol = protocol_of(images, leave_out)  # type: ignore[arg-type]
    if tracks is not None:
        protocol = replace(protocol, by_track=tracks != "off")
    return protocol if draws is None else replace(protocol, draws=draws)


def _check_matches(query: Labels, gallery: Labels) -> None:
    """Say how many queries have no image of their person in the gallery. It is an error if all have none."""
    from vpmsearch.errors import DataError
    from vpmsearch.evaluation.labels import without_match

    asked, alone = len(query.first_of_tracks), without_match(query, gallery)
    if alone == asked:
        raise DataError(
            f"none of {asked} queries has an image of its person in the gallery that this protocol does not leave out; "
            "are query and gallery of one data set? --leave-out nothing leaves nothing out"
        )
    if alone:
        say(f"{alone} of {asked} queries have no image of their person in the gallery: they are not counted")
