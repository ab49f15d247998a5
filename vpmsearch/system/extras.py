"""Says what to install when an optional package is missing. pyproject.toml has the extras (docs/decisions/0019)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from vpmsearch.errors import DataError

_EXTRAS = {
    "torch": "train",
    "torchvision": "train",
    "onnx": "onnx",
    "onnxscript": "onnx",
    "openvino": "openvino",
    "fastapi": "web",
    "starlette": "web",
    "uvicorn": "web",
    "python_multipart": "web",
    "prometheus_client": "web",
    "psycopg": "postgres",
    "pyarrow": "postgres",
    "pillow_heif": "heic",
    "av": "video",
}
"""Top-level module -> the extra of vpmsearch that installs it."""


def how_to_install(error: ModuleNotFoundError) -> str:
    """The command that installs the missing module; "" if it belongs to no extra."""
    extra = _EXTRAS.get((error.name or "").partition(".")[0])
    return f"pip install 'vpmsearch[{extra}]'" if extra else ""


@contextmanager
def needed_for(what: str) -> Iterator[None]:
    """Turn a missing optional package in the block into a DataError that says what needs it and how to install it.

    Args:
        what: the subject of the message, such as "serve".
    """
    try:
        yield
    except ModuleNotFoundError as error:
        command = how_to_install(error)
        if not command:
            raise
        raise DataError(f"{what} needs {(error.name or '').partition('.')[0]}: {command}") from error
