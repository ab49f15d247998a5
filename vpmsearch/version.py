"""The version of this package, where every module can read it without importing the package's public names."""

from __future__ import annotations

VERSION = "0.1.0"
