"""Reads folders that are no known data set: one folder for each identity, photographs without labels, names by a
pattern.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from vpmsearch.data.image_files import image_files, image_names
from vpmsearch.data.labelled import JUNK_PID, SPLITS, ImageRow, LabelledImage, ReidDataset
from vpmsearch.data.layout_finder import SPLIT_FOLDERS
from vpmsearch.data.patterns import NamePattern, label_of_name
from vpmsearch.errors import DataError
from vpmsearch.labels import Label
from vpmsearch.words import printable

_JUNK = re.compile(r"0*-1")  # 00-1 is MARS's
# c3 or cam3 at the beginning or after a sign, so that the c of 9c4f2a is ignored; C3T in MARS's 0001C3T0002F001.
_CAMERA = re.compile(r"(?:^|[^A-Za-z0-9])(?:cam(?:era)?[_-]?|c)([0-9]{1,18})|^[0-9]+C([0-9])T[0-9]", re.IGNORECASE)
_NO_IDENTITY = re.compile(r"cam(era)?[_-]?\w{1,2}|c[0-9]{1,2}|[A-Z]|session[0-9]*|sequences|rgb|images?", re.IGNORECASE)


def read_folder(root: Path, splits: Sequence[str] = SPLITS) -> ReidDataset:
    """Read a data set that has one folder for each identity.

    The identities' folders lie in the folders train, query and gallery. If there are no such folders, they lie in the
    root, and all is the train split. A pid is the folder's name. Digits are a number: 0002 is 2, and −1, also written
    00-1, is junk. Any other name is a word and stays as it is. The camera is in the file's name: `c<digits>` or
    `cam<digits>`, in any case, at the start of the name or after a sign that is neither letter nor digit.

    Raises:
        DataError: folders are not identities (train and test, cam1 and cam2, A and B), an image is in no such folder,
            or two folders have one pid.
    """
    there = [split for split in SPLITS if (root / split).is_dir()]
    places = {split: root / split for split in there} or {"train": root}
    wanted = {split: place for split, place in places.items() if split in splits}
    if not wanted:
        raise DataError(
            f"{printable(root)} holds no {' and no '.join(splits)}; the layout folder looked for the folders "
            f"{', '.join(splits)} and found {', '.join(there) or 'none of them'}"
        )
    by_split = {split: _identity_folders(place) for split, place in wanted.items()}
    pids = _pids_of(sorted({name for found in by_split.values() for name in found}, key=os.fsencode), root)
    images = {
        split: tuple(
            LabelledImage(path, pids[name], camera_of(path))
            for name, paths in found.items()
            if pids[name] != JUNK_PID
            for path in paths
        )
        for split, found in by_split.items()
    }
    return ReidDataset.of("folder", images)


def heap(root: Path) -> Iterator[LabelledImage]:
    """Every image below the root, without labels."""
    return (LabelledImage(path) for path in image_files(root))


def read_pattern(root: Path, pattern: NamePattern, splits: Sequence[str] = SPLITS) -> ReidDataset:
    """The splits by the names of the files: the field `split`, or the folders train, query and gallery.

    Raises:
        DataError: a name does not fit, has no pid or an unknown split, or a split that is wanted is not there.
    """
    found: dict[str, list[LabelledImage]] = defaultdict(list)
    there = [split for split in SPLITS if (root / split).is_dir()]
    if "split" in pattern.expression.groupindex:
        for name in image_names(root):
            fields = _fields(pattern, name, root)
            split = fields.get("split", "train")
            if split not in SPLITS:
                raise DataError(f"{printable(name)}: split {split!r} is none of {', '.join(SPLITS)}")
            found[split].append(pattern.labelled(Path(name), fields))
    else:
        for split, place in {split: root / split for split in there or ()}.items() or {"train": root}.items():
            found[split] = [row.image() for row in pattern_heap(place, pattern)]
    missing = [split for split in splits if split not in found]
    if missing and len(missing) == len(splits):
        raise DataError(
            f"{printable(root)} holds no {' and no '.join(missing)} by the pattern; give it a field {{split}}, or put "
            f"the images below {', '.join(splits)}"
        )
    unlabelled = next((image for split in splits for image in found[split] if image.pid is None), None)
    if unlabelled is not None:
        raise DataError(f"{printable(unlabelled.path)} has no pid by the pattern; a data set needs one for each image")
    kept = {split: tuple(image for image in found[split] if image.pid != JUNK_PID) for split in splits}
    return ReidDataset.of("pattern", kept)


def pattern_heap(root: Path, pattern: NamePattern) -> Iterator[ImageRow]:
    """Every image below the root with the labels of its name, without junk.

    Raises:
        DataError: a name does not fit.
    """
    cut = len(str(root).rstrip("/")) + 1
    for name in image_names(root):
        fields = pattern.fields(name[cut:])
        row = pattern.row(name, _fields(pattern, name, root) if fields is None else fields)
        if row.pid != JUNK_PID:
            yield row


def _fields(pattern: NamePattern, name: str, root: Path) -> dict[str, str]:
    fields = pattern.fields(name[len(str(root).rstrip("/")) + 1 :])
    if fields is None:
        raise DataError(
            f"{printable(name)} does not fit the pattern {pattern.text}; try it on ten names by `vpmsearch layout "
            f"{printable(root)} --pattern …`"
        )
    return fields


def _identity_folders(root: Path) -> dict[str, list[Path]]:
    """Images at any depth, by the name of their folder directly below the root."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in image_files(root):
        inner = path.relative_to(root).parts
        if len(inner) == 1:
            raise DataError(f"{printable(path)} is in no identity's folder; move it into one or away")
        found[inner[0]].append(path)
    wrong = [name for name in sorted(found) if name in SPLIT_FOLDERS]
    if wrong or (len(found) > 1 and all(_NO_IDENTITY.fullmatch(name) for name in found)):
        raise DataError(
            f"{printable(root)} holds {', '.join(map(printable, wrong or sorted(found)[:8]))}, which are no people; "
            f"the layout folder has one folder an identity, below train, query and gallery where there are splits: see "
            f"`vpmsearch layout {printable(root)}`"
        )
    return found


def _pids_of(names: Sequence[str], root: Path) -> dict[str, Label]:
    """The pid of each folder's name."""
    pids: dict[str, Label] = {}
    folder_of: dict[Label, str] = {}
    for name in names:
        try:
            pid = JUNK_PID if _JUNK.fullmatch(name) else label_of_name(name)
        except DataError as error:
            raise DataError(
                f"{printable(root)}: the folder {printable(name)} is no pid ({error}); rename it"
            ) from error
        if pid in folder_of and pid != JUNK_PID:
            both = f"{printable(folder_of[pid])} and {printable(name)}"
            raise DataError(f"{printable(root)}: the folders {both} are one pid, {printable(str(pid))}; rename one")
        pids[name], folder_of[pid] = pid, name
    return pids


def camera_of(path: Path) -> int | None:
    """The camera in a file's name, see `read_folder`."""
    match = _CAMERA.search(path.stem)
    return None if match is None else int(match[1] or match[2])


def with_split_cameras(dataset: ReidDataset) -> ReidDataset:
    """A data set of which no camera is known: its queries are camera 0, its gallery 1."""
    query, gallery = (
        tuple(replace(image, camid=camid) for image in images)
        for camid, images in enumerate((dataset.query, dataset.gallery))
    )
    return replace(dataset, query=query, gallery=gallery)
