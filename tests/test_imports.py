"""What importing costs, and that what is public is documented."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_weights import write_pictures, write_weights

import vpmsearch
from vpmsearch.store import GalleryStore
from vpmsearch.types import ImageRecord, ModelInfo, RegionFeatures

PACKAGE = Path(vpmsearch.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))


def python(*arguments):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=300, check=False)


def test_what_needs_no_torch_imports_none():
    """One process for all: the first of them to import it is named."""
    light = ["vpmsearch", "vpmsearch.errors", "vpmsearch.types", "vpmsearch.commands", "vpmsearch.store"]
    code = (
        "import importlib, sys\n"
        f"for name in {light}:\n"
        "    importlib.import_module(name)\n"
        "    heavy = {'torch', 'torchvision'} & set(sys.modules)\n"
        "    assert not heavy, f'{name} imports {heavy}'\n"
    )
    done = python("-c", code)
    assert done.returncode == 0, done.stderr


def test_which_commands_need_no_torch(tmp_path):
    """A query, indexing on a CPU and all that looks after an index: torch takes longer to import than they take.

    It is not there at all, as after `pip install 'vpmsearch[web]'`; what needs it says what to install.
    """
    pytest.importorskip("fastapi")
    pytest.importorskip("pyarrow")
    write_pictures(tmp_path / "gallery", 12)
    write_weights(tmp_path / "other.safetensors")
    done = python(Path(__file__).parent / "no_torch_driver.py", tmp_path)
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stderr.splitlines() if line.startswith('{"command"')]
    light, needing = told[:-4], told[-4:]
    assert [each for each in light if each["asked"]] == []
    assert [each["command"] for each in light if each["status"]] == ["calibrate"]  # too few images without labels
    assert [each["status"] for each in needing] == [1, 1, 1, 1]
    assert [each["command"] for each in light] == [
        "index", "stats", "query", "query", "serve", "verify", "calibrate", "remove", "compact", "snapshot", "export"
    ]  # fmt: skip
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 5
    assert all("pip install 'vpmsearch[train]'" in error for error in errors[1:])
    assert "which is not the package's own model, needs torch" in errors[2]
    assert "a GPU also needs torch" in errors[3]
    assert not (tmp_path / "other").exists()


def test_what_the_care_of_an_index_imports(tmp_path):
    """Only what `verify` checks needs FAISS and HDF5; nothing needs Pillow, onnxruntime or SQLAlchemy's mapper."""
    info = ModelInfo((6, 1), 8, "sha256:feed", input_size=(256, 128))
    shares = np.full((3, 6), 1 / 6, np.float32)
    with GalleryStore.create(tmp_path / "index", info) as store, store.writer() as writer:
        writer.add([ImageRecord(f"/{i}.jpg") for i in range(3)], RegionFeatures(shares, np.ones((3, 6, 8), np.float32)))
        writer.commit()
    code = (
        "import json, sys\n"
        "from vpmsearch.commands.application import main\n"
        "heavy = {'PIL', 'alembic', 'faiss', 'h5py', 'matplotlib', 'numpy.ma', 'onnxruntime', 'rich', 'scipy',\n"
        "         'sqlalchemy.orm', 'torch'}\n"
        "found = {}\n"
        "for command in (['stats'], ['remove', '/1.jpg'], ['snapshot', 'copy'], ['verify']):\n"
        "    sys.argv = ['vpmsearch', *command, '--index', 'index']\n"
        "    try:\n"
        "        main()\n"
        "    except SystemExit as end:\n"
        "        assert not end.code, command\n"
        "    found[command[0]] = sorted(heavy & set(sys.modules))\n"
        "print(json.dumps(found))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    nothing: dict[str, list[str]] = {"stats": [], "remove": [], "snapshot": []}
    assert json.loads(done.stdout.splitlines()[-1]) == nothing | {"verify": ["faiss", "h5py"]}


def test_the_package_runs_as_a_module():
    done = python("-m", "vpmsearch", "--help")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for command in ("train", "index", "query", "evaluate"):
        assert command in done.stdout


def undocumented(path: Path) -> list[str]:
    """The module if it has no docstring, and its public classes, methods and functions that have none."""
    tree, name = ast.parse(path.read_text(encoding="utf-8")), str(path.relative_to(PACKAGE))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    public = [node for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]
    for node in list(public):
        if isinstance(node, ast.ClassDef):
            methods = [child for child in node.body if isinstance(child, kinds) and not child.name.startswith("_")]
            public += methods
    found = [] if ast.get_docstring(tree) else [name]
    return found + [f"{name}: {node.name}" for node in public if not ast.get_docstring(node)]


def test_public_modules_classes_and_functions_are_documented():
    assert len(MODULES) > 200
    assert [missing for path in MODULES for missing in undocumented(path)] == []


def test_nothing_unpickles():
    """pickle, torch.load and numpy.load run what a file says; the linter bans them, this holds without it."""
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        for banned in ("import pickle", "torch.load(", "np.load(", "numpy.load(", "joblib"):
            assert banned not in text, f"{path.name} has {banned}"


def test_who_loads_faiss_late():
    """`lazy.module` is no import that the contracts see, so these are counted here."""
    package = Path(vpmsearch.__file__).parent
    users = {path.name for path in package.rglob("*.py") if 'lazy.module("faiss")' in path.read_text(encoding="utf-8")}
    assert users == {"gpu_index.py", "index_types.py", "region_index.py"}
    users = {path.name for path in package.rglob("*.py") if 'lazy.module("h5py")' in path.read_text(encoding="utf-8")}
    assert users == {"embeddings.py"}
