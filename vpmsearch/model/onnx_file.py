"""Exported models as files: the one in the package, and those in the user's cache folder.

An export takes longer than indexing a small gallery, so it is kept. A kept file begins with the SHA-256 of the rest. It
is used only if that hash is right and nobody but this user can write the file or its folder. The hash notices damage;
owner and mode are the defence against an attacker.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from vpmsearch.errors import WeightsError
from vpmsearch.model.weights import EARLIER, SHIPPED, LoadedWeights
from vpmsearch.model.weights_file import fingerprint
from vpmsearch.system.atomic import replacing

INPUT, OUTPUTS = "pixels", ("visibility", "embeddings", "probabilities")
METADATA = "vpmsearch"
"""Key in the file's metadata. Its value is JSON with the weights' configuration and fingerprint."""
CACHE = "XDG_CACHE_HOME"
"""Environment variable with the folder for caches of all programs; the default is ~/.cache."""
_OTHERS_MAY_WRITE = 0o022
_SUM_BYTES = hashlib.sha256().digest_size


def packaged(weights: LoadedWeights) -> bytes | None:
    """The exported model in the package, if these are weights of the package.

    It lies beside them and is what `export.compact_bytes` makes of them.
    """
    if weights.fingerprint[:12] not in SHIPPED:
        return None
    for path in EARLIER:
        try:
            if fingerprint(path) == weights.fingerprint:
                return path.with_suffix(".onnx").read_bytes()
        except (OSError, WeightsError):
            continue
    return None


def exported_path(fingerprint: str) -> Path:
    """Where the exported model of the weights with this fingerprint is kept.

    Raises:
        OSError: this user has no home folder.
    """
    return _folder() / f"{fingerprint}.model"


def cache_folder() -> Path | None:
    """The folder of kept models, created if missing. None if it cannot be created or others may write to it."""
    try:
        folder = _folder()
        _make(folder)
    except OSError:
        return None
    return folder


def _folder() -> Path:
    given = os.environ.get(CACHE, "")
    try:
        # A relative path is to be ignored, says the XDG base directory specification.
        caches = Path(given) if Path(given).is_absolute() else Path.home() / ".cache"
    except RuntimeError as error:
        raise FileNotFoundError(errno.ENOENT, "this user has no home folder", "~/.cache") from error
    return caches / "vpmsearch"


def read_kept(fingerprint: str) -> bytes | None:
    """The kept model, or None: there is none, it is damaged, or others may have written it."""
    try:
        path = exported_path(fingerprint)
        if not _is_ours(path.parent.stat()):
            return None
        with path.open("rb") as file:
            if not _is_ours(os.fstat(file.fileno())):
                return None
            expected, content = file.read(_SUM_BYTES), file.read()
    except OSError:
        return None
    return content if hashlib.sha256(content).digest() == expected else None


def place_to_keep(fingerprint: str, tell: Callable[[str], None]) -> Path | None:
    """Create the folder for an export and return its path; None if it cannot be kept. `tell` gets one line."""
    try:
        path = exported_path(fingerprint)
        _make(path.parent)
    except OSError as error:
        tell(f"exporting the model: some 15 seconds at each start, as {_not_kept(error)}")
        return None
    tell(f"exporting the model, once, to {path}: some 15 seconds")
    return path


def keep(path: Path, content: bytes, tell: Callable[[str], None]) -> None:
    """Write the file, whole or not at all. Other processes may write the same one at the same time."""
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(hashlib.sha256(content).digest() + content)
        path.chmod(0o600)  # under a umask of 002 the group could write it, and then `read_kept` would refuse it
    except OSError as error:
        tell(f"the exported model is used now, but {_not_kept(error)}")


def _make(folder: Path) -> None:
    """Create a folder that only this user may write to.

    Raises:
        OSError: it cannot be created, others may write to it, or this user may not.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _is_ours(folder.stat()):
        raise PermissionError(errno.EPERM, "another user's, or others may write to it (chmod go-w)", str(folder))
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "it cannot be written", str(folder))


def _is_ours(status: os.stat_result) -> bool:
    return status.st_uid == os.geteuid() and not status.st_mode & _OTHERS_MAY_WRITE


def _not_kept(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return f"it is not kept ({where}{error.strerror or error}); ${CACHE} may name another folder"
