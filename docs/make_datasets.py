"""Write docs/datasets.md from the table of layouts; with --check, fail if the page is stale."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from vpmsearch.data.image_files import EXTENSIONS
from vpmsearch.data.labelled import LEFT_OUT
from vpmsearch.data.layout import Halves, Layout, Part
from vpmsearch.data.layout_table import LAYOUTS
from vpmsearch.data.manifest_values import ALIASES, COLUMNS
from vpmsearch.data.patterns import FIELD_ALIASES


def _aliases(names: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{', '.join(others)} for {name}" for name, others in names.items())


PAGE = Path(__file__).parent / "datasets.md"
HEAD = f"""# Data sets

Made by `make docs` from the table of layouts (`vpmsearch/data/layout_table.py`); `make check` fails when it is stale.

`vpmsearch layout PATH` says which of them a folder looks like and what would be read of it, and of a list of images or
a file of boxes what its columns are, how many people, cameras and times there are, and three rows. Where a data set lies one
or two folders below PATH it is found there; where several lie there, the folder of one must be given. A data set is
added by a row in that table and a drawn example in `tests/data/drawn_layouts.py`.

## Data of one's own

| what it is | how it is read |
|---|---|
| a heap of photographs | `index PATH`: no labels; identities are never guessed from folders |
| one folder an identity | `--dataset folder`, below `train`, `query` and `gallery` where there are splits. The folder's name \
is the pid, a number (`0002` is 2) or a word (`alice`). A camera is taken from `c3` or `cam3` in a file's name |
| names that tell | `--pattern '{{camid}}/{{captured_at:unix}}-{{}}.jpg'`, a template, or a regular expression with named groups |
| a list | `index people.csv`, or `--dataset csv`: columns {", ".join(f"`{name}`" for name in COLUMNS)}; any other is read \
as an attribute, which an index keeps and filters by (`--where site=north`); `evaluate` and `export` take it too |

A template's fields are `{{pid}}`, `{{camid}}`, `{{captured_at}}`, `{{track}}`, `{{clothes}}`, `{{split}}`, any other name \
(an attribute) and `{{}}`, which is anything. Other names of the fields, also of groups: {_aliases(FIELD_ALIASES)}; case does not \
count, and a pattern that names a label twice is refused. `{{name:int}}` takes digits alone; `{{captured_at:unix}}` and \
`{{captured_at:unix_ms}}` count since 1970; `{{captured_at:%Y%m%d-%H%M%S}}` is written so. A pattern of n folders looks at \
the last n folders of a path. `vpmsearch layout PATH --pattern …` tries one on ten names.

A list is CSV, separated by commas, semicolons, tabs or bars, or JSON lines (`.jsonl`, `.ndjson`); paths are relative to
the list or absolute. Other names of its columns: {_aliases(ALIASES)}; a column `id` is an attribute, as it mostly numbers the rows.
17.0 is 17; a column without a name (pandas's index) is left out. In Python, `vpmsearch.read_frame` takes a pandas frame
or an Arrow table.

**Unknown** is what a format can say so. A CSV can only leave a field empty, so there NaN, NaT, None, NULL, null, NA and what else
pandas takes for one are unknown too (case counts: Na is a name). JSON lines, frames and Arrow tables have null, None,
NaN and NaT: there, as in the shell, REST and names of files and folders, the text NA is a name like any other. As a pid or camid of
these, the texts nan, NaN, NaT, None and <NA> are refused: they are missing values that were turned to text.

Times are `2026-03-29`, `2026-03-29T02:30:00+02:00` (ISO 8601), `2026:03:29 02:30:00` (EXIF),
`2026-03-29T02:30[Europe/Berlin]`, `unix:1774747800` or `unix_ms:1774747800000`, the same in the shell, lists, patterns,
REST and Python. **A time that names no zone is UTC**, or of `--timezone`. Digits alone are refused, since they may be a
date or a count of seconds, and so is a local time that a change of clocks repeats or skips. A list's column called
`captured_at:unix` or `captured_at:unix_ms` may hold numbers.

Images are files called {", ".join(sorted(EXTENSIONS - {".heic", ".heif", ".hif"}))}, and .heic, .heif and .hif with
`vpmsearch[heic]`. Grey of more than 8 bits (infrared) is stretched from its smallest to its largest value, file by file.
A TIFF whose 0 is white is shown as a positive.

## Protocols

`evaluate` measures by the data set's own protocol, prints it above the figures, and takes another by `--leave-out`:
{"; ".join(f"`{name}`, {words}" for name, words in LEFT_OUT.items())}. Where no image has a camera, nothing is left out.
`--tracks mean` ranks tracklets by the mean of their images region by region, weighted by visibility; `--tracks best` by
the one image that shows most; `--tracks off` ranks images. `--single-shot N` draws N galleries of one image of each
person. `--where site=north` measures on the queries and gallery images that have the attribute.

### Trials

{", ".join(f"`{layout.name}`" for layout in LAYOUTS if layout.halves)} are published as means over random halves of their people: one to
train on, the other to test with. `evaluate --trial all` gives the mean over the trials and their standard deviation (in `--json` each trial
too), `--trial 3` one of them, and `train --trial 3` trains on the other half. Without it all people ask. Published halves
are read where their file lies in the data set's folder or the one around it; .mat files need `vpmsearch[mat]`. Where there is none, halves are
drawn by a seed of vpmsearch's own, and it is said above the figures: such a figure is not on the halves of a paper. In
Python: `read_dataset(…, trial=3)` and `read_trials`.

## Known by name
"""


def page() -> str:
    """The page as it should be."""
    rows = [f"| `{layout.name}` | {layout.title} | {layout.protocol} |" for layout in LAYOUTS]
    table = "\n".join(["| `--dataset` | what | protocol |", "|---|---|---|", *rows])
    return "\n".join([HEAD, table, "", *map(_section, LAYOUTS)])


def _section(layout: Layout) -> str:
    lines = [f"### {layout.name}", "", f"{layout.title}. {layout.source}.", ""]
    for variant in layout.variants:
        splits = [f"{split}: {_parts(getattr(variant, split))}" for split in ("train", "query", "gallery")
                  if getattr(variant, split)]  # fmt: skip
        lines.append(f"- {'; '.join(splits)}")
    lines += [f"- names: `{layout.example}`: {layout.meaning}", f"- protocol: {layout.protocol}"]
    if layout.halves:
        lines.append(f"- trials: {_halves(layout.halves)}")
    if layout.distractors:
        lines.append(f"- distractors: pid {', '.join(map(str, sorted(layout.distractors)))}")
    if layout.roots:
        lines.append(f"- its folder is usually called {', '.join(layout.roots)}")
    if layout.note:
        lines.append(f"- {layout.note}")
    return "\n".join([*lines, ""])


def _halves(halves: Halves) -> str:
    files = " or ".join(f"`{name}`" for name, _ in halves.files)
    who = f" of the people of whom both sides have {halves.least} images" if halves.least > 1 else ""
    both = ", each in both directions" if halves.both else ""
    rest = "; who never asks is in each gallery" if halves.others else ""
    return f"those of {files}, else {halves.count} drawn halves{who}{both}{rest}"


def _parts(parts: tuple[Part, ...]) -> str:
    told = []
    for part in parts:
        place = f"`{part.folder}/`" if part.folder else "the folder itself"
        if part.listing:
            place += f" by `{part.listing.name}`"
        if part.pids:
            place += f" (people of `{part.pids}`)"
        camera = part.labels.get("camid")
        told.append(f"{place} as camera {camera}" if camera else place)
    return ", ".join(told)


if __name__ == "__main__":
    if "--check" not in sys.argv:
        PAGE.write_text(page())
    elif not PAGE.is_file() or PAGE.read_text() != page():
        sys.exit("docs/datasets.md is stale; run `make docs`")
