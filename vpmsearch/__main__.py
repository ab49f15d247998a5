"""`python -m vpmsearch`."""

from vpmsearch.commands.application import main

main(prog_name="vpmsearch")
