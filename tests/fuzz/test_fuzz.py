"""Whatever the bytes of a file, it is taken or refused by one line: no crash, no hang, no gigabyte, no code run.

Every failure names its target and seed: `python tests/fuzz/runner.py TARGET SEED 1` repeats it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for the child, too

from mutations import mutate
from runner import fuzz
from targets import TARGETS

GROUPS = {  # target: inputs of the short form; a group is one process
    # Without torch, and with what libtiff prints: see NOISY.
    "images": dict.fromkeys(["jpeg", "png", "tiff", "webp", "avif", "gif", "bmp", "ppm"], 8),
    # Together, for each would spend most of its time on loading the same libraries.
    "others": {
        **dict.fromkeys(["weights", "checkpoint-sgd", "checkpoint-adamw"], 6),
        **dict.fromkeys(["csv", "jsonl"], 20),
        **dict.fromkeys(["hdf5", *(name for name in TARGETS if name.startswith("faiss-"))], 8),
        **dict.fromkeys(["sqlite", "sqlite-values"], 6),
    },
}
LONG = 400


def check(report, counts):
    assert report.failures == []
    assert report.inputs == sum(counts.values())
    for name, count in counts.items():  # a target that refuses everything, or nothing, tests nothing
        assert sum(report.outcomes[name].values()) == count
    return report


@pytest.mark.parametrize("group", GROUPS)
def test_short(group):
    check(fuzz([(name, 0, count) for name, count in GROUPS[group].items()]), GROUPS[group])


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_long(name):
    report = check(fuzz([(name, 1000, LONG)]), {name: LONG})
    assert len(report.outcomes[name]) >= 2


def test_every_target_is_in_a_group():
    assert sorted(name for group in GROUPS.values() for name in group) == sorted(TARGETS)


def test_the_same_seed_gives_the_same_input():
    samples = [bytes(range(256)) * 20, b"other" * 100]
    inputs = [mutate(samples, seed) for seed in range(300)]
    assert inputs == [mutate(samples, seed) for seed in range(300)]
    assert len(set(inputs)) > 250


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise ValueError('x')", "ValueError"),
        ("import os; os.kill(os.getpid(), 11)", "ended with -11"),
        ("bytearray(3 << 30)", "more than"),
        ("__import__('os').system('true')", "code ran"),
        ("raise VpmsearchError('two\\nlines')", "one clear line"),
    ],
)
def test_the_watch_sees_what_it_watches_for(body, words, monkeypatch, tmp_path):
    # A child with a target that breaks the rule: otherwise a silent watch would pass everything.
    copy = tmp_path / "fuzz"
    copy.mkdir()
    for name in ("child.py", "mutations.py"):
        (copy / name).write_bytes((Path(__file__).parent / name).read_bytes())
    (copy / "targets.py").write_text(
        "from types import SimpleNamespace\nfrom vpmsearch.errors import VpmsearchError\nfrom mutations import mutate\n"
        f"def run(path):\n    if path.name != 'input.x':\n        return\n    {body}\n"
        "TARGETS = {'t': SimpleNamespace(suffix='.x', samples=lambda: [b'abc'], run=run, damage=mutate)}\n"
    )
    monkeypatch.setattr("runner.HERE", copy)
    report = fuzz([("t", 5, 1)])
    assert report.inputs == 1
    assert len(report.failures) == 1
    assert "t seed 5" in report.failures[0]
    assert words in report.failures[0]
