"""Which device to compute on. torch takes two seconds to import, so it is not asked on a machine without a GPU."""

from __future__ import annotations

import ctypes
import re
import sys
from dataclasses import dataclass
from importlib.util import find_spec

from vpmsearch.errors import DeviceError

_NAME = re.compile(r"(cpu|cuda)(?::([0-9]{1,3}))?")
_DRIVER = "libcuda.so.1"  # NVIDIA's driver; torch opens it by the same name


@dataclass(frozen=True)
class Device:
    """A device under torch's name. type: "cpu" or "cuda". index: which GPU; None is the first."""

    type: str
    index: int | None = None

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"


CPU = Device("cpu")


def check_name(name: str) -> None:
    """Refuse what names no device anywhere.

    Raises:
        DeviceError: an unknown name.
    """
    if name != "auto":
        _parts(name)


def _parts(name: str) -> re.Match[str]:
    parts = _NAME.fullmatch(name)
    if parts is None:
        raise DeviceError(f"unknown device {name!r}; use auto, cpu, cuda or cuda:N")
    return parts


def choose_device(name: str = "auto") -> Device:
    """A device by its name; "auto" is CUDA where there is a GPU, else the CPU.

    Raises:
        DeviceError: an unknown name, or a GPU that is not there.
    """
    if name == "auto":
        return Device("cuda") if _gpus() else CPU
    parts = _parts(name)
    kind, index = parts[1], None if parts[2] is None else int(parts[2])
    if kind == "cuda" and (index or 0) >= _gpus():
        lacks = "" if find_spec("torch") else "; a GPU also needs torch: pip install 'vpmsearch[train]'"
        raise DeviceError(f"there is no device {name!r} here; use --device cpu or auto{lacks}")
    return Device(kind, index) if kind == "cuda" else CPU


def _gpus() -> int:
    """How many GPUs torch can use; 0 without torch, as nothing else here computes on a GPU.

    torch is imported only where there is a driver.
    """
    if sys.modules.get("torch") is None:
        try:
            ctypes.CDLL(_DRIVER)
        except OSError:
            return 0
    try:
        import torch
    except ModuleNotFoundError:
        return 0
    return torch.cuda.device_count() if torch.cuda.is_available() else 0
