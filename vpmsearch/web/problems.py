"""What an error is to whoever asked."""

from __future__ import annotations

import logging

from starlette.exceptions import HTTPException

from vpmsearch.errors import DataError, DeviceError, FeatureError, StoreError, VpmsearchError

log = logging.getLogger("vpmsearch.web")


def problem_of(error: Exception) -> tuple[int, str]:
    """Status and text: 422 for what the caller can mend, 404 for an image that is not in the index; the rest is ours.

    An error that is not vpmsearch's own goes to the log, and nothing of it to whoever asked.
    """
    if isinstance(error, HTTPException):
        return error.status_code, str(error.detail)
    text = " ".join(str(error).split())
    if isinstance(error, StoreError):
        return (404 if "is not in the index" in text else 503), text
    if isinstance(error, FeatureError | DataError):
        return 422, text
    if isinstance(error, VpmsearchError):
        return (503 if isinstance(error, DeviceError) else 500), text
    log.error("a fault", exc_info=error)
    return 500, "a fault of vpmsearch; the server's log shows it"
