"""Training settings: every number and word that decides a run, and what of them is refused."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from itertools import chain
from typing import Any, Literal, get_args

from vpmsearch.data.crops import STRATEGIES
from vpmsearch.errors import ModelError

Optimizer = Literal["sgd", "adamw"]
Schedule = Literal["step", "cosine"]
Classifier = Literal["two-layer", "two-layer-bn", "bnneck"]
Reduction = Literal["mean", "sum"]
Architecture = Literal["vpm", "stripes"]
Domains = Literal["mixed", "separate"]

_CHOICES = {
    "architecture": Architecture,
    "optimizer": Optimizer,
    "schedule": Schedule,
    "classifier": Classifier,
    "region_loss_reduction": Reduction,
    "domains": Domains,
}


@dataclass(frozen=True)
class TrainSettings:
    """All that decides a training run, data set and machine aside. It travels in the weights' metadata.

    Lengths in epochs unless said; an epoch is what `IdentitySampler` makes of it. Sizes are (height, width) in pixels.
    """

    preset: str
    backbone: str
    num_regions: tuple[int, int] = (6, 1)
    embedding_dim: int | None = None
    normalize_embeddings: bool = False
    init: str = "imagenet"  # "imagenet" (torchvision's download), "osnet" (in the package), "random", or a file
    input_size: tuple[int, int] = (384, 128)
    freeze_stages: int = 0  # trunk stages that stay as they were initialised

    crops: tuple[str, ...] = ("bilateral",)  # one drawn for each image
    gamma: tuple[float, float] = (0.5, 1.0)  # area ratio, uniform
    flip: bool = True  # mirror half of the images
    shift: float = 0.0  # farthest an image is moved within its frame, as a share of its width and height
    color_jitter: float = 0.0  # brightness, contrast and saturation times U(1 - j, 1 + j)
    erase: float = 0.0  # share of samples with a rectangle of their mean colour over 2 to 15 %
    box_jitter: float = 0.0  # farthest each side of a box is moved, in or out, as a share of its width or height
    # Of an image's views these two change the cuts alone, as a gallery's image stays what it is:
    degrade: float = 0.0  # share of samples made smaller, saved as a poor JPEG, or both
    grey: float = 0.0  # share of samples without colour
    cuts: int = 1  # of each image in a batch, beside the whole one; needs consistency_weight
    whole_share: float = 0.0  # of the cuts that show all of the image

    epochs: int = 60
    steps: int | None = None  # end after so many and fit the cosine to them; another number will do at --resume
    pids_per_batch: int = 8
    images_per_pid: int = 8
    domains: Domains = "mixed"  # several data sets: "mixed" in every batch, or "separate", a batch of one each in turn
    across_cameras: bool = False  # an identity's images in a batch are of as many cameras as they can be
    optimizer: Optimizer = "sgd"
    learning_rate: float = 0.1  # of the new layers
    trunk_learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: Schedule = "step"
    step_epoch: int = 30  # "step": a tenth of the learning rate from here on
    warmup_steps: int = 0  # linear, in steps
    gradient_clip: float | None = None  # largest norm

    classifier: Classifier = "two-layer"
    label_smoothing: float = 0.0
    margin: float | None = 1.0  # α of Eq. 7; None: soft margin
    region_loss_reduction: Reduction = "mean"
    region_loss_weight: float = 1.0  # of L_R in Eq. 8; the other two have weight 1
    detach_locator: bool = False  # the locator learns from L_R alone; false: from all of Eq. 8, through Eq. 3
    consistency_weight: float = 0.0  # above 0: each image enters a batch whole and cut, and the two shall agree
    teacher: bool = False  # cuts shall agree with the averaged model's whole image, which stands still
    memory_weight: float = 0.0  # above 0: rank all whole images seen so far; needs consistency_weight
    memory_temperature: float = 0.03  # in units of Eq. 4's distance
    average_decay: float = 0.0  # above 0: a moving average of the weights, over some 1 / (1 - decay) steps, is written
    # The paper's other systems, see `vpmsearch.training.systems`.
    architecture: Architecture = "vpm"  # "stripes": regions by a ruler, which know no visibility and no L_R
    triplet_weight: float = 1.0  # of L_tri in Eq. 8
    identity_visibility: bool = True  # L_ID over the visible regions, Eq. 6; false: over all
    triplet_visibility: bool = True  # L_tri over the regions visible in both images, Eq. 7; false: over all
    bfloat16: bool = False  # the trunk computes in bfloat16 on a CPU too; regions and losses never do
    seed: int = 0

    def __post_init__(self) -> None:
        for wrong, message in chain(self._bad_numbers(), self._bad_ranges(), self._bad_together(), self._bad_words()):
            if wrong:
                raise ModelError(f"training settings: {message}")

    def _bad_numbers(self) -> Iterator[tuple[bool, str]]:
        """What is wrong with a number on its own: not finite, or below 0, which no setting has a meaning for."""
        for item in fields(self):
            value = getattr(self, item.name)
            numbers = [v for v in (value if isinstance(value, tuple) else (value,)) if isinstance(v, int | float)]
            # Compared, as `math.isfinite` takes no whole number beyond the range of float.
            yield any(not abs(v) <= sys.float_info.max for v in numbers), f"{item.name} must be finite"
            yield any(v < 0 for v in numbers), f"{item.name} must be at least 0"

    def _bad_ranges(self) -> Iterator[tuple[bool, str]]:
        """Settings outside the range that they have a meaning in."""
        pairs = {len(self.gamma), len(self.num_regions), len(self.input_size)} == {2}
        yield not pairs, "gamma, num_regions and input_size are pairs"
        yield not 0 < self.gamma[0] <= self.gamma[-1] <= 1, "gamma must be a range within (0, 1]"
        yield min(self.input_size) < 32, "input_size must be at least 32 × 32 pixels"
        yield self.epochs < 1, "epochs must be at least 1"
        yield self.steps is not None and self.steps < 1, "steps must be at least 1"
        few = self.pids_per_batch < 2 or self.images_per_pid < 2
        yield few, "a batch needs two identities and two images of each"
        yield self.cuts < 1, "cuts must be at least 1"
        yield not 0 <= self.box_jitter <= 0.4, "box_jitter must be in [0, 0.4]"
        for name in ("degrade", "grey", "whole_share", "erase", "label_smoothing"):
            yield not 0 <= getattr(self, name) <= 1, f"{name} must be in [0, 1]"
        for name in ("shift", "color_jitter", "average_decay"):
            yield not 0 <= getattr(self, name) < 1, f"{name} must be in [0, 1)"
        yield self.memory_temperature <= 0, "memory_temperature must be above 0"
        yield self.gradient_clip is not None and self.gradient_clip <= 0, "gradient_clip must be above 0"

    def _bad_together(self) -> Iterator[tuple[bool, str]]:
        """Settings that need another one."""
        views = self.consistency_weight > 0
        yield self.memory_weight > 0 and not views, "memory_weight needs a consistency_weight"
        yield self.cuts > 1 and not views, "several cuts need a consistency_weight"
        alone = self.teacher and not (views and self.average_decay)
        yield alone, "a teacher needs a consistency_weight, and an average_decay: it is the average"
        sighted = self.region_loss_weight > 0 or self.identity_visibility or self.triplet_visibility
        wanted = "region_loss_weight 0, identity_visibility false and triplet_visibility false"
        yield self.architecture == "stripes" and sighted, f"stripes need {wanted}"

    def _bad_words(self) -> Iterator[tuple[bool, str]]:
        """Words that a setting does not know."""
        unknown = not self.crops or not set(self.crops) <= set(STRATEGIES)
        yield unknown, f"crops must be some of {', '.join(STRATEGIES)}"
        for name, kind in _CHOICES.items():
            allowed = get_args(kind)
            yield getattr(self, name) not in allowed, f"{name} must be one of {', '.join(allowed)}"

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TrainSettings:
        """Rebuild from `to_json`.

        Raises:
            ModelError: an unknown or missing key.
        """
        known = {item.name for item in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ModelError(f"unknown training settings: {', '.join(unknown)}")
        try:
            plain: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
            return cls(**plain)
        except TypeError as error:
            raise ModelError(f"incomplete training settings: {error}") from error

    def to_json(self) -> dict[str, Any]:
        """All settings as plain values."""
        return asdict(self)

    def identity(self) -> dict[str, Any]:
        """What must be the same for a run to go on: as `to_json`, without what is newer than some checkpoints.

        A setting that a checkpoint of before does not know counts only where it changes something. The end of a run
        may be moved: who starts one on a busy machine does not know how far it will come.
        """
        usual = {item.name: item.default for item in fields(self)}
        kept = {k: v for k, v in self.to_json().items() if k not in THE_END}
        return {k: v for k, v in kept.items() if k not in _LATER or v != usual[k]}


THE_END = ("epochs", "steps")
"""Settings that say when a run ends: they may be others when it goes on."""
_LATER = (
    *("detach_locator", "architecture", "triplet_weight", "identity_visibility", "triplet_visibility"),
    *("box_jitter", "degrade", "grey", "cuts", "whole_share", "domains", "across_cameras", "teacher", "bfloat16"),
)
