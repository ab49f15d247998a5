"""Copies an index to another kind of store, or writes it to a Parquet file. Works on any `Gallery`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vpmsearch.errors import DataError, StoreDamagedError, StoreError
from vpmsearch.store import Gallery, GalleryView
from vpmsearch.store.values import OnBuild, tell_nobody
from vpmsearch.system.atomic import replacing
from vpmsearch.system.extras import needed_for
from vpmsearch.types import ImageRecord, Int64, RegionFeatures

if TYPE_CHECKING:
    import pyarrow as pa

ATTRIBUTE = "attribute:"
"""Prefix of an attribute's column if another column has the attribute's name; also a key of the column's metadata."""

BLOCK = 4096
"""Images per commit and per row group."""


@dataclass(frozen=True)
class TransferReport:
    """images: of the source; all are in the target and were compared. copied: how many of them this run copied. others:
    images of the target that the source does not have; they stay. calibrated: whether the target now has the source's
    calibration.
    """

    images: int
    copied: int
    others: int
    calibrated: bool


def migrate(
    source: Gallery,
    target: Gallery,
    *,
    on_progress: Callable[[int], None] = lambda images: None,
    on_build: OnBuild = tell_nobody,
) -> TransferReport:
    """Copy an index image by image, and compare every image with its copy. A repeated call continues an interrupted
    one.

    The target gives its own ids. The calibration is copied too, unless the target has other images and its own
    calibration. Embeddings of invisible regions are not compared, because a server does not store them.

    Args:
        source: is not changed. target: open, of the same model. on_progress: called with the number of images just
            finished. Each counts twice: copied, then compared. on_build: as in `Gallery.writer`, for the target's
            region indexes.

    Raises:
        ModelMismatchError: the target is of another model. StoreDamagedError: the source is damaged, or a copy is not
            what was copied.
    """
    target.check_model(source.model_info)
    if target.model_info.threshold != source.model_info.threshold:
        raise StoreError(
            f"{target.path} counts regions from a visibility of {target.model_info.threshold:.4g}, {source.path} from "
            f"{source.model_info.threshold:.4g}; migrate into a new index"
        )
    if problems := source.verify().problems:
        raise StoreDamagedError(f"{problems[0]}; nothing was copied")
    copied = _copy(source, target, on_progress, on_build)
    target.refresh()
    _compare(source, target, on_progress)
    images = len(source.snapshot)
    others = len(target.snapshot) - images
    calibration = source.calibration()
    calibrated = calibration is not None and not (others and target.calibration())
    if calibration is not None and calibrated:
        target.keep_calibration(calibration)
    if problems := target.verify().problems:
        raise StoreDamagedError(problems[0])
    return TransferReport(images, copied, others, calibrated)


def _blocks(ids: Int64) -> Iterator[Int64]:
    for start in range(0, len(ids), BLOCK):
        yield ids[start : start + BLOCK]


def _copy(source: Gallery, target: Gallery, on_progress: Callable[[int], None], on_build: OnBuild) -> int:
    view, known, copied = source.snapshot, target.live_files(), 0
    with target.writer(on_build=on_build) as writer:
        for ids in _blocks(view.image_ids):
            records = view.records_of(ids)
            new = [row for row, record in enumerate(records) if not _is_there(record, known.get(record.path))]
            if new:
                writer.remove(known[records[row].path][0] for row in new if records[row].path in known)
                writer.add([records[row] for row in new], view.features_of(ids[new]))
                writer.commit()
            copied += len(new)
            on_progress(len(ids))
        for path, reason in source.rejected():
            if path not in known:
                writer.reject(path, reason)
        writer.commit()
    return copied


def _is_there(record: ImageRecord, known: tuple[int, str] | None) -> bool:
    """Whether the target has the image. False without a content hash, as then nobody can tell."""
    return known is not None and bool(record.content_hash) and known[1] == record.content_hash


def _compare(source: Gallery, target: Gallery, on_progress: Callable[[int], None]) -> None:
    view, copy, copies = source.snapshot, target.snapshot, target.live_files()
    for ids in _blocks(view.image_ids):
        records = view.records_of(ids)
        lost = next((record.path for record in records if record.path not in copies), None)
        if lost is not None:
            raise StoreDamagedError(f"{target.path} lacks {lost}, which {source.path} has; migrate again")
        theirs = np.array([copies[record.path][0] for record in records], np.int64)
        ours, copied = view.features_of(ids), copy.features_of(theirs)
        same = [a == b for a, b in zip(records, copy.records_of(theirs), strict=True)]
        same = np.array(same) & _same_features(ours, copied, source, target)
        if not same.all():
            path = records[int(np.flatnonzero(~same)[0])].path
            raise StoreDamagedError(
                f"{target.path} has another {path} than {source.path}; remove it there, then migrate again"
            )
        on_progress(len(ids))


def _same_features(ours: RegionFeatures, copied: RegionFeatures, source: Gallery, target: Gallery) -> Any:
    """(n,) whether each image's visible features are equal, rounded as the target stores them."""
    rounded = ours.embeddings.astype(target.embedding_dtype).astype(np.float32)
    seen = source.model_info.visible(ours.visibility)[:, :, None]
    equal = np.where(seen, rounded, 0) == np.where(seen, copied.embeddings, 0)
    return equal.all(axis=(1, 2)) & (ours.visibility == copied.visibility).all(axis=1)


def check_parquet(path: Path, *, overwrite: bool = False) -> None:
    """Refuse a path that cannot or must not be written, before any work is done.

    Raises:
        DataError: another suffix than .parquet, no such folder, or there is a file already and `overwrite` is not set.
    """
    if path.suffix.lower() != ".parquet":
        raise DataError(f"{path}: a Parquet file is one that ends in .parquet; give {path.stem or 'all'}.parquet")
    if not path.parent.is_dir():
        raise DataError(f"{path}: there is no folder {path.parent}; create it first")
    if path.is_dir() or (path.exists() and not overwrite):
        raise DataError(f"{path} exists; give another name, or overwrite=True (--overwrite) to replace a file")


def export(
    store: Gallery,
    path: Path,
    *,
    overwrite: bool = False,
    where: Mapping[str, str | Sequence[str]] | None = None,
    on_progress: Callable[[int], None] = lambda images: None,
) -> int:
    """Write all images, or those with asked-for attributes, to a Parquet file, whole or not at all.

    Columns: image_id, path, content_hash, pid, camid, captured_at (UTC), width, height, visibility (p), embeddings
    (p·d, region by region; a server's are 0 where a region is not visible), and each attribute as text. An attribute
    with the name of another column gets the prefix `ATTRIBUTE`. pid and camid are text if any is a word. Metadata
    "vpmsearch" is the model, as JSON. `vpmsearch.data.frames.read_frame` reads the labels back.

    Args:
        path: ends in .parquet. overwrite: replace an existing file. where: attribute -> a value or several, see
            `vpmsearch.types.SearchFilter`; None is all images. on_progress: called with the number of images just
            written.

    Returns:
        Images written.

    Raises:
        DataError: pyarrow is not installed, no image has the attributes, or as `check_parquet`. OSError: the file
            cannot be written.
    """
    check_parquet(path, overwrite=overwrite)
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise DataError("export needs pyarrow: pip install 'vpmsearch[postgres]'") from error
    view = store.snapshot
    ids = view.image_ids
    if where:
        ids = np.array(sorted(store.find(where=where)), np.int64)
        if not len(ids):
            raise DataError(f"nothing in {store.path} fits; `vpmsearch stats` says what it holds")
    schema = arrow_schema(view)
    with replacing(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for block in _blocks(ids):
            writer.write_table(arrow_table(view, block, schema))
            on_progress(len(block))
    return len(ids)


def arrow_schema(view: GalleryView) -> pa.Schema:
    """The columns of `export_parquet`, and the model in their metadata.

    Raises:
        DataError: pyarrow is not installed.
    """
    with needed_for("an Arrow table"):
        import pyarrow as pa

    info, dtype = view.model_info, view.stored_model.embedding_dtype
    numbers = pa.float16() if dtype == "float16" else pa.float32()
    fields: list[Any] = [
        ("image_id", pa.int64()),
        ("path", pa.string()),
        ("content_hash", pa.string()),
        ("pid", pa.string() if view.has_words("pid") else pa.int64()),
        ("camid", pa.string() if view.has_words("camid") else pa.int64()),
        ("captured_at", pa.timestamp("us", tz="UTC")),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("visibility", pa.list_(pa.float32(), info.p)),
        ("embeddings", pa.list_(numbers, info.p * info.embedding_dim)),
    ]
    taken = {name for name, _ in fields}
    # The metadata of a column names its attribute, as an attribute may have the name of another column.
    fields = [pa.field(name, kind) for name, kind in fields]
    for name in view.attribute_names():
        column = f"{ATTRIBUTE}{name}" if name in taken or name.startswith(ATTRIBUTE) else name
        fields.append(pa.field(column, pa.string(), metadata={ATTRIBUTE: name}))
    model = json.dumps({**asdict(info), "embedding_dtype": dtype})
    return pa.schema(fields, metadata={"vpmsearch": model})


def arrow_table(view: GalleryView, ids: Int64, schema: pa.Schema) -> pa.Table:
    """Images (n,), in the order asked, as a table with the columns of `arrow_schema`."""
    import pyarrow as pa

    records, features = view.records_of(ids), view.features_of(ids)
    names = ("path", "content_hash", "pid", "camid", "captured_at", "width", "height")
    columns: list[Any] = [ids, *([getattr(record, name) for record in records] for name in names)]
    for place in (3, 4):  # pid and camid
        if schema.field(place).type == pa.string():
            columns[place] = [None if label is None else str(label) for label in columns[place]]
    arrays = [pa.array(column, schema.field(place).type) for place, column in enumerate(columns)]
    flat = features.embeddings.astype(view.stored_model.embedding_dtype).reshape(-1)  # (n, p, d) -> (n·p·d,)
    for name, values in (("visibility", features.visibility.reshape(-1)), ("embeddings", flat)):
        kind = schema.field(name).type
        arrays.append(pa.FixedSizeListArray.from_arrays(pa.array(values, kind.value_type), kind.list_size))
    for field in list(schema)[len(arrays) :]:
        name = field.metadata[ATTRIBUTE.encode()].decode()
        arrays.append(pa.array([record.attributes.get(name) for record in records], pa.string()))
    return pa.Table.from_arrays(arrays, schema=schema)
