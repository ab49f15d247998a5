"""Everything vpmsearch raises on purpose.

    VpmsearchError
    ├── DataError               a data set, manifest or folder cannot be used
    │   ├── ImageError          one image cannot be read
    │   └── DetectorError       a detector of people cannot be opened or run
    ├── ModelError              an unknown backbone, preset or impossible configuration
    │   └── WeightsError        a weights file is missing, damaged or of another kind
    ├── TrainingError           training cannot start or go on
    ├── FeatureError            embeddings or visibilities that must not be stored or compared
    ├── DeviceError             a device that is not there
    └── StoreError              an index cannot be used
        ├── StoreNotFoundError  there is no index at that path
        ├── StoreLockedError    another process is writing
        ├── StoreVersionError   written by another version; says whether `upgrade` helps
        ├── StoreDamagedError   a file of the index is missing or not what it should be
        └── ModelMismatchError  features of other weights than the index was built with

Each message says what is wrong, where, and what to do. The command line turns any of them into one
line on stderr and exit status 1.
"""


class VpmsearchError(Exception):
    """The root: `except VpmsearchError` catches all that vpmsearch raises on purpose."""


class DataError(VpmsearchError):
    """A data set, manifest or folder cannot be used."""


class ImageError(DataError):
    """One image cannot be read.

    reason: what is wrong, without the path; the catalog's `rejected` table stores it. path: the file, as text
    that can be printed, or "". The message is both.
    """

    def __init__(self, reason: str, path: str = "") -> None:
        super().__init__(f"{path}: {reason}" if path else reason)
        self.reason = reason
        self.path = path


class DetectorError(DataError):
    """A detector of people cannot be opened or run."""


class ModelError(VpmsearchError):
    """An unknown backbone, preset or impossible configuration."""


class WeightsError(ModelError):
    """A weights file is missing, damaged or of another kind."""


class TrainingError(VpmsearchError):
    """Training cannot start or go on."""


class FeatureError(VpmsearchError):
    """Embeddings or visibilities that must not be stored or compared: not finite, or of a wrong shape."""


class DeviceError(VpmsearchError):
    """A device that is not there."""


class StoreError(VpmsearchError):
    """An index cannot be used."""


class StoreNotFoundError(StoreError):
    """There is no index at that path."""


class StoreLockedError(StoreError):
    """Another process is writing to the index."""


class StoreVersionError(StoreError):
    """The index was written by another version of vpmsearch."""


class StoreDamagedError(StoreError):
    """A file of the index is missing or not what it should be."""


class ModelMismatchError(StoreError):
    """Features of other weights than the index was built with."""


class DiskFullWarning(UserWarning):
    """An index lies on a full disk: it is read, and nothing can be written to it until there is room."""
