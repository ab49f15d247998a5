"""The command line, `vpmsearch`: thin commands that parse, call and print.

Nothing here imports torch until a command needs it, so that `--help` answers at once.
"""

import typer

from vpmsearch.commands import (
    bench,
    calibrate,
    care,
    compare,
    demo,
    evaluate,
    export,
    index,
    layout,
    query,
    reproduce,
    serve,
    show,
    train,
    transfer,
)

app = typer.Typer(
    name="vpmsearch",
    help="Search a gallery of person crops with a probe that may show only a part of the person.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for module in (
    train,
    index,
    layout,
    query,
    serve,
    calibrate,
    evaluate,
    compare,
    reproduce,
    show,
    bench,
    care,
    transfer,
    export,
    demo,
):
    module.register(app)

__all__ = ["app"]
