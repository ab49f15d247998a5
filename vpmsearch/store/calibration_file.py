"""The file in the folder of an index that keeps its calibration. What the numbers mean: `vpmsearch.calibration`.

It is written whole or not at all and carries a checksum of its content. The catalog knows nothing of it; snapshots and
restorations take it along, and `verify` looks at it.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from pathlib import Path
from typing import Any

from vpmsearch.atomic import replacing
from vpmsearch.errors import StoreDamagedError
from vpmsearch.types import ModelInfo

FILE_NAME = "calibration.json"
FORMAT = 1


def write(folder: Path, values: dict[str, Any]) -> Path:
    """Replace the calibration of an index.

    Args:
        folder: the index, or a copy of it that is being made. values: what JSON can hold.
    """
    body = json.dumps(values, separators=(",", ":"))
    path = folder / FILE_NAME
    with replacing(path) as temporary:
        temporary.write_text(
            json.dumps({"format": FORMAT, "blake2b": _digest(body), "calibration": body}), encoding="utf-8"
        )
    return path


def read(folder: Path) -> dict[str, Any] | None:
    """What was written; None where nothing was.

    Raises:
        StoreDamagedError: the file is not what was written.
    """
    try:
        outer = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
        body = outer["calibration"]
        if outer["format"] != FORMAT or outer["blake2b"] != _digest(body):
            raise ValueError("checksum or format")
        values = json.loads(body)
        if not {"fingerprint", "min_visibility", "images"} <= values.keys():
            raise ValueError("keys")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise damaged(folder) from error
    found: dict[str, Any] = values
    return found


def images_calibrated_on(folder: Path, info: ModelInfo) -> int | None:
    """How many images an index held when it was calibrated; None where it was not, or for another model.

    Raises:
        StoreDamagedError: it is damaged.
    """
    values = read(folder)
    if values is None or (values["fingerprint"], values["min_visibility"]) != (info.fingerprint, info.threshold):
        return None
    return int(values["images"])


def damaged(folder: Path) -> StoreDamagedError:
    """The error for a file that is not what was written."""
    return StoreDamagedError(f"{folder / FILE_NAME} is damaged; run `vpmsearch calibrate` again")


def copy(source: Path, target: Path) -> None:
    """Take the calibration along to a copy of the index.

    Raises:
        StoreDamagedError: it is damaged.
    """
    values = read(source)
    if values is not None:
        write(target, values)


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=16).hexdigest()
