"""The file in the folder of an index that keeps its calibration. What the numbers mean: `vpmsearch.search.verdict`.

It is written whole or not at all and carries a checksum of its content. The catalog does not list it. Snapshots and
restorations copy it, and `verify` checks it. A server keeps the same text in a column.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from pathlib import Path
from typing import Any

from vpmsearch.errors import StoreDamagedError, StoreError
from vpmsearch.system.atomic import replacing
from vpmsearch.system.regular import open_regular
from vpmsearch.types import ModelInfo

FILE_NAME = "calibration.json"
FORMAT = 1
MAX_BYTES = 64 << 20


def write(folder: Path, values: dict[str, Any]) -> Path:
    """Replace the calibration of an index.

    Args:
        folder: the index, or an unfinished copy of it. values: anything that JSON can hold.

    Raises:
        StoreError: it cannot be written.
    """
    path = folder / FILE_NAME
    try:
        with replacing(path) as temporary:
            temporary.write_text(packed(values), encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{path} cannot be written ({error.strerror or error})") from error
    return path


def read(folder: Path) -> dict[str, Any] | None:
    """The calibration that was written; None if there is none.

    Raises:
        StoreDamagedError: the file is not what was written.
    """
    try:
        with open_regular(folder / FILE_NAME, MAX_BYTES) as file:
            text = file.read().decode()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise damaged(folder / FILE_NAME) from error
    return unpacked(text, folder / FILE_NAME)


def packed(values: dict[str, Any]) -> str:
    """The values as JSON text with a checksum."""
    body = json.dumps(values, separators=(",", ":"))
    return json.dumps({"format": FORMAT, "blake2b": _digest(body), "calibration": body})


def unpacked(text: str, where: object) -> dict[str, Any]:
    """The values that `packed` was given.

    Args:
        where: the source of the text, for the error message.

    Raises:
        StoreDamagedError: the text is not what `packed` returned.
    """
    try:
        outer = json.loads(text)
        body = outer["calibration"]
        if outer["format"] != FORMAT or outer["blake2b"] != _digest(body):
            raise ValueError("checksum or format")
        values = json.loads(body)
        if not {"fingerprint", "min_visibility", "images"} <= values.keys():
            raise ValueError("keys")
        kinds = (type(values["fingerprint"]), type(values["min_visibility"]), type(values["images"]))
        if kinds not in ((str, float, int), (str, int, int)):
            raise ValueError("types")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise damaged(where) from error
    found: dict[str, Any] = values
    return found


def of_model(values: dict[str, Any] | None, fingerprint: str, min_visibility: float) -> dict[str, Any] | None:
    """The calibration if it was made with these weights and this threshold; else None."""
    if values is None or (values["fingerprint"], values["min_visibility"]) != (fingerprint, min_visibility):
        return None
    return values


def images_calibrated_on(values: dict[str, Any] | None, info: ModelInfo) -> int | None:
    """How many images an index held when it was calibrated; None if it never was, or with another model."""
    found = of_model(values, info.fingerprint, info.threshold)
    return None if found is None else int(found["images"])


def damaged(where: object) -> StoreDamagedError:
    """The error for a damaged calibration."""
    return StoreDamagedError(f"{where} is damaged; run `vpmsearch calibrate` again")


def copy(source: Path, target: Path) -> None:
    """Copy the calibration to a copy of the index.

    Raises:
        StoreDamagedError: it is damaged.
    """
    values = read(source)
    if values is not None:
        write(target, values)


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=16).hexdigest()
