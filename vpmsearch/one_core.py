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


def on_one_core(function: Callable[[], Result]) -> Result:
    """Call a function in a thread in which torch uses one core.

    A few hundred images are compared in a millisecond. Spread over all cores that takes no less, and waits for each of
    them at every step: ten times as long where other searches keep them busy.

    Raises:
        BaseException: what the function raises.
    """
    return _one_core_threads().submit(function).result()


@functools.cache
def _one_core_threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="one-core", initializer=_stay_on_one_core)


# The threads of a process are not in its fork.
os.register_at_fork(after_in_child=_one_core_threads.cache_clear)

_one_at_a_time = threading.Lock()


def _stay_on_one_core() -> None:
    """Torch keeps how many cores a thread uses with the thread, and what new threads start with for the process."""
    with _one_at_a_time:
        usual = torch.get_num_threads()
        torch.set_num_threads(1)
        other = threading.Thread(target=torch.set_num_threads, args=(usual,))
        other.start()
        other.join()
