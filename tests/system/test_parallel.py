"""map_ahead: order, errors, laziness, and no thread left behind."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpmsearch.system.parallel import map_ahead

WAYS = [(0, 1), (1, 1), (2, 1), (3, 6)]


def our_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("vpmsearch")]


@given(items=st.lists(st.integers(), max_size=20), workers=st.integers(0, 3), ahead=st.integers(1, 8))
def test_it_is_map(items, workers, ahead):
    assert list(map_ahead(lambda x: x * 2, items, workers=workers, ahead=ahead)) == [x * 2 for x in items]


def test_results_keep_their_order_whichever_is_done_first():
    def slow_first(item):
        time.sleep(0.02 if item % 3 == 0 else 0)
        return item

    assert list(map_ahead(slow_first, range(12), workers=3, ahead=6)) == list(range(12))


@pytest.mark.parametrize(("workers", "ahead"), WAYS)
def test_items_are_taken_lazily(workers, ahead):
    taken = []

    def items():
        for item in range(1000):
            taken.append(item)
            yield item

    results = map_ahead(lambda x: x, items(), workers=workers, ahead=ahead)
    assert taken == []
    assert [next(results) for _ in range(5)] == list(range(5))
    assert len(taken) <= 5 + ahead
    results.close()
    assert len(taken) <= 5 + ahead


@pytest.mark.parametrize(("workers", "ahead"), WAYS)
def test_an_error_comes_at_its_place(workers, ahead):
    def fail_at_3(item):
        if item == 3:
            raise KeyError("three")
        return item

    results = map_ahead(fail_at_3, range(10), workers=workers, ahead=ahead)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError, match="three"):
        next(results)
    assert our_threads() == []


@pytest.mark.parametrize(("workers", "ahead"), WAYS)
def test_an_error_of_the_items_comes_through(workers, ahead):
    def items():
        yield 1
        raise OSError("the folder went away")

    with pytest.raises(OSError, match="went away"):
        list(map_ahead(lambda x: x, items(), workers=workers, ahead=ahead))
    assert our_threads() == []


def test_work_is_done_ahead_and_at_once():
    """Two items run at the same time, or the barrier breaks."""
    barrier = threading.Barrier(2, timeout=20)
    assert list(map_ahead(lambda _: barrier.wait() >= 0, range(4), workers=2, ahead=4)) == [True] * 4


def test_without_workers_the_caller_works():
    names = list(map_ahead(lambda _: threading.current_thread().name, range(3), workers=0, ahead=1))
    assert names == [threading.current_thread().name] * 3


@pytest.mark.parametrize("take", [0, 1, 3])
def test_a_consumer_that_leaves_ends_the_threads(take):
    done = []

    def work(item):
        time.sleep(0.005)
        done.append(item)

    results = map_ahead(work, range(1000), workers=2, ahead=20)
    for _ in range(take):
        next(results)
    results.close()
    assert our_threads() == []
    assert len(done) <= take + 25
