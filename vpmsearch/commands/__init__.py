"""The command line, `vpmsearch`: thin commands that parse, call and print.

Nothing here imports torch until a command needs it, so that `--help` answers at once. `app` has all commands and is
made when it is asked for; `application.main` is what a process runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpmsearch.system import lazy

if TYPE_CHECKING:
    from vpmsearch.commands.every import app

__all__ = ["app"]

__getattr__ = lazy.names(__name__, {"app": "vpmsearch.commands.every"})
