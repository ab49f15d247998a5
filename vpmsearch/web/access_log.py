"""Who asked for what, a line of JSON each: `vpmsearch serve --log`."""

from __future__ import annotations

import contextlib
import json
import logging
import logging.handlers
import sys
from datetime import UTC, datetime
from typing import TextIO

log = logging.getLogger("vpmsearch.web")


class AccessLog:
    """Writes a line per request. Of a query it has only the ids in paths: no photograph, no filter and no token.

    Args:
        target: a file, which is appended to and may be moved away while the server runs (logrotate); "-" is stderr.

    Raises:
        OSError: the file cannot be written to.
    """

    def __init__(self, target: str) -> None:
        # A file that was moved away is opened anew. The file is opened now, so a wrong path fails at the start.
        self._handler: logging.Handler = _Stderr(sys.stderr) if target == "-" else _File(target, encoding="utf-8")

    def write(self, **values: object) -> None:
        """A line: the time, then the values; None is left out."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        known = {name: value for name, value in values.items() if value is not None}
        text = json.dumps({"time": now, **known}, ensure_ascii=True)
        self._handler.handle(logging.makeLogRecord({"msg": text}))

    def close(self) -> None:
        """Close the file; on a full disk its last lines are lost."""
        with contextlib.suppress(OSError):
            self._handler.close()


class _TellsOnce(logging.Handler):
    """Says once that lines are lost, as on a full disk; the server goes on."""

    _lost = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        if not self._lost:
            self._lost = True
            log.error("the access log cannot be written (%s); lines are lost", sys.exc_info()[1])


class _Stderr(_TellsOnce, logging.StreamHandler[TextIO]):
    pass


class _File(_TellsOnce, logging.handlers.WatchedFileHandler):
    pass
