"""Little work on one core of a machine whose others do something else."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Result = TypeVar("Result")

_thread = threading.local()  # alone: whether the thread is one of these


def on_one_core(function: Callable[[], Result]) -> Result:
    """Call a function in a thread in which torch uses one core.

    A few hundred images are compared in a millisecond. Spread over all cores that takes no less, and waits for each of
    them at every step: ten times as long where other searches keep them busy. Where no thread can be had, the caller's
    own does the work.

    Raises:
        BaseException: what the function raises.
    """
    if getattr(_thread, "alone", False):
        return function()
    try:
        waiting = _threads().submit(_alone, function)
    except RuntimeError:  # no more threads in this process, or it is about to end
        return function()
    return waiting.result()


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="one-core")


_one_at_a_time = threading.Lock()


def _forget() -> None:
    """The threads of a process are not in its fork, which may find their lock taken."""
    global _one_at_a_time
    _one_at_a_time = threading.Lock()
    _threads.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _alone(function: Callable[[], Result]) -> Result:
    if not getattr(_thread, "alone", False):
        _stay_on_one_core()
        _thread.alone = True
    return function()


def _stay_on_one_core() -> None:
    """Torch keeps how many cores a thread uses with the thread, and what new threads start with for the process."""
    with _one_at_a_time:
        usual = torch.get_num_threads()
        torch.set_num_threads(1)
        other = threading.Thread(target=torch.set_num_threads, args=(usual,))
        try:
            other.start()
        except RuntimeError:  # no more threads: all cores, as everywhere
            torch.set_num_threads(usual)
        else:
            other.join()
