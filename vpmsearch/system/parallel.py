"""Work in threads: ahead of a consumer, with results in order, or spread over the cores.

Decoding, resizing and array arithmetic release the interpreter lock, so threads can use all cores. Processes would copy
the data, fork beside running threads, and need other code in a notebook.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], *, workers: int, ahead: int
) -> Iterator[Result]:
    """Like `map`, but `workers` threads compute up to `ahead` results before they are needed.

    Args:
        function: called in a thread. Its exception is raised here, at the item's place in the order.
        items: taken lazily. workers: with 0 the caller computes. ahead: at least 1.
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
        finally:  # if the consumer stopped or something failed, the rest is not computed
            for future in waiting:
                future.cancel()


def spread(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Like `map`, spread over the cores. The results are a list in order.

    The threads are started once in a process. The caller works too; if no thread can be started, it does everything.

    Args:
        function: its exception is raised here. It may call `spread` itself: a caller that waits computes the items that
            no thread has begun, so nothing can block.
        items: all of them, as a sequence.
    """
    waiting: list[Future[Result]] = []
    if len(items) > 1 and (os.cpu_count() or 1) > 1:
        with contextlib.suppress(RuntimeError):  # no more threads in this process, or it is about to end
            for item in items[1:]:
                waiting.append(_cores().submit(function, item))
    try:
        first = [function(item) for item in items[:1]]
        others = [_result(future, function, item) for future, item in zip(waiting, items[1:], strict=False)]
        return first + others + [function(item) for item in items[len(first) + len(others) :]]
    finally:  # if something failed, the items that no thread has begun are not computed
        for future in waiting:
            future.cancel()


def _result(future: Future[Result], function: Callable[[Item], Result], item: Item) -> Result:
    """The result of a future. If no thread has begun it, it is computed here."""
    return function(item) if future.cancel() else future.result()


@functools.cache
def _cores() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="cores")


if hasattr(os, "register_at_fork"):  # a forked process has no copy of the threads
    os.register_at_fork(after_in_child=_cores.cache_clear)
