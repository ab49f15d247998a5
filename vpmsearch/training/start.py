"""The start of a run: from a published trunk, a file, or the end of another run."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from vpmsearch.errors import WeightsError
from vpmsearch.model.initial import PUBLISHED, fill_model, initialise_model, with_occluder_class
from vpmsearch.model.vpm import Vpm
from vpmsearch.model.weights import check_tensors, or_shipped, read_tensors
from vpmsearch.training.checkpoint import MAX_BYTES, read_progress, under


class Start(NamedTuple):
    """What a run starts from.

    classifiers: whether the identity classifiers are a checkpoint's. anew: the layers of a vpmsearch model that have
    another shape in this run and start anew, of "locator" and "reduction".
    """

    classifiers: bool
    anew: tuple[str, ...]


def start(model: Vpm, classifiers: nn.Module, init: str, data: str) -> Start:
    """Load a model's first weights as `initialise_model` does, and from a checkpoint the identity classifiers too.

    Without them the second run would spend an epoch on learning them again. They are taken only if the images and
    identities are the same and the whole model fits. The optimizer's state and the memory are never taken.

    Args:
        model, classifiers: changed in place. init: as in `TrainSettings`. data: the digest of this run's images and
            identities, see `Trainer.data_digest`.

    Raises:
        ModelError: this trunk has no such weights. WeightsError: they cannot be read or downloaded, or do not fit.
        TrainingError: the checkpoint is damaged.
    """
    if init in PUBLISHED:
        return Start(False, initialise_model(model, init))
    path = or_shipped(Path(init))
    if not path.is_file():
        named = init or "without a name"
        raise WeightsError(f"there is no file {named} to start from; --init takes {', '.join(PUBLISHED)} or a file")
    progress = read_progress(path)
    if progress is None:
        return Start(False, initialise_model(model, str(path)))
    found = progress.run.get("settings")
    settings = found if isinstance(found, dict) else {}
    grid = settings.get("num_regions")
    tensors = read_tensors(path, MAX_BYTES)
    learned = under("module.average.module.", tensors) or under("module.model.", tensors)  # the result of that run
    learned = with_occluder_class(learned, model)
    heads = under("module.classifiers.", tensors)
    anew = fill_model(model, learned, tuple(grid) if isinstance(grid, list) else None, path)
    alike = (
        progress.run.get("data") == data
        and grid == list(model.grid)
        and settings.get("normalize_embeddings", False) == model.normalize_embeddings
        and _fits(model, learned, path)
        and _fits(classifiers, heads, path)
    )
    if alike:
        classifiers.load_state_dict(heads)
    return Start(alike, anew)


def _fits(module: nn.Module, tensors: dict[str, Tensor], path: Path) -> bool:
    try:
        check_tensors(module, tensors, path)
    except WeightsError:
        return False
    return True
