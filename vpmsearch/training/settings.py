"""Training settings: every value that decides a run, and the checks on them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from itertools import chain
from typing import Any, Literal, get_args

from vpmsearch.data.crops import STRATEGIES
from vpmsearch.errors import ModelError
from vpmsearch.types import MAX_REGIONS

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
    """All that decides a training run, except the data set and the machine. It is stored in the weights' metadata.

    Times are in epochs unless said otherwise; `IdentitySampler` defines an epoch. Sizes are (height, width) in pixels.
    """

    preset: str
    backbone: str
    num_regions: tuple[int, int] = (6, 1)
    embedding_dim: int | None = None
    normalize_embeddings: bool = False
    occluder_class: bool = False  # one more class of the locator, for pixels that show an occluder; not in the paper
    init: str = "imagenet"  # "imagenet" (torchvision's download), "osnet" (in the package), "random", or a file
    input_size: tuple[int, int] = (384, 128)
    freeze_stages: int = 0  # trunk stages that do not learn

    crops: tuple[str, ...] = ("bilateral",)  # one is drawn for each image
    gamma: tuple[float, float] = (0.5, 1.0)  # area ratio, uniform
    flip: bool = True  # mirror half of the images
    shift: float = 0.0  # largest shift of an image in its frame, as a share of its width and height
    color_jitter: float = 0.0  # brightness, contrast and saturation times U(1 - j, 1 + j)
    erase: float = 0.0  # share of samples with a rectangle of their mean colour over 2 to 15 % of the area
    box_jitter: float = 0.0  # largest shift of each side of a box, in or out, as a share of its width or height
    # The next three apply to the cuts of an image only; the whole image stays as it is, like one of a gallery.
    degrade: float = 0.0  # share of samples that are made smaller, saved as a poor JPEG, or both
    grey: float = 0.0  # share of samples without colour
    occlude: float = 0.0  # share of samples with something laid over a part from an edge (`vpmsearch.data.occluders`)
    cuts: int = 1  # cuts of each image in a batch, in addition to the whole image; above 1 needs consistency_weight
    whole_share: float = 0.0  # share of the cuts that show the whole image
    second_look: bool = False  # the last cut of each image is seen at its own height; not in the paper
    style_mixing: float = 0.0  # share of samples that get another one's style (`vpmsearch.training.style`)

    epochs: int = 60
    steps: int | None = None  # end after this many and fit the cosine to them; may be changed at --resume
    pids_per_batch: int = 8
    images_per_pid: int = 8
    domains: Domains = "mixed"  # several data sets: "mixed" in every batch; "separate": each batch from one, in turn
    across_cameras: bool = False  # the images of an identity in a batch come from as many cameras as possible
    optimizer: Optimizer = "sgd"
    learning_rate: float = 0.1  # of the new layers
    trunk_learning_rate: float = 0.01
    locator_learning_rate: float = 0.0  # above 0: of the locator, in place of learning_rate
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: Schedule = "step"
    step_epoch: int = 30  # "step": from this epoch on, a tenth of the learning rate
    warmup_steps: int = 0  # linear, in steps
    gradient_clip: float | None = None  # largest norm of the gradient

    classifier: Classifier = "two-layer"
    class_means: int = 0  # above 0: classifiers start from the mean of so many images of each identity; needs bnneck
    label_smoothing: float = 0.0
    margin: float | None = 1.0  # α of Eq. 7; None: soft margin
    region_loss_reduction: Reduction = "mean"
    region_loss_weight: float = 1.0  # of L_R in Eq. 8
    detach_locator: bool = False  # true: the locator learns from L_R alone; false: from all of Eq. 8, through Eq. 3
    consistency_weight: float = 0.0  # above 0: each image is in a batch whole and cut, and the two are pulled together
    teacher: bool = False  # the cuts are pulled towards the averaged model's embeddings of the whole image
    memory_weight: float = 0.0  # above 0: rank all whole images seen so far; needs consistency_weight
    memory_temperature: float = 0.03  # in units of Eq. 4's distance
    average_decay: float = 0.0  # above 0: the result is a moving average of the weights over some 1 / (1 - decay) steps
    # The paper's other systems, see `vpmsearch.training.systems`.
    architecture: Architecture = "vpm"  # "stripes": fixed regions without visibility and without L_R
    triplet_weight: float = 1.0  # of L_tri in Eq. 8
    identity_visibility: bool = True  # L_ID over the visible regions, Eq. 6; false: over all
    triplet_visibility: bool = True  # L_tri over the regions visible in both images, Eq. 7; false: over all
    bfloat16: bool = False  # the trunk computes in bfloat16 also on a CPU that has it; regions and losses do not
    seed: int = 0

    def __post_init__(self) -> None:
        for wrong, message in chain(self._bad_numbers(), self._bad_ranges(), self._bad_together(), self._bad_words()):
            if wrong:
                raise ModelError(f"training settings: {message}")

    def _bad_numbers(self) -> Iterator[tuple[bool, str]]:
        """Numbers that no setting may have: not finite, or below 0."""
        for item in fields(self):
            value = getattr(self, item.name)
            numbers = [v for v in (value if isinstance(value, tuple) else (value,)) if isinstance(v, int | float)]
            # `math.isfinite` raises for an integer beyond the range of float.
            yield any(not abs(v) <= sys.float_info.max for v in numbers), f"{item.name} must be finite"
            yield any(v < 0 for v in numbers), f"{item.name} must be at least 0"

    def _bad_ranges(self) -> Iterator[tuple[bool, str]]:
        """Settings outside their range."""
        pairs = {len(self.gamma), len(self.num_regions), len(self.input_size)} == {2}
        yield not pairs, "gamma, num_regions and input_size are pairs"
        yield not 0 < self.gamma[0] <= self.gamma[-1] <= 1, "gamma must be a range within (0, 1]"
        wrong = not 1 <= self.num_regions[0] * self.num_regions[-1] <= MAX_REGIONS  # more fit no index
        yield wrong, f"num_regions must be 1 to {MAX_REGIONS} regions"
        yield min(self.input_size) < 32, "input_size must be at least 32 × 32 pixels"
        yield self.epochs < 1, "epochs must be at least 1"
        yield self.steps is not None and self.steps < 1, "steps must be at least 1"
        few = self.pids_per_batch < 2 or self.images_per_pid < 2
        yield few, "a batch needs two identities and two images of each"
        yield self.cuts < 1, "cuts must be at least 1"
        yield not 0 <= self.box_jitter <= 0.4, "box_jitter must be in [0, 0.4]"
        for name in ("degrade", "grey", "occlude", "whole_share", "erase", "label_smoothing", "style_mixing"):
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
        yield self.second_look and self.cuts < 2, "second_look needs at least two cuts: one is seen stretched"
        yield self.second_look and self.gamma[0] >= 1, "second_look needs cuts with a gamma below 1"
        yield self.second_look and self.architecture != "vpm", f"{self.architecture} takes no second_look"
        alone = self.teacher and not (views and self.average_decay)
        yield alone, "a teacher needs a consistency_weight, and an average_decay: it is the average"
        yield self.class_means == 1, "class_means must be 0, or at least 2: one image is no mean"
        yield self.class_means > 0 and self.classifier != "bnneck", "class_means needs the classifier bnneck"
        frozen = self.backbone == "osnet" and self.freeze_stages > 0
        yield self.style_mixing > 0 and not frozen, "style_mixing needs the trunk osnet with frozen stages"
        sighted = self.region_loss_weight > 0 or self.identity_visibility or self.triplet_visibility
        wanted = "region_loss_weight 0, identity_visibility false and triplet_visibility false"
        yield self.architecture == "stripes" and sighted, f"stripes need {wanted}"
        yield self.architecture == "stripes" and self.occluder_class, "stripes have no occluder_class"

    def _bad_words(self) -> Iterator[tuple[bool, str]]:
        """Words that are no choice of their setting."""
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
        """The settings that must be the same when a run is resumed.

        Three kinds are left out. A setting that older checkpoints do not have counts only if it differs from its
        default. The end of a run may be moved: on a busy machine nobody knows at the start how far a run will get.
        `class_means` has no effect on a run that goes on.
        """
        usual = {item.name: item.default for item in fields(self)}
        kept = {k: v for k, v in self.to_json().items() if k not in (*THE_END, "class_means")}
        return {k: v for k, v in kept.items() if k not in _LATER or v != usual[k]}


THE_END = ("epochs", "steps")
"""Settings that say when a run ends. They may change when it is resumed."""
_LATER = (
    *("detach_locator", "architecture", "triplet_weight", "identity_visibility", "triplet_visibility"),
    *("box_jitter", "degrade", "grey", "cuts", "whole_share", "domains", "across_cameras", "teacher", "bfloat16"),
    *("occlude", "occluder_class", "locator_learning_rate", "second_look", "style_mixing"),
)
