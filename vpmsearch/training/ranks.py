"""Training in several processes (ranks), started by torchrun. Each rank runs the model on its share of a batch.

Losses that compare images (Eq. 7, the memory) need the whole batch. So outputs, labels and visible sets are gathered
from all ranks. Every rank computes the same losses of the whole batch, but differentiates only its own share. The sum
of the ranks' gradients is then that of one process with the whole batch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn

from vpmsearch.errors import DeviceError, TrainingError
from vpmsearch.model.vpm import VpmOutput
from vpmsearch.training.losses import VisibleNorm

Array = TypeVar("Array", bound=NDArray[np.generic])


LONGEST_WAIT = timedelta(hours=2)
"""How long ranks wait for the first one, which writes and evaluates after an epoch. If one dies, torchrun ends all."""


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together. A single process gathers and sums nothing."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and reports progress."""
        return self.rank == 0

    def share(self, batch: int) -> slice:
        """Which images of a batch belong to this rank: every `size`-th.

        Raises:
            TrainingError: the ranks cannot have equal shares.
        """
        if batch % self.size:
            raise TrainingError(
                f"a batch of {batch} images cannot be shared by {self.size} processes; change pids_per_batch or "
                "images_per_pid, or their number"
            )
        return slice(self.rank, None, self.size)

    def gathered(self, own: Tensor, views: int = 1) -> Tensor:
        """The rows of all ranks, in the order of the whole batch. Only this rank's own rows get gradients.

        Args:
            own: (views · n, …): n images, then the same images again for each further view.
        """
        if self.size == 1:
            return own
        parts = [torch.empty_like(own) for _ in range(self.size)]
        dist.all_gather(parts, own.detach().contiguous())
        parts[self.rank] = own
        rest = own.shape[1:]
        split = torch.stack(parts).reshape(self.size, views, -1, *rest)  # (ranks, views · n, …) -> (ranks, views, n, …)
        # Image j of the batch is image j // ranks of rank j % ranks: (ranks, views, n, …) -> (views · n · ranks, …)
        return split.movedim(0, 2).reshape(-1, *rest)

    def gathered_output(self, own: VpmOutput, views: int) -> VpmOutput:
        """The model's output with the fields that the losses need gathered; the others stay this rank's."""
        if self.size == 1:
            return own
        return replace(
            own,
            locator_logits=self.gathered(own.locator_logits, views),
            visibility=self.gathered(own.visibility, views),
            embeddings=self.gathered(own.embeddings, views),
        )

    def sum_gradients(self, module: nn.Module) -> None:
        """Sum the gradients of all ranks. Afterwards every rank has those of the whole batch."""
        if self.size == 1:
            return
        found = [parameter for parameter in module.parameters() if parameter.requires_grad]
        for parameter in found:  # a parameter that this rank's share did not use has no gradient
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        flat = torch.cat([parameter.grad.flatten() for parameter in found if parameter.grad is not None])
        dist.all_reduce(flat)
        start = 0
        for parameter in found:
            assert parameter.grad is not None
            parameter.grad.copy_(flat[start : start + parameter.numel()].view_as(parameter))
            start += parameter.numel()

    def check_alike(self, number: int, device: torch.device) -> None:
        """Check that all processes begin at the same step.

        Raises:
            TrainingError: they do not.
        """
        if self.size == 1:
            return
        numbers = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(self.size)]
        dist.all_gather(numbers, torch.full((1,), number, dtype=torch.int64, device=device))
        if len(found := sorted({int(each) for each in numbers})) > 1:
            raise TrainingError(
                f"the processes would begin at steps {found}: all must see the same checkpoint, so put --output on a "
                "disk that they share"
            )

    def wait(self) -> None:
        """Wait until all processes have come here."""
        if self.size > 1:
            dist.barrier()


def ranks_here() -> Ranks:
    """The processes that have joined, or this one alone."""
    return Ranks(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else Ranks()


def local_device(device: torch.device) -> torch.device:
    """The device of this process. Under torchrun each process of a machine has a GPU of its own.

    Raises:
        DeviceError: there are more processes than GPUs.
    """
    if device.type != "cuda" or "LOCAL_RANK" not in os.environ:
        return device
    number = int(os.environ["LOCAL_RANK"])
    if number >= torch.cuda.device_count():
        raise DeviceError(f"process {number} of this machine has no GPU; start {torch.cuda.device_count()} at most")
    return torch.device("cuda", number)


def several() -> bool:
    """Whether torchrun started more than this process."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
    """Join the processes that torchrun started, for the length of the block. Without torchrun this process is alone."""
    if not several() or dist.is_initialized():
        yield ranks_here()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=LONGEST_WAIT)
    except (RuntimeError, ValueError) as error:
        raise TrainingError(f"the processes of torchrun do not find one another: {error}") from error
    try:
        yield ranks_here()
    finally:
        dist.destroy_process_group()


def synchronised(module: nn.Module, device: torch.device) -> nn.Module:
    """The module with batch normalisation over the batch of all ranks (SyncBatchNorm), which only GPUs have.

    Raises:
        TrainingError: on a CPU.
    """
    if device.type != "cuda":
        raise TrainingError("--sync-norm needs GPUs: on a CPU normalisation is by each process's own share")
    for layer in module.modules():
        if isinstance(layer, VisibleNorm):
            layer.synchronised = True
    converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
    return converted
