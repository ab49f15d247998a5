"""The model of a command, as several of them need it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpmsearch.commands.terminal import say

if TYPE_CHECKING:
    from vpmsearch.model.device import Device
    from vpmsearch.model.extraction import Extractor
    from vpmsearch.model.weights import LoadedWeights


def extractor_for(
    loaded: LoadedWeights, device: Device, *, runtime: str = "auto", batch_size: int | None = None
) -> Extractor:
    """A model that sees images. Where torch has to run it on a CPU, it is exported for the next time meanwhile."""
    from vpmsearch.model.extraction import Extractor
    from vpmsearch.model.runtimes import choose_runtime, export_in_background

    chosen = choose_runtime(loaded, device, runtime, say)
    if runtime == "auto" and device.type == "cpu" and chosen.name == "torch":
        export_in_background(loaded, say)
    return Extractor(loaded, device, batch_size=batch_size, runtime=chosen)
