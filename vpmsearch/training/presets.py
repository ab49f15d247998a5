"""The named sets of training settings.

`paper` is the paper to the letter where it speaks; what it leaves open is filled in as PCB does, or marked as ours.
`fast` trains the OSNet trunk on a CPU in half an hour, `strong` longer and better, both on one data set. The weights
vpm-osnet-market1501.safetensors are of `fast` and two stretches of `strong`, each with some settings changed (the model
card has every command). `anywhere` goes on from there on several data sets. `light` is `fast` on small pictures, for
the paper's many systems, and `small` trains from nothing in a minute.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args, get_type_hints

from vpmsearch.errors import ModelError
from vpmsearch.training.settings import TrainSettings

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
