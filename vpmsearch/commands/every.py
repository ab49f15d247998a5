"""The application with all its commands, for whoever wants to know them: tests, pages, completion."""

from vpmsearch.commands.application import application

app = application()
