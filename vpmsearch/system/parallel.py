"""Work in threads: ahead of a consumer with results in order, or spread over the cores.

Decoding, resizing and arithmetic on arrays release the interpreter lock, so threads keep a machine busy without the
costs of processes: no copies of the data, no fork beside running threads, the same code in a notebook.
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


def spread(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Like `map`, over the cores, by threads that are started once in a process; results in order.

    The caller works too. Where no thread can be had, it does all of it.

    Args:
        function: what it raises is raised here; it may call `spread` itself, as who waits computes what nobody began.
        items: known beforehand.
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
    finally:  # something failed: do not compute what has not begun
        for future in waiting:
            future.cancel()


def _result(future: Future[Result], function: Callable[[Item], Result], item: Item) -> Result:
    """What a future holds; one that no thread has begun is computed here."""
    return function(item) if future.cancel() else future.result()


@functools.cache
def _cores() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="cores")


if hasattr(os, "register_at_fork"):  # the threads of a process are not in its fork
    os.register_at_fork(after_in_child=_cores.cache_clear)
