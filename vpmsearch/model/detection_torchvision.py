"""torchvision's detectors, trained on COCO. torchvision downloads the weights once and checks their hash."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vpmsearch.errors import DetectorError
from vpmsearch.model.detection import Floats, People, without_doubles
from vpmsearch.model.device import choose_device
from vpmsearch.words import printable

LARGEST_SIDE = 2048
"""A picture with a longer side (in pixels) is scaled down to this."""


class TorchvisionDetector:
    """A detector by its name in torchvision, such as fasterrcnn_mobilenet_v3_large_fpn.

    Args:
        name: see `torchvision.models.list_models`. device: "auto", "cpu", "cuda" or "cuda:N". model: the module itself,
            instead of the one that the name gives; it must be called as torchvision's are.

    Raises:
        DetectorError: there is no such detector, or its weights cannot be fetched. DeviceError: no such device.
    """

    least = 0.6

    def __init__(self, name: str, device: str = "auto", *, model: Any = None) -> None:
        import torch

        from vpmsearch.model.torch_runtime import torch_device

        self._torch, self._device = torch, torch_device(choose_device(device))
        self._model = (model if model is not None else _fetched(name)).eval().to(self._device)
        self.name = f"torchvision's {name}, trained on COCO, on {self._device}"

    def people(self, image: Image.Image) -> People:
        """See `vpmsearch.model.detection.Detector`."""
        shown = image.copy()
        shown.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
        pixels = self._torch.from_numpy(np.asarray(shown, np.float32).transpose(2, 0, 1) / 255).to(self._device)
        with self._torch.inference_mode():
            found = {key: value.cpu().numpy() for key, value in self._model([pixels])[0].items()}
        kept = (found["labels"] == 1) & np.isfinite(found["boxes"]).all(axis=1)
        scale = np.array([image.width / shown.width, image.height / shown.height] * 2, np.float32)
        boxes: Floats = found["boxes"][kept] * scale
        return without_doubles(boxes.astype(np.float32), found["scores"][kept].astype(np.float32))


def check_known(name: str) -> None:
    """Refuse a name that torchvision does not know.

    Raises:
        DetectorError: says which it knows.
    """
    from torchvision import models

    known = models.list_models(module=models.detection)
    if name not in known:
        raise DetectorError(f"there is no detector {printable(name)}; give an .onnx file, or one of {', '.join(known)}")


def _fetched(name: str) -> Any:
    from torchvision import models

    check_known(name)
    try:
        return models.get_model(name, weights="DEFAULT")
    except (OSError, RuntimeError) as error:
        home = Path(os.environ.get("TORCH_HOME", "~/.cache/torch"))
        raise DetectorError(
            f"torchvision cannot fetch the weights of {name} ({' '.join(str(error).split())[:200]}); put them into "
            f"{home}/hub/checkpoints, or give a detector's file by --detector FILE.onnx"
        ) from error
