"""docs/architecture.md says which files a common change touches: one of each is made in a copy and used."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import vpmsearch

PACKAGE = Path(vpmsearch.__file__).parent
PAGE = PACKAGE.parent / "docs" / "architecture.md"

# change -> file -> (what stands there, what stands there then); "" for a new file
CHANGES = {
    "a trunk": {
        "model/trunks.py": [
            ("BACKBONES: dict[", "def _resnet6() -> Backbone:\n    return _resnet8()\n\n\nBACKBONES: dict["),
            ('    "resnet8": _resnet8,\n', '    "resnet8": _resnet8,\n    "resnet6": _resnet6,\n'),
        ],
    },
    "an index type of a folder": {
        "store/folder/index_types.py": [
            (
                "TYPES: dict[str, IndexType] = {\n",
                "def _sq8(n: int, d: int) -> Any:\n"
                "    return faiss.IndexIDMap2(faiss.IndexScalarQuantizer(d, faiss.ScalarQuantizer.QT_8bit))\n\n\n"
                "TYPES: dict[str, IndexType] = {\n"
                '    "sq8": IndexType(_sq8, "IndexScalarQuantizer", "all", on_gpu=False),\n',
            ),
        ],
        "store/folder/faiss_file.py": [
            ('    b"IxF2": "flat",\n', '    b"IxF2": "flat",\n    b"IxSQ": "sq8",\n'),
            ('if name not in (b"IxF2", b"IHNf")', 'if name not in (b"IxF2", b"IHNf", b"IxSQ")'),
            (
                '        file.vector("<f4", d * n)\n    else:\n',
                '        file.vector("<f4", d * n)\n    elif name == b"IxSQ":\n'
                '        if file.one("<i4") != 0:\n            raise _DamageError("codes of another kind")\n'
                '        file.take(1, "<i4"), file.take(1, "<f4"), file.take(2, "<u8")\n'
                '        file.vector("<f4", 2 * d)\n        file.vector("u1", n * d)\n    else:\n',
            ),
        ],
    },
    "a data set": {
        "data/layout_table.py": [
            (
                "LAYOUTS: tuple[Layout, ...] = (\n",
                "LAYOUTS: tuple[Layout, ...] = (\n"
                '    Layout("corridor", "Corridor", r"p(?P<pid>\\d+)-k(?P<camid>\\d+)", (_splits("a", "b", "c"),), '
                '"p1-k2.jpg", "pid, camera", "us"),\n',
            ),
        ],
    },
    "a matcher": {
        "evaluation/matchers.py": [("WINDOWS = {", 'WINDOWS = {"coarse": (2,), ')],
    },
    "a store": {
        "store/scratch/__init__.py": [("", '"""A store in a folder of the system\'s own."""\n')],
        "store/scratch/store.py": [
            (
                "",
                "import tempfile\nfrom pathlib import Path\n\n"
                "from vpmsearch.store.folder.gallery import GalleryStore\n\n\n"
                "def folder(place):\n    return Path(tempfile.gettempdir()) / place.text.removeprefix('scratch://')\n\n\n"
                "class ScratchStore(GalleryStore):\n    pass\n",
            ),
        ],
        "store/open.py": [
            (
                "    if place.folder is not None:\n        return GalleryStore.open(",
                '    if place.text.startswith("scratch://"):\n'
                "        from vpmsearch.store.scratch.store import ScratchStore, folder\n\n"
                "        return ScratchStore.open(folder(place), device=device)\n"
                "    if place.folder is not None:\n        return GalleryStore.open(",
            ),
            (
                "    if place.folder is not None:\n        if index_type",
                '    if place.text.startswith("scratch://"):\n'
                "        from vpmsearch.store.scratch.store import ScratchStore, folder\n\n"
                "        return ScratchStore.create(folder(place), info, embedding_dtype=embedding_dtype)\n"
                "    if place.folder is not None:\n        if index_type",
            ),
        ],
        "search/open.py": [
            (
                "    if isinstance(store, GalleryStore):\n",
                "    from vpmsearch.store.scratch.store import ScratchStore\n\n"
                "    if isinstance(store, ScratchStore):\n        engine = SearchEngine(store)\n"
                "        engine.of_scratch = True\n        return engine\n"
                "    if isinstance(store, GalleryStore):\n",
            ),
        ],
    },
    "a command": {
        "commands/hello.py": [
            (
                "",
                "import typer\n\nfrom vpmsearch.commands.terminal import answer\n\n\n"
                "def register(app: typer.Typer) -> None:\n    app.command()(hello)\n\n\n"
                "def hello() -> None:\n    answer('hello')\n",
            ),
        ],
        "commands/application.py": [('    "demo": ("demo",),\n', '    "demo": ("demo",),\n    "hello": ("hello",),\n')],
    },
    "a field of answers": {
        "web/schemas.py": [
            ("    rank: int\n", '    rank: int\n    folder: str = Field(description="where its file is")\n')
        ],
        "search/answers.py": [
            ('        "rank": rank,\n', '        "rank": rank,\n        "folder": match.path.rpartition("/")[0],\n')
        ],
    },
}

USE = """
import sys
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from vpmsearch.commands import app
from vpmsearch.evaluation.matching import check_matcher
from vpmsearch.model.trunks import build_backbone
from vpmsearch.search.answers import match_values
from vpmsearch.search.open import searcher
from vpmsearch.store.folder.faiss_file import kind_of
from vpmsearch.store.folder.region_index import RegionIndex
from vpmsearch.store.open import create_index, open_index
from vpmsearch.types import ImageRecord, Match, ModelInfo, RegionFeatures
from vpmsearch.web.schemas import Hit

print("a trunk", build_backbone("resnet6").channels)

rng = np.random.default_rng(0)
vectors, ids = rng.normal(size=(1100, 8)).astype(np.float32), np.arange(1100)
path = Path(sys.argv[1]) / "region.faiss"
RegionIndex.build(vectors, ids, "sq8").write(path)
read = RegionIndex.read(path)
print("an index type", read.kind, kind_of(path), ids[5] in read.search(vectors[5:6], 20)[0][0])

from vpmsearch.commands import options
from vpmsearch.data.datasets import read_dataset

for split in "abc":
    (Path(sys.argv[1]) / "corridor" / split).mkdir(parents=True)
    (Path(sys.argv[1]) / "corridor" / split / "p7-k3.jpg").touch()
(image,) = read_dataset("corridor", Path(sys.argv[1]) / "corridor").gallery
print("a data set", image.pid, image.camid, "corridor" in CliRunner().invoke(app, ["evaluate", "--help"]).stdout)

check_matcher("coarse")
print("a matcher coarse")

info = ModelInfo(2, 4, "f")
with create_index("scratch://index", info) as store, store.writer() as writer:
    features = RegionFeatures(np.full((1, 2), 0.5, np.float32), np.ones((1, 2, 4), np.float32))
    writer.add([ImageRecord("photos/a.jpg")], features)
    writer.commit()
with open_index("scratch://index") as store:
    engine = searcher(store)
    match = engine.search(features)[0].matches[0]
    print("a store", engine.of_scratch, match.path)

print("a command", CliRunner().invoke(app, ["hello"]).stdout.strip())

print("a field of answers", Hit(**match_values(1, match)).model_dump()["folder"])
"""


def documented() -> dict[str, set[str]]:
    """Change -> the files that the page names for it."""
    rows = re.findall(r"^\| (an? [^|]+?) \| ([^|]+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return {change: set(re.findall(r"`([^`]+)`", files)) for change, files in rows}


def name_of(file: str, change: str) -> str:
    """A file as the page names it: new ones by NAME."""
    if change == "a store" and file.startswith("store/scratch/"):
        return "store/NAME/"
    return "commands/NAME.py" if file == "commands/hello.py" else file


def test_the_page_names_the_files_of_each_change():
    made = {change: {name_of(file, change) for file in files} for change, files in CHANGES.items()}
    assert made == {change: files for change, files in documented().items() if change in made}
    assert set(documented()) >= set(made)


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the copy prints once every change is made in it."""
    pytest.importorskip("fastapi")
    folder = tmp_path_factory.mktemp("changed")
    shutil.copytree(PACKAGE, folder / "vpmsearch", ignore=shutil.ignore_patterns("*.safetensors", "*.onnx"))
    shutil.copytree(PACKAGE.parent / "migrations", folder / "migrations")
    for files in CHANGES.values():
        for name, edits in files.items():
            path = folder / "vpmsearch" / name
            path.parent.mkdir(exist_ok=True)
            text = path.read_text(encoding="utf-8") if path.exists() else ""
            for old, new in edits:
                assert old in text, f"{name} has no {old!r} any more: mend this test and docs/architecture.md"
                text = text.replace(old, new, 1)
            path.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", USE, str(folder)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder), "TMPDIR": str(folder), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "line",
    [
        "a trunk 256",
        "an index type sq8 sq8 True",
        "a data set 7 3 True",
        "a matcher coarse",
        "a store True photos/a.jpg",
        "a command hello",
        "a field of answers photos",
    ],
)
def test_what_was_added_works(used, line):
    assert line in used.splitlines()
