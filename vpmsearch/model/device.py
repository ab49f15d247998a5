"""Which device to compute on, and how to make the CPU quick."""

from __future__ import annotations

import ctypes
import sys

import torch

from vpmsearch.errors import DeviceError

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def choose_device(name: str = "auto") -> torch.device:
    """A device by name: "auto" is CUDA where there is a GPU, else the CPU.

    Raises:
        DeviceError: an unknown name, or a GPU that is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"unknown device {name!r}; use auto, cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise DeviceError(f"device {name!r} is not supported; use auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise DeviceError(f"there is no device {name!r} here; use --device cpu or auto")
    if device.type == "cpu":
        _keep_freed_memory()
    return device


def _keep_freed_memory() -> None:
    """Have malloc keep freed feature maps for the next layer rather than hand them back to the kernel.

    By default every large tensor is a fresh mapping whose pages must be zeroed again: OSNet at 256×128 in batches of 64
    ran at 19 images a second that way and at 42 with this, on two cores. Only glibc has the knob.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    except (OSError, AttributeError):  # another C library: slower, not wrong
        return
