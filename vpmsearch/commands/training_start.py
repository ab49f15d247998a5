"""What `vpmsearch train` says before it trains: what is trained, from where, and what will come to nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpmsearch.commands.terminal import say
from vpmsearch.words import number_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vpmsearch.training.trainer import Trainer

OFTEN = 10
"""How often an epoch may show an image before it is said. A set of that size is better added to another one."""


def say_start(trainer: Trainer, *, continues: bool) -> None:
    """Say what is trained, from which weights, and which settings have no effect with these images."""
    from vpmsearch.model.initial import PUBLISHED

    settings, ranks = trainer.settings, trainer.ranks
    size = f"{number_of(trainer.data.num_classes, 'identity')}, {number_of(len(trainer.data.images), 'image')}"
    together = f", {ranks.size} processes" if ranks.size > 1 else ""
    say(f"{settings.preset}: {settings.backbone}, {size}, {trainer.device}{together}")
    if continues:
        say(f"going on from {trainer.files.checkpoint}")
    elif settings.init not in PUBLISHED:
        means = "from class means" if settings.class_means else "anew"
        say(f"starting from {settings.init}, identity classifiers {'too' if trainer.kept_classifiers else means}")
        if trainer.anew:
            say(f"not of the same shape there: {' and '.join(trainer.anew)}, which start anew")
    _say_regions(trainer)
    if settings.bfloat16 and not trainer.half_precision:
        say("this CPU does not compute bfloat16 by itself: the trunk computes in float32")
    if trainer.data.most_cameras < 2 and trainer.memory is not None:
        say("no identity was seen by two cameras: there memory_weight has no effect")
    there, shown = len(trainer.data.images), trainer.sampler.images_shown(0)
    if shown < 0.9 * there:
        say(
            f"an epoch shows {shown} of {there} images: at its end too few identities for a batch have any left; a "
            "smaller pids_per_batch shows more"
        )


def say_repeated(trainer: Trainer, domains: Sequence[int], names: Sequence[str]) -> None:
    """Say which data sets are so much smaller than another that they are learnt by heart."""
    from vpmsearch.data.sampler import times_shown

    if len(names) == 1:
        return
    for name, times in zip(names, times_shown(trainer.sampler.epoch(0), domains), strict=True):
        if times >= OFTEN:
            say(f"{name}: an epoch shows each of its images {times:.0f} times, as all data sets have equal parts of it")


def _say_regions(trainer: Trainer) -> None:
    """Say if the regions are more than T can show, and if no image shows what the occluder class is for."""
    settings, (rows, columns), (h, w) = trainer.settings, trainer.model.grid, trainer.data.settings.map_size
    if rows > h or columns > w:
        seen = min(rows, h) * min(columns, w)
        say(
            f"a whole image can show {seen} of {rows}x{columns} regions, as the feature map has {h}x{w} pixels; set "
            "fewer num_regions or a larger input_size"
        )
    if settings.occluder_class and not settings.occlude:
        say("no image will show an occluder: occluder_class learns from occlude, which is 0")
