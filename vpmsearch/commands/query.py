"""`vpmsearch query`: searches an index with photographs of people, and prints or draws what was found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vpmsearch.commands import checks, options
from vpmsearch.commands.model import extractor_for
from vpmsearch.commands.terminal import answer, answer_json, command, say
from vpmsearch.words import number_of, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vpmsearch.model.extraction import Extractor, Seen
    from vpmsearch.search.answers import QueryRegion
    from vpmsearch.search.itself import Answered, Source
    from vpmsearch.search.searcher import Searcher
    from vpmsearch.store.place import Place
    from vpmsearch.types import Float32, ModelInfo, RegionFeatures, SearchFilter, SearchResult


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, example="vpmsearch query half.jpg --top 10 --panel result.png")(query)


def query(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE", help="Images of people, or of parts of them.")],
    top: Annotated[int, typer.Option(min=1, help="Matches to show.")] = 10,
    box: options.Boxes = None,
    by_track: Annotated[
        bool, typer.Option("--by-track", help="Images of one track are one match: the nearest, and how many it has.")
    ] = False,
    index: options.Index = options.DEFAULT_INDEX,
    weights: options.Weights = None,
    exact: Annotated[bool, typer.Option("--exact", help="Compare with every image instead of candidates.")] = False,
    pid: Annotated[
        list[str] | None, typer.Option(help="Only images of this identity, a number or a word (repeatable).")
    ] = None,
    camid: Annotated[list[str] | None, typer.Option(help="Only images of this camera (repeatable).")] = None,
    where: options.Where = None,
    after: Annotated[
        str | None, typer.Option(help="Only images captured at or after this time (2026-11-22T16:20+01:00).")
    ] = None,
    before: Annotated[str | None, typer.Option(help="Only images captured before this time.")] = None,
    timezone: options.Timezone = "",
    prefix: Annotated[
        str, typer.Option(help="Only images whose path starts so; from this folder if relative.", show_default=False)
    ] = "",
    regions: Annotated[
        str,
        typer.Option(help='Compare by these regions alone: numbers or head, torso, legs ("0,1").', show_default=False),
    ] = "",
    together: Annotated[
        bool, typer.Option("--together", help="The images show one person: search for what they show together.")
    ] = False,
    exclude_self: Annotated[
        bool,
        typer.Option("--exclude-self", help="Leave the query itself, or whatever has its content, out of the ranks."),
    ] = False,
    confirm: Annotated[
        list[int] | None,
        typer.Option(metavar="ID", help="This image of the index shows the person: it joins the query (repeatable)."),
    ] = None,
    refuse: Annotated[
        list[int] | None,
        typer.Option(metavar="ID", help="This image of the index shows somebody else: left out (repeatable)."),
    ] = None,
    fill: Annotated[
        bool,
        typer.Option("--fill", help="Fill what a query does not show from its nearest image, and search again."),
    ] = False,
    json: options.Json = False,
    panel: Annotated[Path | None, typer.Option(help="Save a picture of the ranks here.", show_default=False)] = None,
    report: Annotated[
        Path | None, typer.Option(help="Save one HTML file with pictures here.", show_default=False)
    ] = None,
    device: options.Device = "auto",
) -> None:
    """Find the people in an index who look like these, by the regions both images show.

    With --json one line a query, in the form that docs/answers.md describes: {"query", "exact", "candidates",
    "elapsed_ms", "matches": […], "verdict", …}. An image of the index that is the query itself never counts for the
    verdict.
    With --together there is one answer, in which every region counts as the image that shows most of it has it.
    With --confirm the query and the confirmed images are averaged region by region, weighted by what each shows. There
    is no verdict then: you have given it. Ids are `image_id` of --json.
    An image may be a part of a photograph or film, as the index names them: film.mp4#t=12.48&xywh=10,20,60,180.
    With --fill "filled_from" is the id of the image that the query was filled from. If that image shows somebody else,
    the ranks after it do too. The verdict is of the query as it was; matches have no false-match rate.
    """
    from vpmsearch.commands.scenes import boxed_images
    from vpmsearch.errors import DataError
    from vpmsearch.indexing.paths import stored_prefix
    from vpmsearch.report.drawing import checked_output
    from vpmsearch.report.html import check_report
    from vpmsearch.types import SearchFilter

    if panel is not None:
        checked_output(panel)  # before the work, not after it
    if report is not None:
        check_report(report)
    local = options.zone(timezone)
    earliest, latest = options.moment(after, local), options.moment(before, local)
    pids, camids, attributes = options.labels(pid), options.labels(camid), options.where(where)
    wanted = SearchFilter(pids, camids, earliest, latest, stored_prefix(prefix), attributes)
    decided = tuple(confirm or ()), tuple(refuse or ())
    parts = boxed_images(images, box)
    asked = _Asked(parts, top, exact, wanted, regions, together, exclude_self, by_track, fill, *decided)
    answers, failures = _answers(asked, index, weights, device)
    for each in answers:
        _print(each, json)
    if answers and answers[0].result.calibration_notice:
        say(f"the calibration is old: {answers[0].result.calibration_notice}")
    if panel is not None and answers:
        _save_panel(answers, panel, top)
    if report is not None and answers:
        _save_report(answers, report, top)
    if failures:
        raise DataError("; ".join(failures))


@dataclass(frozen=True)
class _Asked:
    """What the command line asks for."""

    images: list[Path]
    top: int
    exact: bool
    filter: SearchFilter
    regions: str
    together: bool
    exclude_self: bool
    by_track: bool
    fill: bool
    confirmed: tuple[int, ...]
    refused: tuple[int, ...]


@dataclass(frozen=True)
class _Answer:
    """The answer to one query.

    paths: the photographs, several where they are one person. result: the matches, and what the index's calibration
    says of them. seen: what the query shows.
    """

    paths: list[Path]
    result: SearchResult
    seen: list[QueryRegion]

    @property
    def name(self) -> str:

        return " + ".join(map(printable, self.paths))


def _answers(asked: _Asked, index: Place, weights: Path | None, device: str) -> tuple[list[_Answer], list[str]]:
    """Search; also what is wrong with images that cannot be read."""
    from vpmsearch.errors import DataError
    from vpmsearch.model.device import choose_device
    from vpmsearch.model.weights import find_by_fingerprint
    from vpmsearch.search.answers import query_regions
    from vpmsearch.search.confirm import joined
    from vpmsearch.search.itself import merged
    from vpmsearch.search.judged import judged
    from vpmsearch.search.open import searcher
    from vpmsearch.search.queries import only_regions, parse_regions, together
    from vpmsearch.search.verdict import load_calibration, notice_of
    from vpmsearch.store.open import open_index

    chosen = choose_device(device)
    with open_index(index, device=str(chosen)) as store:
        info = store.model_info
        with checks.usage("--regions"):
            only = parse_regions(asked.regions, info.num_regions)
        loaded = find_by_fingerprint(info.fingerprint, info.weights, weights)
        photographs, features, sources, failures = _extract(extractor_for(loaded, chosen), asked.images)
        paths = [photograph.path for photograph in photographs]
        nobody = [_no_person(info, *pair) for pair in zip(photographs, features.visibility, strict=True)]
        groups, taken_from = [[path] for path in paths], None
        if asked.together and paths:
            features, taken_from = together(features)
            groups, sources = [paths], [merged(sources)]
            nobody = [nobody[0] if all(nobody) else ""]
        engine = searcher(store)
        if asked.confirmed and paths:
            if len(groups) > 1:
                raise DataError("--confirm is for one query: give one image, or several with --together")
            features, taken_from, source = joined(
                engine, features, taken_from, sources[0], asked.confirmed, first=len(paths)
            )
            sources = [source]
        results = _search(engine, features, sources, asked, only)
        known = load_calibration(store, info.fingerprint, info.threshold)
        notice = notice_of(store, known)
    answers = []
    for row, (group, (found, images)) in enumerate(zip(groups, results, strict=True)):
        query = features[row : row + 1]
        result = judged(found, only_regions(query, only), info, known, notice, images, nobody[row])
        answers.append(_Answer(group, result, query_regions(query, info, only, taken_from)))
    return answers, failures


def _search(
    engine: Searcher, features: RegionFeatures, sources: Sequence[Source], asked: _Asked, only: Sequence[int] | None
) -> list[tuple[Answered, tuple[int, ...]]]:
    """The answer to each query and, by tracks, how many images each match has."""
    from vpmsearch.search.itself import search_others
    from vpmsearch.search.tracks import by_track

    def nearest(rows: slice, count: int) -> list[Answered]:
        return search_others(
            engine,
            features[rows],
            sources[rows],
            count,
            asked.exact,
            exclude_self=asked.exclude_self,
            filter=asked.filter,
            regions=only,
            fill=asked.fill,
            refused=asked.refused,
        )

    if not asked.by_track:
        return [(each, ()) for each in nearest(slice(None), asked.top)]
    found = []
    for row in range(len(features)):
        one = slice(row, row + 1)
        tracked = by_track(engine.snapshot, asked.top, lambda count, one=one: nearest(one, count)[0])  # type: ignore[misc]
        found.append((tracked.answered, tracked.images))
    return found


def _no_person(info: ModelInfo, photograph: Seen, visibility: Float32) -> str:
    """Why a photograph shows nobody, or ""."""
    from vpmsearch.search.no_person import no_person

    visible = int(info.visible(visibility).sum())
    return no_person(photograph.width, photograph.height, photograph.spread, visible, info.p)


def _extract(extractor: Extractor, images: list[Path]) -> tuple[list[Seen], RegionFeatures, list[Source], list[str]]:
    """Features of the images that can be read, which files they are, and what is wrong with the others."""
    from vpmsearch.model.extraction import Request
    from vpmsearch.search.itself import Source
    from vpmsearch.types import RegionFeatures

    batches = list(extractor.extract(Request(i, path) for i, path in enumerate(images)))
    failures = [f"{printable(r.path)}: {r.reason}" for batch in batches for r in batch.rejected]
    every = [seen for batch in batches for seen in batch.seen]
    sources = [Source.of(seen.content_hash) for seen in every]
    features = RegionFeatures.concatenate([batch.features for batch in batches])
    return every, features, sources, failures


def _print(found: _Answer, json: bool) -> None:
    from vpmsearch.search.answers import answer_notes, answer_values, labels_text, shares_text

    result = found.result
    if json:
        answer_json(answer_values(found.name, found.seen, result))
        return
    told = (
        number_of(len(result.matches), "match", "matches")
        if result.matches
        else f"no result: {printable(result.empty.text) if result.empty else 'nothing was found'}"
    )
    if result.verdict_word and (result.matches or result.no_person):
        told = f"{result.verdict_word}: {told}"
    meaning = f". {result.verdict_text}" if result.verdict_text else ""
    answer(f"{found.name}: {told} ({result.candidates} compared in {result.elapsed_ms:.1f} ms){printable(meaning)}")
    for rank, match in enumerate(result.matches, start=1):
        notes = [printable(note) for note in labels_text(match)]
        notes += answer_notes(match, result.filled_from)
        line = "  ".join([f"{rank:4d}", f"{match.distance:8.4f}", printable(match.path), *notes])
        answer(f"{line}  [{shares_text(match)}]")


def _save_panel(answers: list[_Answer], panel: Path, top: int) -> None:
    from vpmsearch.data.images import load_image
    from vpmsearch.report.pictures import rank_panel

    queries = [[load_image(path) for path in each.paths] for each in answers]
    regions = len(answers[0].seen)
    said = rank_panel(queries, [each.result for each in answers], panel, top=top, num_regions=regions)
    say(f"panel: {said}")


def _save_report(answers: list[_Answer], report: Path, top: int) -> None:
    from vpmsearch.data.images import load_image
    from vpmsearch.report.html import Answer, write_report

    told = [Answer(each.name, [load_image(path) for path in each.paths], each.result) for each in answers]
    say(f"report: {write_report(told, report, top=top)}")
