"""The files that a run writes: their names, and the log of its losses."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from vpmsearch.errors import TrainingError
from vpmsearch.system.atomic import replacing


@dataclass(frozen=True)
class LossRow:
    """One line of the log: the losses of one step, and the learning rate of the new layers."""

    epoch: int
    step: int
    loss: float
    loss_region: float
    loss_id: float
    loss_triplet: float
    loss_consistency: float
    loss_memory: float
    lr: float


@dataclass(frozen=True)
class TrainingFiles:
    """The paths of the files that a run writes, all in the folder of the weights."""

    weights: Path

    @property
    def checkpoint(self) -> Path:
        """The file that a run resumes from; written after each epoch and every ten minutes."""
        return self.weights.with_suffix(".checkpoint.safetensors")

    @property
    def log(self) -> Path:
        """A CSV file with one `LossRow` on each line."""
        return self.weights.with_suffix(".log.csv")

    @property
    def held_out(self) -> Path:
        """A JSON file with the identities that the command holds out of the run."""
        return self.weights.with_suffix(".held-out.json")

    @property
    def curves(self) -> Path:
        """The log as a picture."""
        return self.weights.with_suffix(".curves.png")

    def go_on(self, *, resume: bool) -> bool:
        """Whether a run goes on: that is wanted, and there is a checkpoint."""
        return resume and self.checkpoint.is_file()

    def check(self) -> None:
        """Check before a run that its files can be written.

        Raises:
            TrainingError: their folder cannot be created or written, or a folder is in the place of a file.
        """
        for path in (self.weights, self.checkpoint, self.log, self.held_out, self.curves):
            if path.is_dir():
                raise TrainingError(f"{path} is a folder; give the name of a new file")
        try:
            self.weights.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.weights.parent):
                pass
        except OSError as error:
            raise TrainingError(f"cannot write to {self.weights.parent}: {error.strerror or error}") from error


def read_log(path: Path) -> list[LossRow]:
    """Read a training log; empty if there is none.

    Raises:
        TrainingError: it cannot be read.
    """
    if not path.is_file():
        return []
    try:
        with path.open(newline="") as file:
            _, _, *names = (item.name for item in fields(LossRow))  # after epoch and step
            return [
                LossRow(int(row["epoch"]), int(row["step"]), *(float(row[name]) for name in names))
                for row in csv.DictReader(file)
            ]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise TrainingError(f"{path} is no training log ({error}); remove it or start anew without --resume") from error


def write_log(path: Path, rows: Sequence[LossRow]) -> None:
    """Write a training log, whole or not at all.

    Raises:
        TrainingError: it cannot be written.
    """
    try:
        with replacing(path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, [item.name for item in fields(LossRow)])
            writer.writeheader()
            writer.writerows(asdict(row) for row in rows)
    except OSError as error:
        raise TrainingError(f"cannot write {path}: {error}; go on later with --resume") from error
