"""Settings of a run on the drawn images that takes well under a second; tests change what they are about."""

from __future__ import annotations

from vpmsearch.training.presets import get_preset

TINY = get_preset(
    "small",
    backbone="tiny",
    init="random",
    input_size=(64, 32),
    num_regions=(3, 1),
    embedding_dim=16,
    epochs=3,
    pids_per_batch=3,
    images_per_pid=2,
    learning_rate=1e-3,
    trunk_learning_rate=1e-3,
    warmup_steps=2,
)
