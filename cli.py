"""Launcher for a checkout: `python cli.py …` is the installed command `vpmsearch …`."""

from vpmsearch.commands.application import main

if __name__ == "__main__":
    main(prog_name="vpmsearch")
