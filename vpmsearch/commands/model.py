"""Finds and opens the model of a command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpmsearch.commands.terminal import say

if TYPE_CHECKING:
    from pathlib import Path

    from vpmsearch.model.device import Device
    from vpmsearch.model.extraction import Extractor
    from vpmsearch.model.weights import LoadedWeights
    from vpmsearch.types import ModelInfo


def extractor_for(
    loaded: LoadedWeights, device: Device, *, runtime: str = "auto", batch_size: int | None = None
) -> Extractor:
    """A model that sees images. If torch runs it on a CPU, another process exports it meanwhile, for the next time."""
    from vpmsearch.model.extraction import Extractor
    from vpmsearch.model.runtimes import choose_runtime, export_in_background

    chosen = choose_runtime(loaded, device, runtime, say)
    if runtime == "auto" and device.type == "cpu" and chosen.name == "torch":
        export_in_background(loaded, say)
    return Extractor(loaded, device, batch_size=batch_size, runtime=chosen)


def weights_of_index(info: ModelInfo, given: Path | None = None, precision: str = "") -> LoadedWeights:
    """The weights that an index was built with, in its precision.

    Args:
        given: a weights file that was named; may hold other weights. precision: the one asked for; "" is the index's.

    Raises:
        DataError: another precision was asked for. WeightsError: the weights are not found.
    """
    from dataclasses import replace

    from vpmsearch.errors import DataError
    from vpmsearch.model.weights import find_by_fingerprint, precision_of, read_weights

    own = precision_of(info.fingerprint)
    if precision not in ("", "auto", own):
        raise DataError(
            f"the index was built in {own}, not in {precision}; leave --precision away, or make a new index"
        )
    return replace(read_weights(given), precision=own) if given else find_by_fingerprint(info.fingerprint, info.weights)
