"""Training settings, and the named sets of them.

`paper` is the paper to the letter where it speaks; what it leaves open is filled in as PCB does, or marked as ours.
`fast` trains the OSNet trunk on a CPU in half an hour, `strong` longer and better, both on one data set. The weights
vpm-osnet-market1501.safetensors are of `fast` and two stretches of `strong`, each with some settings changed (the model
card has every command). `anywhere` goes on from there on several data sets. `light` is `fast` on small pictures, for
the paper's many systems, and `small` trains from nothing in a minute.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args, get_type_hints

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
        problems = [*self._bad_numbers()]
        problems += [
            (
                not self.crops or not set(self.crops) <= set(STRATEGIES),
                f"crops must be some of {', '.join(STRATEGIES)}",
            ),
            (
                {len(self.gamma), len(self.num_regions), len(self.input_size)} != {2},
                "gamma, num_regions and input_size are pairs",
            ),
            (not 0 < self.gamma[0] <= self.gamma[-1] <= 1, "gamma must be a range within (0, 1]"),
            (self.epochs < 1, "epochs must be at least 1"),
            (self.steps is not None and self.steps < 1, "steps must be at least 1"),
            (min(self.input_size) < 32, "input_size must be at least 32 × 32 pixels"),
            (self.pids_per_batch < 2 or self.images_per_pid < 2, "a batch needs two identities and two images of each"),
            (self.memory_weight > 0 and not self.consistency_weight, "memory_weight needs a consistency_weight"),
            (self.cuts < 1, "cuts must be at least 1"),
            (self.cuts > 1 and not self.consistency_weight, "several cuts need a consistency_weight"),
            (
                self.teacher and not (self.consistency_weight and self.average_decay),
                "a teacher needs a consistency_weight, and an average_decay: it is the average",
            ),
            (not 0 <= self.box_jitter <= 0.4, "box_jitter must be in [0, 0.4]"),
            (not 0 <= self.degrade <= 1, "degrade must be in [0, 1]"),
            (not 0 <= self.grey <= 1, "grey must be in [0, 1]"),
            (not 0 <= self.whole_share <= 1, "whole_share must be in [0, 1]"),
            (
                self.architecture == "stripes"
                and (self.region_loss_weight > 0 or self.identity_visibility or self.triplet_visibility),
                "stripes need region_loss_weight 0, identity_visibility false and triplet_visibility false",
            ),
            (self.memory_temperature <= 0, "memory_temperature must be above 0"),
            (self.gradient_clip is not None and self.gradient_clip <= 0, "gradient_clip must be above 0"),
            (not 0 <= self.shift < 1, "shift must be in [0, 1)"),
            (not 0 <= self.color_jitter < 1, "color_jitter must be in [0, 1)"),
            (not 0 <= self.average_decay < 1, "average_decay must be in [0, 1)"),
            (not 0 <= self.erase <= 1, "erase must be in [0, 1]"),
            (not 0 <= self.label_smoothing <= 1, "label_smoothing must be in [0, 1]"),
        ]
        for name, kind in _CHOICES.items():
            allowed = get_args(kind)
            problems.append((getattr(self, name) not in allowed, f"{name} must be one of {', '.join(allowed)}"))
        for wrong, message in problems:
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
        return {k: v for k, v in self.to_json().items() if k != "steps" and (k not in _LATER or v != usual[k])}


_LATER = (
    *("detach_locator", "architecture", "triplet_weight", "identity_visibility", "triplet_visibility"),
    *("box_jitter", "degrade", "grey", "cuts", "whole_share", "domains", "across_cameras", "teacher", "bfloat16"),
)

# The trunk's normalisation is folded away, so it wants Adam, small rates and frozen early stages. L_R as a mean,
# five times. With weight 2, L_ID (a sum over six regions) kept the locator to fixed places: after 2 epochs L_R was
# 1.1, and of the visible sets of half bodies a third was wrong (F1 0.67). With 20 and 5 it passed that within 50
# steps; after one epoch they found 54 % and 75 % of half bodies at rank 1 among held-out identities (one run each;
# 20 ran with a trunk rate of 6e-4). γ from 0.4, so that 0.5 is not at the edge of what was seen.
_FAST = TrainSettings(
    "fast",
    "osnet",
    embedding_dim=256,
    init="osnet",
    input_size=(256, 128),
    freeze_stages=3,
    gamma=(0.4, 1.0),
    epochs=3,
    pids_per_batch=16,
    images_per_pid=4,
    optimizer="adamw",
    learning_rate=2e-3,
    trunk_learning_rate=4e-4,
    weight_decay=1e-2,
    schedule="cosine",
    warmup_steps=50,
    gradient_clip=20.0,
    classifier="bnneck",
    label_smoothing=0.1,
    margin=None,
    region_loss_weight=5.0,
)

PRESETS: dict[str, TrainSettings] = {
    # Page 397: SGD, 0.1 -> 0.01 after 30 epochs, 8 × 8 images, margin 1, γ ~ U(0.5, 1). Not stated, taken from PCB:
    # 384×128, 60 epochs, ImageNet, last stride 1, momentum, weight decay, a tenth of the rate for the trunk, and
    # normalisation between the two layers of a classifier. L_R as the mean over pixels, because Eq. 5's sum is 192
    # times that at 384×128. Ours: f_i of length 1, and gradients of norm 1 at most.
    #     Why, at these rates and 128×64 (one seed each; few steps and a pruned ResNet-50 were all there was): with none
    # L_R went from 2.0 to 157 in seven steps and was not a number in the eighth. ‖g‖² is 1,700, and the triplets'
    # gradient of the trunk 46 times that of L_R. With norms of 5 or 1 alone L_R was still 2.4 and 2.1 after 28 and 32
    # steps, with the length and norms of 5 it was 2.0 after 32, with the length and norms of 1 1.1. Then L_ID of 24
    # people, 14.7 at first, was 14.9 after 40 steps; normalised between the layers too, 9.1, and L_R 1.2.
    "paper": TrainSettings(
        "paper", "resnet50", normalize_embeddings=True, gradient_clip=1.0, classifier="two-layer-bn"
    ),
    "fast": _FAST,
    # What `fast` leaves to chance: each image is in the batch whole and cut, as a gallery image and its query will be,
    # and its regions are pulled together (consistency_weight). Embeddings have length 1: by its length f_i says how
    # well a region is seen rather than whose it is. One more stage of the trunk is free, as its early layers never saw
    # a person stretched to twice their height. γ below 0.5 and windows anywhere, so that queries are never at the edge
    # of what was seen. And every batch is ranked against all whole images by Eq. 4 (memory_weight), as a search will.
    # The locator learns from L_R alone: from the bare trunk with the other losses L_R was 1.70 after 120 steps and 1.55
    # after 315, of 1.79 where nothing is known, and every region of every half body counted as seen; detached it was
    # 0.95 after 100. Chosen by that loss of one run each; which one searches better at the end was not measured.
    "strong": replace(
        _FAST,
        preset="strong",
        normalize_embeddings=True,
        freeze_stages=2,
        crops=("bilateral", "bilateral", "bilateral", "random"),
        gamma=(0.35, 0.9),
        color_jitter=0.15,
        epochs=12,
        images_per_pid=2,
        learning_rate=1e-3,
        trunk_learning_rate=3e-4,
        margin=0.3,
        detach_locator=True,
        consistency_weight=2.0,
        memory_weight=2.0,
    ),
    # For people of anywhere, on several data sets at once, from weights of
    # `strong` on. What is new beside `strong`: two cuts of each whole image; boxes jittered, photographs made poor and
    # grey; the averaged model as a teacher whose whole image stands still for the cuts to come to; the trunk in
    # bfloat16 where it is run. None of it was measured by itself: there was time for one run.
    "anywhere": replace(
        _FAST,
        preset="anywhere",
        normalize_embeddings=True,
        freeze_stages=2,
        crops=("bilateral", "bilateral", "bilateral", "random"),
        gamma=(0.4, 0.8),
        color_jitter=0.25,
        erase=0.15,
        box_jitter=0.08,
        degrade=0.35,
        grey=0.15,
        cuts=2,
        whole_share=0.15,
        epochs=1,
        images_per_pid=2,
        across_cameras=True,
        learning_rate=1e-3,
        trunk_learning_rate=3e-4,
        margin=0.3,
        detach_locator=True,
        consistency_weight=10.0,
        teacher=True,
        average_decay=0.99,
        memory_weight=2.0,
        bfloat16=True,
    ),
    # `fast` on a quarter of the pixels: for the paper's many systems on a CPU (`vpmsearch reproduce`).
    "light": replace(
        _FAST, preset="light", input_size=(128, 64), embedding_dim=128, gamma=(0.5, 1.0), epochs=4, pids_per_batch=8
    ),
    # Random weights, small pictures. For drawn pedestrians, tests and the demo.
    "small": TrainSettings(
        "small",
        "resnet8",
        embedding_dim=128,
        init="random",
        input_size=(64, 32),
        gamma=(0.4, 1.0),
        epochs=8,
        pids_per_batch=16,
        images_per_pid=4,
        optimizer="adamw",
        learning_rate=3e-3,
        trunk_learning_rate=3e-3,
        weight_decay=1e-2,
        schedule="cosine",
        warmup_steps=20,
        gradient_clip=20.0,
        classifier="bnneck",
        margin=None,
        region_loss_weight=20.0,
    ),
}


def changed(settings: TrainSettings, assignments: Sequence[str]) -> TrainSettings:
    """Settings with some changed by text, such as "epochs=4" or "gamma=[0.35, 0.9]": a name, and a value as JSON.

    Raises:
        ModelError: no such setting, no value of its kind, or settings that cannot be.
    """
    values = settings.to_json()
    optional = {name for name, kind in get_type_hints(TrainSettings).items() if type(None) in get_args(kind)}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or name not in values:
            raise ModelError(f"no setting {assignment!r}; give NAME=VALUE with one of {', '.join(sorted(values))}")
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = text  # a word needs no quotes
        none = value is None and name in optional
        if not none and not _is_alike(value, getattr(PRESETS["fast"], name), getattr(PRESETS["paper"], name)):
            raise ModelError(f"{name} cannot be {text!r}; it is {json.dumps(values[name])} now")
        values[name] = value
    return TrainSettings.from_json(values)


def _is_alike(value: Any, *examples: Any) -> bool:
    """Whether a value from JSON is of the kind of one of the examples; a whole number will do for any number."""
    if isinstance(value, list):
        return any(
            isinstance(example, tuple) and value and all(_is_alike(item, example[0]) for item in value)
            for example in examples
        )
    kinds = {type(example) for example in examples}
    return type(value) in kinds | ({int} if float in kinds else set())


def get_preset(name: str, **changes: Any) -> TrainSettings:
    """A preset by name, with some settings changed.

    Raises:
        ModelError: no such preset, or settings that cannot be.
    """
    if name not in PRESETS:
        raise ModelError(f"unknown preset {name!r}; choose one of {', '.join(PRESETS)}")
    return replace(PRESETS[name], **changes)
