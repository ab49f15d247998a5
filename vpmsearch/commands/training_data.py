"""What `vpmsearch train` trains on: data sets or drawn pedestrians, and the identities that are held out of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from vpmsearch.commands import options
from vpmsearch.commands.terminal import counted
from vpmsearch.words import number_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vpmsearch.data.datasets import ReidDataset
    from vpmsearch.labels import Label

DRAWN_FOLDER = Path("runs/drawn-pedestrians")


def read_sets(
    roots: Sequence[Path], layouts: Sequence[str], pattern: str, trial: int | None = None
) -> list[ReidDataset]:
    """The data sets asked for, or drawn pedestrians.

    Args:
        trial: which random half of a data set that is split so; None is its training split.
    """
    from vpmsearch.data.datasets import read_dataset

    if not roots:
        return [_drawn_pedestrians()]
    pairs = zip(options.one_each(roots, layouts), roots, strict=True)
    found = [read_dataset(layout, root, ("train",), pattern=pattern, trial=trial) for layout, root in pairs]
    names = options.told_apart([each.name for each in found])
    return [replace(each, name=name) for each, name in zip(found, names, strict=True)]


def split_sets(
    sets: Sequence[ReidDataset], shares: Sequence[float], seed: int
) -> tuple[list[ReidDataset], list[ReidDataset]]:
    """What to train on of each data set, and what is held out of those where something is to be."""
    from vpmsearch.data.datasets import hold_out

    if len(shares) not in (0, len(sets)):
        raise typer.BadParameter(f"{number_of(len(sets), 'data set')} and {len(shares)} --hold-out: give one for each")
    if wrong := [share for share in shares if share >= 1 and not share.is_integer()]:
        raise typer.BadParameter(f"--hold-out {wrong[0]:g} is neither a share below 1 nor a number of identities")
    kept, held_out = [], []
    for images, share in zip(sets, shares or [0.0] * len(sets), strict=True):
        if share:
            images, aside = hold_out(images, share if share < 1 else int(share), seed)
            held_out.append(aside)
        kept.append(images)
    return kept, held_out


def check_held_out(path: Path, held_out: Sequence[ReidDataset]) -> None:
    """Refuse to go on with a run that held out others: it has learnt some of these.

    The checkpoint does not tell if images of different people have the same names. A file that cannot be read, or of
    data sets by other names, tells nothing. Earlier versions also wrote it for a run that was then refused.

    Args:
        path: the file that `write_held_out` wrote of that run.

    Raises:
        TrainingError: others of these data sets were held out.
    """
    import json

    from vpmsearch.errors import TrainingError

    now = _pids_of(held_out)
    try:
        then = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return
    if isinstance(then, dict) and then.keys() == now.keys() and then != now:
        raise TrainingError(
            f"this run held out others, see {path}; resume with the same --hold-out and --hold-out-seed, or start anew "
            "with another --output. If that file is of another run, remove it"
        )


def write_held_out(path: Path, held_out: Sequence[ReidDataset]) -> None:
    """Write down who is held out of a run, as JSON: pids of each data set. If nobody is, no such file stays.

    Raises:
        TrainingError: it cannot be written.
    """
    import json

    from vpmsearch.errors import TrainingError
    from vpmsearch.system.atomic import replacing

    try:
        if not held_out:  # that of a run which this one replaces
            path.unlink(missing_ok=True)
            return
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(_pids_of(held_out)) + "\n")
    except OSError as error:
        raise TrainingError(f"cannot write {path}: {error.strerror or error}") from error


def _pids_of(held_out: Sequence[ReidDataset]) -> dict[str, list[Label]]:
    """The pids of each data set, in order."""
    from vpmsearch.labels import in_order

    return {each.name: in_order(image.pid for image in each.query if image.pid is not None) for each in held_out}


def _drawn_pedestrians() -> ReidDataset:
    """Pedestrians drawn by the project, kept for the next run."""
    from vpmsearch.data.datasets import read_dataset
    from vpmsearch.data.drawn_dataset import write_drawn_dataset
    from vpmsearch.data.synthetic import DrawnSettings

    train, test = (
        DrawnSettings(identities=200, cameras=4, shots=4),
        DrawnSettings(identities=100, cameras=4, shots=3, seed=1),
    )
    with counted("drawing") as drawn:
        folder = write_drawn_dataset(DRAWN_FOLDER, train=train, test=test, progress=drawn)
    return read_dataset("market1501", folder)
