"""The named sets of training settings.

`paper` follows the paper. What the paper leaves open is set as PCB sets it, or marked as ours.
`fast` trains the OSNet trunk on a CPU in half an hour, on one data set. `strong` takes longer and is better.
vpm-osnet-market1501.safetensors was trained with `fast`, then twice with `strong`, each time with some settings changed
(the model card has every command). `anywhere` continues from there on several data sets. `light` is `fast` on small
images, for the paper's many systems. `small` trains from scratch in a minute.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args, get_type_hints

from vpmsearch.errors import ModelError
from vpmsearch.training.settings import TrainSettings

# The trunk has no normalisation layers (they are folded into its weights), so it needs Adam, small learning rates and
# frozen early stages.
#     region_loss_weight is 5, on the mean of L_R. With 2, L_ID (a sum over six regions) kept the locator at fixed
# places: after 2 epochs L_R was 1.1, and a third of the visible sets of half bodies was wrong (F1 0.67). With 20 and
# with 5, L_R was lower than that within 50 steps. After one epoch the rank-1 of half bodies among held-out identities
# was 54 % with 20 and 75 % with 5 (one run each; the one with 20 had a trunk rate of 6e-4).
#     γ starts at 0.4, so that a test with 0.5 is not at the edge of the training range.
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
    # normalisation between the two layers of a classifier. L_R is the mean over pixels, because Eq. 5's sum is 192
    # times as large at 384×128. Ours: f_i of length 1, and a gradient norm of at most 1.
    #     Why ours (measured at these rates and 128×64, one seed each, for few steps, with a pruned ResNet-50): without
    # both, L_R went from 2.0 to 157 in seven steps and was NaN in the eighth. ‖g‖² was 1,700, and the gradient of L_tri
    # in the trunk was 46 times that of L_R. With only the norm limited, to 5 or to 1, L_R was 2.4 after 28 steps and
    # 2.1 after 32. With length 1 and norm 5 it was 2.0 after 32 steps; with length 1 and norm 1 it was 1.1.
    #     Why normalised classifiers: without, L_ID of 24 people went from 14.7 to 14.9 in 40 steps. With them it went
    # to 9.1, and L_R to 1.2.
    "paper": TrainSettings(
        "paper", "resnet50", normalize_embeddings=True, gradient_clip=1.0, classifier="two-layer-bn"
    ),
    "fast": _FAST,
    # What differs from `fast`, and why:
    # - consistency_weight: each image is in the batch whole and cut, like a gallery image and its query, and its
    #   regions are pulled together.
    # - normalize_embeddings: the length of f_i tells how well a region is seen, not whose it is.
    # - freeze_stages: one more stage learns, as the early layers never saw a person stretched to twice the height.
    # - gamma below 0.5 and crops anywhere, so that queries are not at the edge of the training range.
    # - memory_weight: every batch is ranked against all whole images by Eq. 4, as in a search.
    # - detach_locator: the locator learns from L_R alone. When it learned from the other losses too, starting from the
    #   bare trunk, L_R was 1.70 after 120 steps and 1.55 after 315 (1.79 is chance), and every region of every half
    #   body counted as visible. Detached, L_R was 0.95 after 100 steps. This was chosen by L_R, in one run each; which
    #   one searches better in the end was not measured.
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
    # For people from anywhere: on several data sets at once, from the default weights on, which were last trained so
    # themselves (the model card has every command, and other values of earlier runs). New beside `strong`: two cuts of
    # each whole image, of which one keeps its own height for the second look; occluders over cuts and a class for them;
    # degraded and grey photographs; the averaged model as a teacher, towards whose whole images the cuts are pulled;
    # the trunk in bfloat16. docs/results.md has what most of them are worth. No box jitter: it did harm in short runs.
    # Classifiers start from class means: from the default weights, which have none, L_ID of the first batch is 10.9 in
    # place of 35.8.
    "anywhere": replace(
        _FAST,
        preset="anywhere",
        normalize_embeddings=True,
        occluder_class=True,
        second_look=True,
        freeze_stages=2,
        crops=("bilateral", "bilateral", "bilateral", "random"),
        gamma=(0.35, 0.85),
        color_jitter=0.25,
        degrade=0.35,
        grey=0.15,
        occlude=0.2,
        cuts=2,
        whole_share=0.2,
        epochs=1,
        pids_per_batch=12,  # which two, three and four data sets divide
        images_per_pid=2,
        across_cameras=True,
        learning_rate=5e-4,
        trunk_learning_rate=1.8e-4,
        locator_learning_rate=2e-3,
        warmup_steps=30,
        margin=0.3,
        detach_locator=True,
        consistency_weight=10.0,
        teacher=True,
        average_decay=0.99,
        class_means=4,
        memory_weight=2.0,
        bfloat16=True,
    ),
    # `fast` with a quarter of the pixels, for the paper's many systems on a CPU (`vpmsearch reproduce`).
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
    """Settings with some of them changed by text such as "epochs=4" or "gamma=[0.35, 0.9]": a name, and a JSON value.

    Raises:
        ModelError: no such setting, a value of the wrong kind, or settings that do not fit together.
    """
    values = settings.to_json()
    optional = {name for name, kind in get_type_hints(TrainSettings).items() if type(None) in get_args(kind)}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or name not in values:
            raise ModelError(f"no setting {assignment!r}; give NAME=VALUE with one of {', '.join(sorted(values))}")
        if name == "preset":  # only its name would change
            raise ModelError(f"preset={text} would rename the settings and not change them; choose one by --preset")
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
    """Whether a JSON value has the type of one of the examples. An integer also fits a float."""
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
        ModelError: no such preset, or settings that do not fit together.
    """
    if name not in PRESETS:
        raise ModelError(f"unknown preset {name!r}; choose one of {', '.join(PRESETS)}")
    return replace(PRESETS[name], **changes)
