"""The option that names data sets. It lists them all, so it imports the table of layouts; other commands do without."""

from __future__ import annotations

from typing import Annotated

import typer

from vpmsearch.data.layout_table import NAMES

Datasets = Annotated[
    list[str] | None,
    typer.Option(
        "--dataset",
        help=f"The layout of each --data, in the same order: {', '.join(NAMES)}, folder or csv. docs/datasets.md says "
        "what each reads.",
        show_default="market1501",
    ),
]
