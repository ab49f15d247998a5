"""on_one_core: one core, for that thread alone."""

from __future__ import annotations

import multiprocessing
import os
import threading
import warnings

import pytest
import torch

from vpmsearch.search import one_core
from vpmsearch.search.one_core import on_one_core
from vpmsearch.system.parallel import map_ahead


def test_one_core_is_for_what_asked_for_it():
    before = torch.get_num_threads()
    one_core._threads.cache_clear()  # threads that other tests began are set already
    torch.set_num_threads(3)
    try:
        assert on_one_core(torch.get_num_threads) == 1
        assert torch.get_num_threads() == 3
        elsewhere = list(map_ahead(lambda _: torch.get_num_threads(), range(1), workers=1, ahead=1))
        assert elsewhere == [3]  # a thread that began later
    finally:
        torch.set_num_threads(before)


def test_what_fails_on_one_core_is_told():
    with pytest.raises(ZeroDivisionError):
        on_one_core(lambda: 1 // 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_one_core_in_a_fork():
    """The threads of the parent are not there: a child that waited for them would wait for ever."""
    assert on_one_core(lambda: 7) == 7
    done = multiprocessing.get_context("fork").Process(target=on_one_core, args=(lambda: 7,))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
        done.start()
    done.join(20)
    assert done.exitcode == 0


def test_one_core_within_one_core():
    def within(depth: int) -> int:
        return depth if depth == 0 else on_one_core(lambda: within(depth - 1))

    assert on_one_core(lambda: within(2 * (os.cpu_count() or 1))) == 0


def test_where_there_are_no_more_threads_the_caller_works(monkeypatch):
    def refuse(_):
        raise RuntimeError("can't start new thread")

    before = torch.get_num_threads()
    one_core._threads.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert on_one_core(lambda: 7) == 7
    assert on_one_core(lambda: 8) == 8
    one_core._threads.cache_clear()
    assert on_one_core(torch.get_num_threads) == 1
    started = threading.Thread.start
    one_core._threads.cache_clear()

    def only_of_the_pool(thread):
        return started(thread) if thread.name.startswith("one-core") else refuse(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", only_of_the_pool)
        assert on_one_core(lambda: 9) == 9
    assert on_one_core(lambda: 10) == 10
    assert torch.get_num_threads() == before
    assert list(map_ahead(lambda _: torch.get_num_threads(), range(1), workers=1, ahead=1)) == [before]
    one_core._threads.cache_clear()  # its one thread uses all cores
