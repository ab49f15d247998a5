"""Work ahead of a consumer in threads, results in order.

Decoding and resizing release the interpreter lock, so threads keep a model busy without the costs of processes:
no copies of the data, no fork beside running threads, the same code in a notebook.
"""

from __future__ import annotations

import functools
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], *, workers: int, ahead: int
) -> Iterator[Result]:
    """Like `map`, computed by `workers` threads up to `ahead` items before they are asked for.

    Args:
        function: called in a thread; what it raises is raised here, at its place in the order.
        items: taken lazily. workers: 0 computes in the caller. ahead: at least 1.
    """
    if workers == 0:
        yield from map(function, items)
        return
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="vpmsearch") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # the consumer left or something failed: do not compute the rest
            for future in waiting:
                future.cancel()


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
    import torch

    with _one_at_a_time:
        usual = torch.get_num_threads()
        torch.set_num_threads(1)
        other = threading.Thread(target=torch.set_num_threads, args=(usual,))
        other.start()
        other.join()
