"""Whether training in bfloat16 is worth it on a device."""

from __future__ import annotations

import torch


def has_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is worth it on a device: on every GPU, and on CPUs that oneDNN computes it on.

    On other CPUs torch computes it number by number. With AVX2 the stages of OSNet that learn took 13 times as long as
    in float32 and the frozen ones 48 times (torch 2.15, forward and backward of 8 images).
    """
    if device.type != "cpu":
        return True
    # torch is also built without oneDNN, as for macOS. It then has no such question.
    there = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return bool(there and torch.ops.mkldnn._is_mkldnn_bf16_supported())
