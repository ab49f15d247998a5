"""In place of onnxruntime and of the export, for tests of what goes on around them: a file that names weights."""

from __future__ import annotations

import sys
import threading
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from vpmsearch.model import onnx_runtime
from vpmsearch.model.export import PixelModel
from vpmsearch.model.weights import LoadedWeights

HEAD, TAIL = b"exported:", b":whole"


class FakeOnnx(ModuleType):
    """The module onnxruntime, which computes by torch.

    Args:
        monkeypatch: puts it in place. weights: those that it can compute with.

    made: exports so far. opened: contents of files it was given. seen: pixels it was given. together: where set, an
    export ends when all of so many threads are at it.
    """

    SessionOptions = SimpleNamespace

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *weights: LoadedWeights) -> None:
        super().__init__("onnxruntime")
        self.made = 0
        self.opened: list[bytes] = []
        self.seen: list[np.ndarray] = []
        self.together: threading.Barrier | None = None
        self._weights = {self.content(each): each for each in weights}
        monkeypatch.setitem(sys.modules, "onnxruntime", self)
        monkeypatch.setattr(onnx_runtime, "check_packages", lambda: None)
        monkeypatch.setattr(onnx_runtime, "onnx_bytes", self._export)

    @staticmethod
    def content(weights: LoadedWeights) -> bytes:
        """What an export gives."""
        return HEAD + weights.fingerprint.encode() + TAIL

    def _export(self, weights: LoadedWeights) -> bytes:
        self.made += 1
        if self.together:
            self.together.wait()
        return self.content(weights)

    def InferenceSession(self, content: bytes, options: object, providers: list[str]) -> Any:  # noqa: N802
        """A session for one of the weights; any other content is damaged."""
        assert providers == ["CPUExecutionProvider"]
        self.opened.append(content)
        weights = self._weights[content]
        module = PixelModel(weights.model, weights.config.mean, weights.config.std).eval()

        def run(names: list[str], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
            assert names == ["visibility", "embeddings"]
            self.seen.append(feed["pixels"])
            with torch.inference_mode():
                return [output.numpy() for output in module(torch.from_numpy(feed["pixels"]))]

        return SimpleNamespace(run=run)
