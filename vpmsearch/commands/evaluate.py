"""`vpmsearch evaluate`: measures a model on a labelled data set (CMC, mAP, mINP), with queries whole or cut."""

from __future__ import annotations

from functools import partial
from itertools import chain, product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vpmsearch.commands import checks, data_options, options
from vpmsearch.commands.evaluation_data import check_trial, headline, load, measured, read_sets, row_notes
from vpmsearch.commands.evaluation_table import TABLE_HEAD, mean_row, table_row
from vpmsearch.commands.index import RUNTIMES, make_extractor, runtime_device
from vpmsearch.commands.terminal import answer, answer_json, command, progress, say
from vpmsearch.store.place import Place
from vpmsearch.words import number_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from vpmsearch.commands.evaluation_data import MeasuredSet
    from vpmsearch.data.labelled import LabelledImage
    from vpmsearch.evaluation.labelled import LabelledFeatures
    from vpmsearch.evaluation.rows import Evaluation


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, example="vpmsearch evaluate --data Market-1501-v15.09.15 --gamma 0.5 --gamma 1.0")(evaluate)


def evaluate(
    data: Annotated[list[Path], typer.Option(help="Root of the data set (repeatable: several sets, one table).")],
    dataset: data_options.Datasets = None,
    pattern: options.Pattern = "",
    where: options.Where = None,
    trial: Annotated[
        str | None,
        typer.Option(
            metavar="N|all",
            help="Ask and answer with one random half of the people, as VIPeR, GRID, PRID 2011, iLIDS-VID and CUHK01 "
            "are measured: the N-th, or the mean over all and its spread. docs/datasets.md says who draws them.",
            show_default="all people",
        ),
    ] = None,
    leave_out: Annotated[
        str | None,
        typer.Option(
            help="Gallery images of the query's person that its ranking leaves out: camera (the same), clothes (the "
            "same camera or clothes), track (the same tracklet) or nothing.",
            show_default="by data set",
        ),
    ] = None,
    tracks: Annotated[
        str | None,
        typer.Option(
            help="Rank tracklets by the mean of their regions, or by their best image (mean, best); or images (off).",
            show_default="by data set",
        ),
    ] = None,
    weights: options.Weights = None,
    index: Annotated[
        Place | None,
        typer.Option(
            "--index",
            parser=Place.of,
            metavar="INDEX",
            help="Take the gallery from this index (a folder or a server's) instead of seeing it again.",
            show_default=False,
        ),
    ] = None,
    gamma: Annotated[
        list[float] | None,
        typer.Option(
            callback=checks.gammas, help="Area ratio the queries are cut to (repeatable).", show_default="1.0"
        ),
    ] = None,
    crop: Annotated[
        list[str] | None,
        typer.Option(
            callback=checks.crops,
            help="What is kept: top, bottom, left, right, bilateral or random (repeatable).",
            show_default="bilateral",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the crops, and of --single-shot.")] = 0,
    weighting: Annotated[
        list[str] | None,
        typer.Option(help="visibility (Eq. 4) or uniform (all regions equal) (repeatable).", show_default="visibility"),
    ] = None,
    min_visibility: Annotated[
        float | None,
        typer.Option(
            callback=checks.min_visibility, help="Regions seen less count as not seen.", show_default="1/(2p)"
        ),
    ] = None,
    single_shot: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="DRAWS",
            help="Rank one image of each identity, drawn so often (10 is usual), not the whole gallery.",
            show_default=False,
        ),
    ] = None,
    fmr: Annotated[
        list[float] | None,
        typer.Option(
            help="Open set: give the false-non-match rate at this false-match rate too (repeatable).",
            show_default=False,
        ),
    ] = None,
    matcher: Annotated[
        str | None,
        typer.Option(
            help=(
                "Order the nearest anew by dsr, sfr, amc-swm or mtrc, on feature maps; the gallery's are kept in "
                "TMPDIR, up to some GB."
            ),
            show_default=False,
        ),
    ] = None,
    reciprocal: Annotated[
        bool,
        typer.Option(
            "--reciprocal",
            help="Rank by neighbours in common (k-reciprocal, k1 20, k2 6, 0.3); all queries help each other.",
        ),
    ] = False,
    expand: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="K",
            help="Average each query, region by region, with its K nearest gallery images before ranking.",
            show_default=False,
        ),
    ] = None,
    own_camera: Annotated[
        bool,
        typer.Option(
            "--own-camera",
            help="With --expand or --reciprocal: images of the query's person by its own camera may help it too.",
        ),
    ] = False,
    photo: Annotated[
        list[str] | None,
        typer.Option(
            help="Make the queries' photographs poorer before they are cut: half or quarter (of the size), jpeg30, "
            "half-jpeg30, grey or fenced (the lower 40 % hidden); as-is (repeatable).",
            show_default="as-is",
        ),
    ] = None,
    queries: Annotated[
        int | None, typer.Option(min=1, help="Ask with so many queries, drawn by the seed.", show_default="all")
    ] = None,
    runtime: Annotated[
        str,
        typer.Option(
            help="auto, torch, onnx (onnxruntime) or openvino: the latter two on the CPU, where they are faster."
        ),
    ] = "auto",
    precision: options.Precision = "",
    candidates: Annotated[int, typer.Option(min=1, help="Images a query that --matcher orders.")] = 50,
    per_query: Annotated[
        Path | None,
        typer.Option(help="Save one line a query, with its crop, as CSV here.", show_default=False),
    ] = None,
    json: options.Json = False,
    device: options.Device = "auto",
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images a batch.", show_default="by device")] = None,
) -> None:
    """Measure weights on a labelled data set: CMC, mAP in both forms and mINP for each γ, as fractions.

    Intervals are of 95 %, over queries; of hits they are Clopper and Pearson's. Visible F1 tells how well the model
    knows which regions a query shows. With both weightings, what visibility adds is given with its paired interval.
    """
    from vpmsearch.data.poor import AS_IT_IS
    from vpmsearch.errors import DataError
    from vpmsearch.evaluation.features import queries_to_see
    from vpmsearch.evaluation.per_query import QueryLine, query_lines, write_query_lines
    from vpmsearch.evaluation.protocols import evaluate_model
    from vpmsearch.evaluation.trials import RememberingExtractor, trial_means

    gammas, crops = gamma or [1.0], crop or ["bilateral"]
    weightings = [w for w in ("visibility", "uniform") if w in (weighting or ["visibility"])]
    photos = photo or [AS_IT_IS]
    wanted = options.where(where)
    _check_words(weighting or (), leave_out, tracks, runtime, photos)
    _check_measures(matcher, fmr or ())
    check_trial(trial)
    alone = (index is not None or per_query is not None, matcher is not None or per_query is not None)
    _check_alone(len(data), len(photos), trial, alone)
    _check_place(per_query)
    pairs = zip(options.one_each(data, dataset), data, strict=True)
    read = [read_sets(name, root, pattern, trial, wanted) for name, root in pairs]
    names = options.told_apart([trials[0].name for trials in read])
    sets = [[measured(each, leave_out, tracks, single_shot, queries, seed) for each in trials] for trials in read]
    chosen = runtime_device(device, runtime)
    computed = (precision, chosen.type)
    loaded, indexed, own = load(weights, computed, index, sets[0][0].images.gallery, sets[0][0].labels[1])
    threshold = own if min_visibility is None else min_visibility
    if index is not None and index.is_server and threshold < own:
        raise DataError(f"{index} stores no embedding of a region that is seen less than {own:.4g}; ask for no less")
    extractor = make_extractor(loaded, chosen, batch_size, runtime)
    if len(photos) > 1 or trial == "all":  # the gallery is seen once for all
        extractor = RememberingExtractor(extractor)
    to_see = len(photos) * sum(
        queries_to_see(len(each.images.query), gammas, crops, seed) + (0 if indexed else len(each.images.gallery))
        for each in chain.from_iterable(sets)
    )
    rows, lines = [], list[QueryLine]()
    with progress("evaluating", to_see) as advance:
        measure = partial(
            evaluate_model,
            extractor,
            gammas=gammas,
            crops=crops,
            weightings=weightings,
            seed=seed,
            min_visibility=threshold,
            fmr=fmr or (),
            matcher=matcher,
            candidates=candidates,
            reciprocal=reciprocal,
            expand=expand,
            own_camera=own_camera,
            track_features="best" if tracks == "best" else "mean",
            on_progress=advance,
        )
        for (trials, name), kind in product(zip(sets, names, strict=True), photos):
            of = {"dataset": name} if len(sets) > 1 else {}
            if not json:
                told = headline(trials[0], len(trials), kind, wanted)
                answer(f"{name}, {told}" if of else told)
                answer(TABLE_HEAD)
            found = []
            for each, row in _measured_rows(trials, measure, indexed, kind):
                found.append(row)
                rows.append(of | row.to_json() | row_notes(each, wanted))
                if per_query is not None:
                    asked = each.labels[0].first_of_tracks.tolist()
                    lines += query_lines(row, [each.images.query[i] for i in asked])
                if not json and len(trials) == 1:
                    answer(table_row(row))
            for mean in trial_means(found, len(trials)):
                rows.append(of | mean.to_json() | row_notes(trials[0], wanted) | {"trial": "mean"})
                if not json:
                    answer(mean_row(mean))
    if per_query is not None:
        write_query_lines(per_query, lines)
        say(f"{number_of(len(lines), 'line')}: {per_query}")
    if json:
        answer_json({"results": rows})


def _measured_rows(
    trials: Sequence[MeasuredSet],
    measure: Callable[..., Iterator[Evaluation]],
    indexed: LabelledFeatures | None,
    photo: str,
) -> Iterator[tuple[MeasuredSet, Evaluation]]:
    """The rows of each trial, one after another; `measure` is `evaluate_model` with all that trials have in common."""
    for each in trials:
        gallery: LabelledFeatures | Sequence[LabelledImage] = indexed or each.images.gallery
        draws = each.protocol.draws or None
        for row in measure(each.images.query, gallery, draws=draws, labels=each.labels, photo=photo):
            yield each, row


def _check_words(
    weighting: Sequence[str], leave_out: str | None, tracks: str | None, runtime: str, photos: Sequence[str]
) -> None:
    """Refuse a word that an option does not know."""
    from vpmsearch.data.labelled import LEFT_OUT
    from vpmsearch.data.poor import POOR

    checks.check_words("--weighting", weighting, ("visibility", "uniform"))
    checks.check_words("--leave-out", [leave_out] if leave_out is not None else [], LEFT_OUT)
    checks.check_words("--tracks", [tracks] if tracks is not None else [], ("mean", "best", "off"))
    checks.check_words("--runtime", [runtime], RUNTIMES)
    checks.check_words("--photo", photos, tuple(POOR))


def _check_measures(matcher: str | None, fmr: Sequence[float]) -> None:
    """Refuse a matcher that is not known, and false-match rates that are none."""
    from vpmsearch.evaluation.matching import check_matcher
    from vpmsearch.evaluation.verification import check_levels

    if matcher is not None:
        with checks.usage("--matcher"):
            check_matcher(matcher)
    with checks.usage("--fmr"):
        check_levels(fmr)


def _check_alone(sets: int, photos: int, trial: str | None, alone: tuple[bool, bool]) -> None:
    """Refuse what goes with one data set, one trial, or one kind of photograph alone."""
    if trial == "all" and alone[0]:
        raise typer.BadParameter("--index and --per-query are of one trial; give its number")
    if sets > 1 and alone[0]:
        raise typer.BadParameter("--index and --per-query are of one data set; evaluate each by itself")
    if photos > 1 and alone[1]:
        raise typer.BadParameter("--matcher and --per-query are of one kind of photograph; give one --photo")


def _check_place(per_query: Path | None) -> None:
    """Refuse before the work a file in a folder that is not there."""
    from vpmsearch.system.atomic import check_folder_of

    if per_query is not None:
        check_folder_of(per_query)
