"""Turns an error into the status and text of an answer."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from functools import partial

from starlette.exceptions import HTTPException

from vpmsearch.errors import DataError, DetectorError, DeviceError, FeatureError, StoreError, VpmsearchError

log = logging.getLogger("vpmsearch.web")

_PLACE = re.compile(r"(?<![\w.~/-])(?:/[^/\s:;,()'\"]+)+/([^/\s:;,()'\"]+)")
"""An absolute path of two parts or more; the group is its last part."""


def problem_of(error: Exception, hidden: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Status and text: 422 for what the caller can fix, 404 for an image that is not in the index, else a server error.

    The text tells nothing of an error that is not vpmsearch's own; the log shows it. Of vpmsearch's own server errors
    the log shows everything, and the text leaves out where the server's files are.

    Args:
        hidden: paths, and the text that replaces each. Of other absolute paths the text shows the last part.
    """
    if isinstance(error, HTTPException):
        return error.status_code, str(error.detail)
    text = " ".join(str(error).split())
    if isinstance(error, StoreError):
        status = 404 if "is not in the index" in text else 503
    elif isinstance(error, DetectorError):  # the server's own file, and no fault of whoever asks
        status = 503
    elif isinstance(error, FeatureError | DataError):
        status = 422
    elif isinstance(error, VpmsearchError):
        status = 503 if isinstance(error, DeviceError) else 500
    else:
        log.error("a fault", exc_info=error)
        return 500, "a fault of vpmsearch; the server's log shows it"
    if status >= 500:
        log.warning("%s", text)
    return status, _without_places(text, hidden or {})


def _instead(text: str, _: re.Match[str]) -> str:
    return text


def _without_places(text: str, hidden: Mapping[str, str]) -> str:
    for place in sorted((each for each in hidden if len(each) > 1), key=len, reverse=True):  # one may be in the other
        end = "" if place.endswith("/") else r"(?![\w-])"
        text = re.sub(rf"(?<![\w./-]){re.escape(place)}{end}", partial(_instead, hidden[place]), text)
    return _PLACE.sub(r"\1", text)
