"""When to commit: what a kill costs, and how seldom that is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vpmsearch.indexing.pace import COMMIT_IMAGES, LOST_SECONDS, Pace


class Run:
    """An indexing run by a clock of its own; `lost` is what a kill at the worst moment would have cost."""

    def __init__(self) -> None:
        self.now = self.begun = self.lost = 0.0
        self.pace = Pace(lambda: self.now)
        self.commits: list[float] = []

    def batch(self, seconds: float, commit: float, merge: float = 0.0, pending: int = 32) -> None:
        self.now += seconds
        if self.pace.is_due(pending):
            self.now += commit
            self.lost = max(self.lost, self.now - self.begun)  # killed just before the commit lasts
            self.now += merge
            self.pace.committed(commit)
            self.begun = self.now
            self.commits.append(self.now)
        self.lost = max(self.lost, self.now - self.begun)


@given(st.floats(0.01, 8.0), st.floats(0.0, 2.0), st.floats(0.0, 300.0))
def test_a_kill_at_any_moment_costs_at_most_20_seconds(batch: float, commit: float, merge: float):
    run = Run()
    for _ in range(2000):
        run.batch(batch, commit, merge)
        if len(run.commits) > 3:
            break
    assert run.commits
    assert run.lost <= LOST_SECONDS


@given(st.lists(st.floats(0.05, 2.0), min_size=300, max_size=300), st.floats(0.0, 1.0))
def test_batches_of_any_length(batches: list[float], commit: float):
    run = Run()
    for seconds in batches:
        run.batch(seconds, commit)
    # A batch may take longer than the longest so far by less than 2 s, and 2 s are spared for that.
    assert run.lost <= LOST_SECONDS
    # Nor is it often: after 20 s less a batch, a commit and what is spared.
    assert len(run.commits) <= sum(batches) / (LOST_SECONDS - 2 - 2 * 2.0 - 2 * 1.0) + 1


def test_a_batch_that_takes_longer_costs_itself():
    run = Run()
    for _ in range(3):
        run.batch(60.0, 0.1)
    assert len(run.commits) == 3
    run = Run()
    run.batch(30.0, 0.0)  # the machine slept
    for _ in range(200):
        run.batch(0.5, 0.0)
    assert len(run.commits) < 15  # and is forgotten


def test_many_images_are_committed_at_once():
    pace = Pace(lambda: 0.0)
    assert not pace.is_due(COMMIT_IMAGES - 1)
    assert pace.is_due(COMMIT_IMAGES)
