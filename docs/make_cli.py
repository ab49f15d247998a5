"""Write docs/cli.md from the commands' own --help; with --check, fail if the page is stale."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import typer
from typer.testing import CliRunner

PAGE = Path(__file__).parent / "cli.md"
HEAD = """# The command line

Made by `make docs` from each command's `--help`; `make check` fails when it is stale.

Every command exits 0 when all went well, 1 when the work failed (one line on stderr says why; `--debug` shows the
traceback), 2 when the arguments cannot be understood. A command that is told to stop ends with 128 and the signal's
number: 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP. Answers go to stdout, everything else to stderr.
"""


def page() -> str:
    """The page as it should be."""
    os.environ |= {"COLUMNS": "100", "TERMINAL_WIDTH": "100"}
    from vpmsearch.commands import app  # after the width is set

    parts = [HEAD]
    for command in typer.main.get_command(app).commands:
        result = CliRunner().invoke(app, [command, "--help"], prog_name="vpmsearch")
        lines = "\n".join(line.rstrip() for line in result.stdout.strip().splitlines())
        parts.append(f"## vpmsearch {command}\n\n```text\n{lines}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    if "--check" not in sys.argv:
        PAGE.write_text(page())
    elif not PAGE.is_file() or PAGE.read_text() != page():
        sys.exit("docs/cli.md is stale; run `make docs`")
