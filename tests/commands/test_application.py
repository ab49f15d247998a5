"""A process imports the module of the command that it runs, and of no other."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest
from typer.main import get_command

from vpmsearch.commands import app
from vpmsearch.commands.application import MODULES, application, main


@pytest.mark.parametrize("module", MODULES)
def test_the_table_names_the_commands_of_each_module(module):
    assert tuple(get_command(application([module])).commands) == MODULES[module]


def test_all_commands_are_there_where_none_is_named():
    assert list(get_command(app).commands) == [name for names in MODULES.values() for name in names]


def test_a_process_imports_its_own_command_alone():
    code = (
        "import sys; sys.argv = ['vpmsearch', 'stats', '--help']\n"
        "from vpmsearch.commands.application import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted(n for n in sys.modules if n.startswith(('vpmsearch.commands.', 'vpmsearch.data', 'faiss'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = done.stdout.splitlines()[-1]
    assert "vpmsearch.commands.care" in modules
    for other in ("commands.query", "commands.index", "vpmsearch.data", "faiss"):
        assert other not in modules


@pytest.mark.parametrize("torch", [True, False])
def test_the_last_collection_runs_with_torch_alone(torch, monkeypatch):
    """Without it nanobind, by which triton is made, prints pages about leaks."""
    frozen = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(1))
    monkeypatch.setattr(sys, "argv", ["vpmsearch", "stats", "--help"])
    (monkeypatch.setitem if torch else monkeypatch.delitem)(sys.modules, "torch", *([sys] if torch else [False]))
    with pytest.raises(SystemExit):
        main()
    assert bool(frozen) is not torch
