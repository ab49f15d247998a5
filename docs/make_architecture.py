"""Draw docs/images/architecture.svg and the tables of docs/architecture.md from the code; with --check, fail if stale.

The rooms are the folders of the package, ordered by the layers that import-linter keeps (pyproject.toml). An arrow is
an import between two rooms that no other arrows imply. The steps in a room are functions that the three verbs call, in
order; a step that the code has no more is an error.
"""

from __future__ import annotations

import ast
import sys
import textwrap
import tomllib
from dataclasses import dataclass
from html import escape
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
PICTURE = ROOT / "docs" / "images" / "architecture.svg"
PACKAGE = "vpmsearch"
COLOURS = {"train": "#b45309", "index": "#0369a1", "query": "#15803d"}
STEPS = {  # what each verb calls, in order: module below vpmsearch, and a name in it
    "train": [
        "data.training_set:TrainingSet",
        "data.crops:region_labels",
        "model.vpm:Vpm",
        "training.losses:vpm_loss",
        "training.trainer:Trainer",
        "model.tensors:save_weights",
    ],
    "index": [
        "data.datasets:read_gallery",
        "indexing.indexer:index_gallery",
        "data.images:read_image",
        "model.extraction:Extractor",
        "store.pending:PendingWriter",
        "store.folder.writer:GalleryWriter",
    ],
    "query": [
        "data.images:load_image",
        "model.extraction:Extractor",
        "search.engine:SearchEngine",
        "search.candidates:deepen",
        "eq4:distances_to",
        "report.pictures:rank_panel",
    ],
}
TOP = "values"  # the modules beside the folders, as one room
BOX_WIDTH, ROW_HEIGHT, MARGIN, HEAD, LINE = 340, 36, 24, 60, 17


@dataclass
class Room:
    """A folder of the package (or the modules beside them), its purpose, and the steps taken in it."""

    name: str
    purpose: str
    steps: list[tuple[str, int, str]]  # verb, number of the step, what it calls


def first_line(path: Path) -> str:
    """What a module says it is: the first line of its docstring."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    if not text:
        sys.exit(f"{path.relative_to(ROOT)} has no docstring")
    return text.splitlines()[0]


def room_of(module: str) -> str:
    """The room of a module named below the package: its folder, or the one of the modules beside them."""
    folder = module.partition(".")[0]
    return folder if (ROOT / PACKAGE / folder).is_dir() else TOP


def check_step(step: str) -> None:
    """Stop where the code has a step no more."""
    module, _, name = step.partition(":")
    path = ROOT / PACKAGE / f"{module.replace('.', '/')}.py"
    kinds = (ast.FunctionDef, ast.ClassDef)
    tree = ast.parse(path.read_text(encoding="utf-8")) if path.is_file() else ast.Module([], [])
    if name not in {node.name for node in tree.body if isinstance(node, kinds)}:
        sys.exit(f"docs/make_architecture.py: {PACKAGE}.{module} has no {name}; name what is called instead")


def layers() -> list[list[str]]:
    """The rooms as import-linter orders them, highest first; rooms of one row do not import each other both ways."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    order = next(c for c in contracts["contracts"] if c["name"] == "data flows one way")["layers"]
    rows: list[list[str]] = []
    seen: set[str] = set()
    for layer in order:
        names = [room_of(name.strip().removeprefix(f"{PACKAGE}.")) for name in layer.split(":")]
        row = [name for name in dict.fromkeys(names) if name not in seen]
        seen.update(row)
        if row:
            rows.append(row)
    return rows


def rooms() -> dict[str, Room]:
    """Every room by name."""
    found = {}
    for name in (name for row in layers() for name in row):
        init = ROOT / PACKAGE / name / "__init__.py"
        text = first_line(init) if init.is_file() else "Values, faults, and the paper's equations."
        found[name] = Room(name, text, [])
    for verb, steps in STEPS.items():
        for number, step in enumerate(steps, start=1):
            check_step(step)
            found[room_of(step.partition(":")[0])].steps.append((verb, number, step.partition(":")[2]))
    return found


def arrows() -> list[tuple[str, str]]:
    """(importer, imported) between rooms, without those that follow from others."""
    graph = grimp.build_graph(PACKAGE)
    direct: dict[str, set[str]] = {}
    for module in graph.modules:
        if module in (PACKAGE, f"{PACKAGE}.__main__"):
            continue
        here = room_of(module.removeprefix(f"{PACKAGE}."))
        for other in graph.find_modules_directly_imported_by(module):
            there = room_of(other.removeprefix(f"{PACKAGE}.")) if other != PACKAGE else here
            if there != here:
                direct.setdefault(here, set()).add(there)

    def reachable(start: str) -> set[str]:
        return {start}.union(*(reachable(end) for end in direct.get(start, ())))

    return sorted(
        (start, end)
        for start, ends in direct.items()
        for end in ends
        if not any(end in reachable(other) for other in ends - {end})
    )


def picture() -> str:
    """The SVG."""
    named, rows = rooms(), [row for row in layers() if row != ["__main__"]]
    places: dict[str, tuple[int, int, int]] = {}  # x, y, height
    y = MARGIN + 40
    for row in rows:
        height = max(HEAD + LINE * len(named[name].steps) for name in row)
        for column, name in enumerate(row):
            x = MARGIN + 60 + column * (BOX_WIDTH + 90) + (0 if len(row) > 1 else (BOX_WIDTH + 90) // 2)
            places[name] = (x, y, height)
        y += height + ROW_HEIGHT
    width = 2 * BOX_WIDTH + 90 + 2 * (MARGIN + 60)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}" font-family="sans-serif" font-size="12">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 z" fill="#9ca3af"/></marker></defs>',
        f'<rect width="{width}" height="{y}" fill="#ffffff"/>',
    ]
    for number, (verb, colour) in enumerate(COLOURS.items()):
        x = MARGIN + 60 + number * 230
        parts.append(f'<circle cx="{x}" cy="{MARGIN}" r="8" fill="{colour}"/>')
        parts.append(f'<text x="{x + 14}" y="{MARGIN + 4}" fill="#111827">vpmsearch {verb}, step by step</text>')
    parts += [_arrow(places[start], places[end], rows, start, end) for start, end in arrows()]
    parts += [_box(named[name], *place) for name, place in places.items()]
    return "\n".join([*parts, "</svg>", ""])


def _arrow(a: tuple[int, int, int], b: tuple[int, int, int], rows: list[list[str]], start: str, end: str) -> str:
    row = {name: number for number, names in enumerate(rows) for name in names}
    ax, bx = a[0] + BOX_WIDTH // 2, b[0] + BOX_WIDTH // 2
    if row[end] - row[start] == 1:
        path = f"M{ax} {a[1] + a[2]} L{bx} {b[1]}"
    elif ax < bx or (ax == bx and ax < BOX_WIDTH + 100):  # past the rooms between, along the left side
        path = f"M{a[0]} {a[1] + a[2] // 2} C{a[0] - 70} {a[1] + a[2]} {b[0] - 70} {b[1]} {b[0]} {b[1] + b[2] // 2}"
    else:
        right, low = a[0] + BOX_WIDTH, b[0] + BOX_WIDTH
        path = f"M{right} {a[1] + a[2] // 2} C{right + 70} {a[1] + a[2]} {low + 70} {b[1]} {low} {b[1] + b[2] // 2}"
    return f'<path d="{path}" fill="none" stroke="#9ca3af" stroke-width="1.3" marker-end="url(#tip)"/>'


def _box(room: Room, x: int, y: int, height: int) -> str:
    purpose = textwrap.wrap(room.purpose.replace("`", ""), 52, max_lines=2, placeholder=" …")
    lines = [
        f'<rect x="{x}" y="{y}" width="{BOX_WIDTH}" height="{height}" rx="6" fill="#f9fafb" stroke="#6b7280"/>',
        f'<text x="{x + 12}" y="{y + 19}" font-size="14" font-weight="bold" fill="#111827">{room.name}</text>',
    ]
    for number, line in enumerate(purpose):
        text = f'<text x="{x + 12}" y="{y + 35 + 14 * number}" font-size="11" fill="#4b5563">{escape(line)}</text>'
        lines.append(text)
    for number, (verb, step, what) in enumerate(room.steps):
        middle = y + HEAD + LINE * number
        lines.append(f'<circle cx="{x + 20}" cy="{middle + 4}" r="7" fill="{COLOURS[verb]}"/>')
        lines.append(
            f'<text x="{x + 20}" y="{middle + 8}" font-size="10" text-anchor="middle" fill="#fff">{step}</text>'
        )
        lines.append(
            f'<text x="{x + 34}" y="{middle + 8}" font-family="monospace" fill="#1f2937">{escape(what)}</text>'
        )
    return "\n".join(lines)


def _only_says(path: Path) -> bool:
    """Whether a module is nothing but its docstring."""
    return len(ast.parse(path.read_text(encoding="utf-8")).body) <= 1


def table() -> str:
    """Every module and what it says it is, room by room."""
    parts = []
    for name in (name for row in layers() for name in row):
        folder = ROOT / PACKAGE if name == TOP else ROOT / PACKAGE / name
        paths = sorted(folder.glob("*.py") if name == TOP else folder.rglob("*.py"))
        parts.append(f"\n### {name}\n\n| module | what it is |\n|---|---|")
        for path in paths:
            # Of the packages' own modules only those that hold more than what the folder is.
            if path.name != "__main__.py" and not (path.name == "__init__.py" and _only_says(path)):
                parts.append(f"| `{path.relative_to(ROOT / PACKAGE)}` | {first_line(path).replace('|', '&#124;')} |")
    return "\n".join(parts) + "\n"


BEGIN, END = "<!-- modules: made by docs/make_architecture.py -->", "<!-- modules end -->"


def page() -> str:
    """The page with its table as the code is now."""
    text = PAGE.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN)
    return head + BEGIN + "\n" + table() + END + rest.split(END)[1]


if __name__ == "__main__":
    made = {PICTURE: picture(), PAGE: page()}
    for path, text in made.items():
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            sys.exit(f"{path.relative_to(ROOT)} is stale; run `make docs`")
