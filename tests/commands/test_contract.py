"""What holds for all commands: help, exit statuses, one line of error, stdout for the answer alone."""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from tiny_weights import picture

from vpmsearch.commands import app, terminal

COMMANDS = typer.main.get_command(app).commands
ROOT = Path(__file__).parents[2]
DESIGNED = {
    "train",
    "index",
    "query",
    "evaluate",
    "compare",
    "stats",
    "verify",
    "remove",
    "compact",
    "upgrade",
    "show",
    "demo",
} | {
    "snapshot",
    "restore",
}


def test_all_commands_are_there():
    assert set(COMMANDS) >= DESIGNED


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_has_an_example_that_the_command_would_take(cli, name: str):
    shown = cli(name, "--help")
    assert shown.stderr == ""
    text = " ".join(shown.stdout.split())
    assert "Example: vpmsearch " in text
    program, command, *words = shlex.split(text.partition("Example: ")[2].partition("Options:")[0].partition("Arg")[0])
    assert (program, command) == ("vpmsearch", name)
    options = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options
    undocumented = [option.name for option in COMMANDS[name].params if not getattr(option, "help", None)]
    assert undocumented == []
    assert "--debug" in options


# exit 2: what cannot be parsed ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "fly",
        "query",
        "query a.png --flop",
        "query a.png --top ten",
        "query a.png --top 0",
        "query a.png --after yesterday",
        "query a.png --before 2024-13-01",
        "remove --before someday",
        "remove",
        "index g --batch-size 0",
        "index g --dataset holiday",
        "index g --embedding-dtype int8",
        "index g --index-type magic",
        "index g --index-type ybhnsw",  # a server's; the index here is a folder
        "index g --device tpu",
        "index g --min-visibility 2",
        "index g --precision int8",
        "index g --detect --detector magic",
        "train --epochs 0",
        "compact --wait -1",
        "snapshot",
        "restore",
        "train --num-regions 0x1",
        "train --num-regions six",
        "train --preset enormous",
        "train --system magic",
        "train --backbone vgg",
        "train --crop middle",
        "train --set size=1",
        "train --set epochs=many",
        "train --data d --dataset holiday",
        "train --frozen-runtime magic",
        "train --device tpu",
        "evaluate --data d --weighting loudness",
        "evaluate",
        "evaluate --data d --gamma half",
        "evaluate --data d --gamma 2",
        "evaluate --data d --crop middle",
        "evaluate --data d --dataset holiday",
        "evaluate --data d --matcher magic",
        "evaluate --data d --photo sepia",
        "evaluate --data d --fmr 2",
        "evaluate --data d --min-visibility -1",
        "evaluate --data d --precision int8",
        "evaluate --data d --device tpu",
        "evaluate --data d --tracks worst",
        "evaluate --data d --leave-out shoes",
        "evaluate --data d --runtime magic",
        "evaluate --data d --single-shot 0",
        "evaluate --data d --candidates 0",
        "compare a.csv",
        "reproduce table1",
        "reproduce --data d table9",
        "reproduce table1 --data d --preset enormous",
        "reproduce table1 --data d --set size=1",
        "reproduce table1 --data d --dataset holiday",
        "reproduce table1 --data d --device tpu",
        "bench --gamma 0",
        "bench --crop middle",
        "bench --device tpu",
        "calibrate --device tpu",
        "demo --device cuda:x",
        "layout d --timezone Mars",
        "query a.png --timezone Mars",
        "query a.png --device tpu",
        "serve --device tpu",
        "serve --detector magic",
        "serve --trusted-proxy nginx",
        "serve --root-path /..",
        "show a.png --device tpu",
        "show",
    ],
)
def test_what_cannot_be_parsed_is_status_2(cli, line: str):
    outcome = cli(*line.split(), code=2)
    assert outcome.stdout == ""
    assert outcome.stderr
    if len(line.split()) > 2:  # it says what
        assert any(word.lstrip("-") in outcome.stderr for word in line.split()[-2:])


def test_regions_that_no_index_has_are_status_2(cli, index: Path):
    picture(0).save("0.png")
    for wrong in ("nose", "6", "-1", "head,nose"):
        assert "--regions" in cli("query", "0.png", "--index", index, "--regions", wrong, code=2).stderr


# exit 1: what does not work ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("index missing --weights W", "missing does not exist"),
        ("index empty --weights W", "no images in empty"),
        ("index a-file/x --weights W", "a-file/x"),
        ("index a-file --weights W", "a-file"),
        ("index good", "no weights file"),
        ("index good --weights missing.safetensors", "missing.safetensors"),
        ("index good --weights a-file", "a-file is not a safetensors file"),
        ("index good --weights W --dataset csv", "good"),
        ("index good --weights W --dataset market1501", "named as in Market-1501"),
        ("index good --weights W --index a-file", "a-file"),
        ("index good --weights W --index good", "good is not empty"),
        ("index bad --weights W", "none of the 1 image in bad could be indexed"),
        ("query good/0.png", "no index at indexes/default"),
        ("query good/0.png --index good", "no index at good"),
        ("query missing.png --index I", "missing.png: there is no such file"),
        ("query bad/0.png --index I", "bad/0.png: not an image"),
        ("query good --index I", "good: a folder, not a regular file"),
        ("query good/0.png --index I --weights O", "none of these is that file"),
        ("query good/0.png --index I --weights missing.safetensors", "missing.safetensors"),
        ("query good/0.png --index I --panel panel.doc", "panel.doc"),
        ("query good/0.png --index I --panel missing/panel.png", "missing"),
        ("query good/0.png --index I --device cuda:99", "cuda:99"),
        ("show missing.png --weights W", "missing.png: there is no such file"),
        ("show good/0.png --weights W --output missing/o.png", "missing"),
        ("show good/0.png --weights W --output o.txt", "o.txt"),
        ("evaluate --data missing --weights W", "missing does not exist"),
        ("evaluate --data empty --weights W", "empty holds no query and bounding_box_test"),
        ("train --data missing", "missing does not exist"),
        ("train --data empty --dataset folder", "no images in empty"),
        ("train --data good --output weights.bin", "must end in .safetensors"),
        ("stats", "no index at indexes/default"),
        ("verify --index empty", "no index at empty"),
        ("remove --pid 1 --index empty", "no index at empty"),
        ("compact --index empty", "no index at empty"),
        ("upgrade --index empty", "no index at empty"),
        ("remove --pid 99 --index I", "nothing in I fits"),
        ("remove missing.png --index I", "nothing was removed: I has no image at"),
    ],
)
def test_what_does_not_work_is_status_1_and_one_line(
    cli, tmp_path: Path, weights: Path, other_weights: Path, index: Path, line: str, words: str
):
    (tmp_path / "a-file").write_text("just text")
    for name in ("empty", "good", "bad", "people/1"):
        (tmp_path / name).mkdir(parents=True)
    picture(0).save(tmp_path / "good" / "0.png")
    picture(0).save(tmp_path / "people" / "1" / "0.png")
    (tmp_path / "bad" / "0.png").write_bytes(b"no picture")
    places = {"W": weights, "O": other_weights, "I": index}
    outcome = cli(*[places.get(word, word) for word in line.split()], code=1)
    assert words.replace(" I ", f" {index} ") in outcome.error
    if line.startswith(("index", "train", "evaluate")) or "--panel" not in line:
        assert outcome.stdout == ""


@pytest.mark.parametrize("line", ["query missing.png --index I", "index missing --weights W", "stats --index missing"])
def test_debug_shows_where(cli, weights: Path, index: Path, line: str):
    words = [{"W": weights, "I": index}.get(word, word) for word in line.split()]
    outcome = cli(*words, "--debug", code=1)
    assert "Traceback (most recent call last)" in outcome.stderr
    assert outcome.error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ZeroDivisionError("division by zero"), "a fault of vpmsearch (ZeroDivisionError: division by zero); --debug"),
        (MemoryError(), "out of memory"),
        (OSError(28, "No space left on device", "/data/x"), "the disk is full (/data/x)"),
        (PermissionError(13, "Permission denied", "/data/x"), "Permission denied: '/data/x'"),
    ],
)
def test_what_nobody_foresaw_is_one_line_too(cli, monkeypatch, index: Path, error: Exception, words: str):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("vpmsearch.store.GalleryStore.stats", fail)
    assert words in cli("stats", "--index", index, code=1).error
    assert "Traceback" in cli("stats", "--index", index, "--debug", code=1).stderr


def test_an_interrupt_is_status_130(cli, monkeypatch, index: Path):
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vpmsearch.store.GalleryStore.stats", interrupt)
    assert "is kept" in cli("stats", "--index", index, code=130).stderr


# progress ---------------------------------------------------------------------------------------------------------


def test_progress_is_plain_lines_without_a_terminal(capsys, monkeypatch):
    with terminal.progress("walking", 30) as advance:
        for _ in range(29):
            advance(1)
        assert capsys.readouterr().err == ""  # nothing to tell before some seconds have passed
        monkeypatch.setattr(terminal, "PLAIN_SECONDS", 0.0)
        advance(0, "resting")
        advance(1)
    shown = capsys.readouterr()
    assert shown.out == ""
    first, last = shown.err.splitlines()
    assert first.startswith("walking: 29/30 (")
    assert first.endswith("/s) resting")
    assert last.startswith("walking: 30/30 (")


def test_begin_and_end_of_what_comes_after_the_last_are_said_at_once(capsys):
    with terminal.progress("indexing", 2) as advance:
        advance(1)
        tell = terminal.building(advance)
        tell(50, 300)  # one is still to come, whose line will say more
        tell(300, 300)
        advance(1)
        for built in (0, 100, 600):
            tell(built, 600)
        for built in (24, 700):  # a merge
            tell(built, 700)
    lines = capsys.readouterr().err.splitlines()
    numbers = [(0, 600), (600, 600), (24, 700), (700, 700)]
    assert [line.partition("/s)")[2] for line in lines] == ["", *(f" region indexes: {a}/{b}" for a, b in numbers)]


def test_the_last_line_of_an_index_run_says_that_all_is_built(cli, gallery: Path, common_weights: Path):
    told = cli("index", gallery, "--index", "fresh", "--weights", common_weights).stderr
    *_, (built, total) = re.findall(r"region indexes: (\d+)/(\d+)", told)
    assert built == total


def test_progress_is_a_bar_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    with terminal.progress("walking", 3) as advance:
        advance(2)
        advance(1, "there")
    shown = sys.stderr.getvalue()
    assert "walking" in shown
    assert "3/3" in shown
    assert "there" in shown


# as a process -----------------------------------------------------------------------------------------------------


def process(*args: object, **settings) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **settings.pop("env", {})}
    command = [sys.executable, "-m", "vpmsearch", *args]
    return subprocess.run(command, capture_output=True, check=False, env=environment, timeout=300, **settings)


def test_help_answers_without_torch(tmp_path: Path):
    done = process("--help", cwd=tmp_path, env={"PYTHONPROFILEIMPORTTIME": "1"})
    assert done.returncode == 0
    assert all(f" {name} ".encode() in done.stdout for name in DESIGNED)
    modules = {line.rpartition(b"|")[2].strip() for line in done.stderr.splitlines()}
    assert b"typer" in modules
    assert not modules & {b"torch", b"faiss", b"sqlalchemy", b"h5py", b"matplotlib"}


def test_a_reader_who_left_is_no_failure_worth_a_message(index: Path):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "vpmsearch", "stats", "--index", str(index)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with os.fdopen(writing, "wb") as stdout:
        done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, check=False, env=environment, timeout=300)
    assert done.stderr == b""
    assert done.returncode == 1


@pytest.mark.slow
def test_index_query_and_verify_as_processes(tmp_path: Path, gallery: Path, common_weights: Path):
    import json

    name = b"caf\xe9.png"  # no UTF-8
    (tmp_path / "g").mkdir()
    picture(8).save(tmp_path / "g" / "8.png")
    Path(os.fsdecode(os.fsencode(tmp_path / "g") + b"/" + name)).write_bytes((tmp_path / "g/8.png").read_bytes())
    latin = {
        "env": {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "VPMSEARCH_WEIGHTS": str(common_weights)},
        "cwd": tmp_path,
    }
    indexed = process("index", gallery, **latin)
    assert (indexed.returncode, indexed.stdout) == (0, b"")
    again = process("index", b"g", **latin)
    assert again.returncode == 0
    assert b"caf\\udce9.png" in again.stderr
    assert b"1 indexed" in again.stderr
    found = process("query", b"g/8.png", b"g/" + name, "--json", "--top", "1", **latin)
    assert found.returncode == 0, found.stderr
    first, second = (json.loads(line) for line in found.stdout.splitlines())
    assert (first["query"], second["query"]) == ("g/8.png", "g/caf\\udce9.png")
    assert first["matches"][0]["path"] == second["matches"][0]["path"] == str(tmp_path / "g" / "8.png")
    assert process("verify", **latin).returncode == 0
    gone = process("query", "gone.png", **latin)
    assert gone.returncode == 1
    assert b"Traceback" not in gone.stderr
