"""A module that is imported late, by whichever thread needs it first."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from vpmsearch.system import lazy


def test_two_threads_that_need_a_module_at_once_both_get_all_of_it(tmp_path, monkeypatch):
    """Half made, it stands in `sys.modules` already."""
    begun, go_on = threading.Event(), threading.Event()
    monkeypatch.setattr(threading, "of_the_module", (begun, go_on), raising=False)
    (tmp_path / "takes_long.py").write_text(
        "import threading\nbegun, go_on = threading.of_the_module\nbegun.set()\nassert go_on.wait(60)\nlast = 7\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    late = lazy.module("takes_long")
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(lambda: late.last)
        assert begun.wait(60)
        second = pool.submit(lambda: late.last)
        threading.Timer(0.2, go_on.set).start()
        try:
            assert (first.result(60), second.result(60)) == (7, 7)
        finally:
            go_on.set()
            sys.modules.pop("takes_long", None)
