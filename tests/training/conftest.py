"""What all tests of the training share: a revision that stays."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import vpmsearch.training.parts as module


@pytest.fixture(scope="module", autouse=True)
def fixed_revision() -> Iterator[None]:
    """So that runs can be compared byte by byte while somebody commits; and git is not asked every epoch."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "source_revision", lambda: "0.1.0+test")
        yield
