"""`vpmsearch index`: brings an index up to date with a gallery, which it makes if there is none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vpmsearch.commands import checks, options
from vpmsearch.commands.indexed import tell_not_taken, tell_report
from vpmsearch.commands.model import extractor_for, weights_of_index
from vpmsearch.commands.terminal import answer_json, building, command, progress, say
from vpmsearch.words import number_of, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vpmsearch.data.datasets import LabelledImage
    from vpmsearch.indexing.pruning import Pruning
    from vpmsearch.indexing.report import IndexReport
    from vpmsearch.model.device import Device
    from vpmsearch.model.extraction import Extractor
    from vpmsearch.model.weights import LoadedWeights
    from vpmsearch.store import Gallery
    from vpmsearch.store.place import Place

RUNTIMES = ("auto", "torch", "onnx", "openvino")


def register(app: typer.Typer) -> None:
    """Add the command."""
    again = "the same command goes on where it was"
    command(app, example="vpmsearch index gallery/ --index indexes/mine", again=again)(index)


def index(
    gallery: Annotated[
        list[Path],
        typer.Argument(
            metavar="GALLERY...",
            help="Folder of images, an image, a data set, or a CSV/JSONL file; with --boxes or --detect a folder of "
            "scenes, a photograph of one, or a film. Several are read one after another; --boxes is of one.",
        ),
    ],
    dataset: Annotated[
        str,
        typer.Option(
            help="How to read it: folder (any photographs, no labels), csv (a list; files called .csv, .tsv, .jsonl "
            "and .ndjson are read so without more), or a data set that `evaluate` knows."
        ),
    ] = "folder",
    pattern: options.Pattern = "",
    timezone: options.Timezone = "",
    boxes: Annotated[
        Path | None,
        typer.Option(
            help="People inside the photographs or the film: COCO (.json), MOTChallenge det.txt or gt.txt, a folder of "
            "YOLO labels, or a CSV of path,x,y,w,h[,track,score,frame,captured_at,pid,camid]. No crop is written.",
            show_default=False,
        ),
    ] = None,
    boxes_images: Annotated[
        Path | None,
        typer.Option(help="COCO data set with the images of a list of results.", show_default=False),
    ] = None,
    min_score: Annotated[
        float | None, typer.Option(help="Leave boxes of a smaller score out.", show_default="none, detectors 0.5")
    ] = None,
    every: Annotated[
        str,
        typer.Option(help="Of a film, or of numbered frames: every n-th frame (5), or one each n seconds (1s)."),
    ] = "",
    detect: Annotated[bool, typer.Option("--detect", help="Find the people in the photographs or the film.")] = False,
    detector: Annotated[
        str,
        typer.Option(
            help="With --detect: an .onnx file (YOLOX, YOLOv8 and later, or torchvision's outputs), or a detector of "
            "torchvision by its name.",
            show_default="$VPMSEARCH_DETECTOR, else NanoDet-g, which is in the package",
        ),
    ] = "",
    index: options.Index = options.DEFAULT_INDEX,
    weights: options.Weights = None,
    device: options.Device = "auto",
    index_type: Annotated[
        str,
        typer.Option(
            help="Index of each region: auto, flat, hnsw, ivf-flat; in a folder ivf-sq8, ivf-pq and ivf-pqfs, on a "
            "server ybhnsw."
        ),
    ] = "auto",
    embedding_dtype: Annotated[
        str, typer.Option(help="Embeddings on disk: float32 or float16 (a new index).")
    ] = "float32",
    min_visibility: Annotated[
        float | None,
        typer.Option(
            callback=checks.min_visibility,
            help="Regions seen less count as not seen (a new index).",
            show_default="1/(2p)",
        ),
    ] = None,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune",
            help="Remove indexed images of this gallery whose files have vanished, and people that --boxes or --detect "
            "no longer names.",
        ),
    ] = False,
    clear_labels: Annotated[
        bool, typer.Option("--clear-labels", help="Take away labels that this gallery does not know; else they stay.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done to an index, --prune included; change nothing.")
    ] = False,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images a batch.", show_default="by device")] = None,
    runtime: Annotated[
        str,
        typer.Option(
            help="auto, torch, onnx (onnxruntime) or openvino: the latter two on the CPU, where they are faster; auto "
            "is onnxruntime there. OpenVINO needs vpmsearch[openvino]."
        ),
    ] = "auto",
    precision: options.Precision = "",
    shard: Annotated[
        str,
        typer.Option(
            help="Take only share I of N, as I/N, of the images: N processes fill one index on a server.",
            show_default="by torchrun's RANK and WORLD_SIZE",
        ),
    ] = "",
    json: options.Json = False,
) -> None:
    """Index a gallery: embeddings and visibility of every image, one FAISS index a region.

    Commits as it goes. Run again, it goes on where it was and takes only what is new or changed. What the gallery does
    not know of an image (a folder knows neither pid nor camera nor time) stays as it is in the index. A file that is
    known under a path where it is no more has moved.
    """
    from vpmsearch.commands.scenes import BoxOptions, Source, gallery_folder, read_people
    from vpmsearch.data.datasets import check_layout
    from vpmsearch.data.moments import counting_taken_as_utc
    from vpmsearch.data.not_taken import counting_not_taken
    from vpmsearch.errors import DataError
    from vpmsearch.store.open import index_types
    from vpmsearch.store.values import EMBEDDING_DTYPES

    part = options.shard(shard)
    checks.check_words("--runtime", [runtime], RUNTIMES)
    checks.check_words("--embedding-dtype", [embedding_dtype], EMBEDDING_DTYPES)
    checks.check_words("--index-type", [index_type], index_types(index))
    with checks.usage("--dataset"):
        check_layout(dataset)
    chosen = runtime_device(device, runtime)
    with counting_not_taken() as aside, counting_taken_as_utc() as as_utc:
        try:
            wanted = BoxOptions(boxes, boxes_images, min_score, every, detect, detector, device)
            listed = read_people(gallery, Source(dataset, pattern, options.zone(timezone)), wanted)
            images = [image for image in listed.images if part.takes(str(image.path))]
        finally:  # a folder of other files alone is an error, which this explains
            tell_not_taken(aside)
    if as_utc.count:
        name = "that names no zone is" if as_utc.count == 1 else "that name no zone are"
        say(f"{number_of(as_utc.count, 'time')} {name} taken as UTC (--timezone)")
    if others := sorted({name for image in images for name, _ in image.attributes}):
        say(f"kept as attributes, to be asked for by --where: {', '.join(map(printable, others))[:500]}")
    below = listed.pruning(map(gallery_folder, gallery)) if prune else None
    if dry_run:
        report = _look(index, weights, images, below, clear_labels)
    else:
        store, extractor = _open_or_create(
            index,
            weights,
            str(chosen),
            index_type,
            embedding_dtype,
            min_visibility,
            precision,
            lambda loaded: make_extractor(loaded, chosen, batch_size, runtime),
        )
        report = _run(store, extractor, images, below, clear_labels)
    tell_report(report, index, dry_run=dry_run)
    if json:
        answer_json({"dry_run": dry_run, **report.to_json(), "not_taken": dict(aside.counts)})
    if images and not report.indexed + report.unchanged + report.relabelled + report.moved:
        places = ", ".join(map(printable, gallery[:3]))
        raise DataError(f"none of the {number_of(len(images), 'image')} in {places} could be indexed")


def _look(
    index: Place, weights: Path | None, images: Sequence[LabelledImage], below: Pruning | None, clear_labels: bool
) -> IndexReport:
    """What a run would do. If there is no index, it says so for the new one that the run would make."""
    from contextlib import ExitStack
    from tempfile import TemporaryDirectory

    from vpmsearch.errors import StoreNotFoundError
    from vpmsearch.indexing.indexer import look_at_gallery
    from vpmsearch.model.weights import find_weights, read_weights
    from vpmsearch.store.open import create_index, open_index

    with ExitStack() as stack:
        try:
            store = stack.enter_context(open_index(index))
        except StoreNotFoundError:
            loaded = read_weights(find_weights(weights))
            say(f"there is no index at {index} yet")
            scratch = stack.enter_context(TemporaryDirectory(prefix="vpmsearch-"))
            store = stack.enter_context(create_index(Path(scratch) / "index", loaded.info))
        advance = stack.enter_context(progress("looking", len(images)))
        return look_at_gallery(store, images, prune_below=below, clear_labels=clear_labels, on_progress=advance)


def _run(
    store: Gallery, extractor: Extractor, images: Sequence[LabelledImage], below: Pruning | None, clear_labels: bool
) -> IndexReport:
    from vpmsearch.indexing.indexer import index_gallery

    with store, progress("indexing", len(images)) as advance:
        return index_gallery(
            store,
            extractor,
            images,
            prune_below=below,
            clear_labels=clear_labels,
            on_progress=advance,
            on_build=building(advance),
        )


def runtime_device(name: str, runtime: str) -> Device:
    """Where to compute; onnxruntime and OpenVINO do so on the CPU alone."""
    from vpmsearch.errors import DeviceError
    from vpmsearch.model.device import choose_device

    on_cpu = runtime in ("onnx", "openvino")
    chosen = choose_device("cpu" if name == "auto" and on_cpu else name)
    if on_cpu and chosen.type != "cpu":
        raise DeviceError(f"the runtime {runtime} runs on the CPU and not on {chosen}; use --device cpu or auto")
    return chosen


def _open_or_create(
    place: Place,
    weights: Path | None,
    device: str,
    index_type: str,
    dtype: str,
    min_visibility: float | None,
    precision: str,
    extractor_of: Callable[[LoadedWeights], Extractor],
) -> tuple[Gallery, Extractor]:
    """The store at `place` and an extractor with its weights. If there is no store, a new one is made.

    A new store is made only after the extractor, so that a missing runtime leaves no empty index behind.
    """
    from dataclasses import replace

    from vpmsearch.errors import DataError, StoreNotFoundError
    from vpmsearch.model.weights import find_weights, read_weights
    from vpmsearch.store.open import create_or_open, open_index

    try:
        store = open_index(place, device=device)
    except StoreNotFoundError:
        loaded = replace(
            read_weights(find_weights(weights)), precision=options.precision(precision, device.partition(":")[0])
        )
        info = loaded.info if min_visibility is None else replace(loaded.info, min_visibility=min_visibility)
        extractor = extractor_of(loaded)
        store = create_or_open(place, info, embedding_dtype=dtype, index_type=index_type, device=device)
        store.check_model(loaded.info)
        return store, extractor
    try:
        info = store.model_info
        loaded = weights_of_index(info, weights, precision)
        store.check_model(loaded.info)
        if index_type not in ("auto", store.index_type) or min_visibility not in (None, info.threshold):
            own = f"index type ({store.index_type}) and min_visibility ({info.threshold:.4g})"
            say(f"{place} exists: its own {own} stay")
        extractor = extractor_of(loaded)
        if loaded.precision != "float32" and extractor.runtime.name != "openvino":
            raise DataError(
                f"{place} was built in {loaded.precision}, and images computed in float32 would differ from its own; "
                "index where OpenVINO runs on a CPU that has it, or make a new index"
            )
        return store, extractor
    except BaseException:
        store.close()
        raise


def make_extractor(loaded: LoadedWeights, device: Device, batch_size: int | None, runtime: str) -> Extractor:
    """A model by torch, onnxruntime or OpenVINO; says which weights it has."""
    announce(loaded)
    return extractor_for(loaded, device, runtime=runtime, batch_size=batch_size)


def announce(loaded: LoadedWeights) -> None:
    """Say which weights are used; warn where they have never seen a photograph."""
    from vpmsearch.model.weights import DRAWN

    config = loaded.config
    computed = "" if loaded.precision == "float32" else f", in {loaded.precision}"
    say(f"weights: {config.name}, trained on {config.dataset}, {loaded.fingerprint[:12]} ({loaded.path}){computed}")
    if config.dataset == DRAWN:
        say("warning: these weights were trained on drawn pedestrians; results on photographs will be poor")
