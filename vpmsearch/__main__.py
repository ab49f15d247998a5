"""`python -m vpmsearch`."""

from vpmsearch.commands import app

app(prog_name="vpmsearch")
