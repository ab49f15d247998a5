"""Launcher for a checkout: `python cli.py …` is the installed command `vpmsearch …`."""

from vpmsearch.commands import app

if __name__ == "__main__":
    app(prog_name="vpmsearch")
