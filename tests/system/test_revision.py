"""The revision that results are marked with."""

from __future__ import annotations

import vpmsearch
import vpmsearch.system.revision as module


def test_the_source_revision_is_known_with_and_without_git(monkeypatch, tmp_path):
    assert module.source_revision().startswith(vpmsearch.__version__)
    with monkeypatch.context() as patched:
        patched.setenv("PATH", str(tmp_path))  # no git
        assert module.source_revision() == vpmsearch.__version__
    monkeypatch.setattr(module, "__file__", str(tmp_path / "site-packages" / "vpmsearch" / "system" / "revision.py"))
    assert module.source_revision() == vpmsearch.__version__
