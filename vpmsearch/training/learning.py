"""Runs the stages of a trunk that learn on a CPU, with the batch divided among threads.

There is one thread for each core, and it computes its part of the batch without waiting for the others. torch's own
threads wait for each other after every operation, which on a busy machine is most of their time. The trunk computes
each image independently (`Backbone.splits`), so the gradients of the parts sum to the gradient of the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor

from vpmsearch.model.trunks import Backbone
from vpmsearch.training.frozen import CHUNK


@contextmanager
def one_thread_an_operation() -> Iterator[None]:
    """Within the block, each torch operation runs in the thread that calls it.

    By default torch gives every calling thread a team of helpers, one for each core. `LearningPart`, the cutting of
    crops and the frozen stages have threads of their own already. So the teams mostly wait for cores, and spin while
    they wait. On 2 cores a step of 96 samples took 6 s with the teams and 3.1 s without.

    A thread takes the setting over at its first operation. So a thread that first computes within the block keeps it.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class LearningPart:
    """Runs `Backbone.learning_part` forward, and later backward, in parts.

    Args:
        backbone: one that splits. half: compute in bfloat16. threads: at least 1.
    """

    def __init__(self, backbone: Backbone, *, half: bool, threads: int) -> None:
        self._backbone, self._half, self._threads = backbone, half, threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="vpmsearch-learning")
        self._passes: list[tuple[list[list[Tensor]], Tensor]] = []

    def forward(self, features: Tensor) -> Tensor:
        """Output of the frozen stages (B, …) -> T (B, c, h, w). T is a leaf; `backward` goes on from its gradient.

        It may be called several times before `backward`, for images of several heights.
        """
        parts = torch.split(features, -(-len(features) // self._threads))
        maps = list(self._pool.map(self._run, parts))
        found = torch.cat([part.detach() for each in maps for part in each]).float().requires_grad_()
        self._passes.append((maps, found))
        return found

    def _run(self, features: Tensor) -> list[Tensor]:
        return [self._see(self._backbone, part) for part in torch.split(features, 2 * CHUNK)]

    def _see(self, backbone: Backbone, features: Tensor) -> Tensor:
        # Without autocast's cache: with it the parts would share the rounded weights, and sum gradients in bfloat16.
        with torch.autocast("cpu", torch.bfloat16, enabled=self._half, cache_enabled=False):
            return backbone.learning_part(features)

    @torch.no_grad()
    def of_another(self, backbone: Backbone, features: Tensor) -> Tensor:
        """T (B, c, h, w) of another trunk of the same kind, without gradients."""
        parts = self._pool.map(lambda part: self._see_without(backbone, part), torch.split(features, 2 * CHUNK))
        return torch.cat(list(parts)).float()

    @torch.no_grad()
    def _see_without(self, backbone: Backbone, features: Tensor) -> Tensor:
        return self._see(backbone, features)

    def backward(self) -> None:
        """Propagate the gradient of every T since the last `backward`, and add the result to the trunk's gradients."""
        passes, self._passes = self._passes, []
        learning = [parameter for parameter in self._backbone.parameters() if parameter.requires_grad]
        pairs: list[tuple[list[Tensor], Tensor]] = []
        for maps, feature_map in passes:
            if feature_map.grad is not None:
                gradients = torch.split(feature_map.grad, [sum(map(len, each)) for each in maps])
                pairs += list(zip(maps, gradients, strict=True))
        if not pairs:
            return
        sums = list(self._pool.map(lambda pair: _gradients(pair[0], pair[1], learning), pairs))
        for parameter, *found in zip(learning, *sums, strict=True):
            total = torch.stack(found).sum(dim=0)
            parameter.grad = total if parameter.grad is None else parameter.grad + total


def _gradients(maps: Sequence[Tensor], gradient: Tensor, learning: Sequence[Tensor]) -> list[Tensor]:
    """The gradients of `learning`, summed over the parts of T in `maps`. gradient: of T."""
    total: list[Tensor] = []
    for part, wanted in zip(maps, torch.split(gradient, [len(each) for each in maps]), strict=True):
        wanted = wanted.to(part.dtype, memory_format=torch.channels_last)
        found = torch.autograd.grad(part, learning, wanted)
        total = [a + b for a, b in zip(total, found, strict=True)] if total else list(found)
    return total
