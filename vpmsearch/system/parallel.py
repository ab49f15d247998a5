"""Work ahead of a consumer in threads, results in order.

Decoding and resizing release the interpreter lock, so threads keep a model busy without the costs of processes:
no copies of the data, no fork beside running threads, the same code in a notebook.
"""

from __future__ import annotations

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
