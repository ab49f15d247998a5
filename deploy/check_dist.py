"""Check a wheel and an sdist before anybody installs them: `python deploy/check_dist.py dist`.

`packaging.metadata` reads the metadata by the rules of the field. The wheel holds the package and nothing else;
the sdist what the wheel was built from.
"""

from __future__ import annotations

import sys
import tarfile
import zipfile
from pathlib import Path

from packaging.metadata import Metadata

ROOT = Path(__file__).parents[1]
SOURCES = {"vpmsearch": "vpmsearch", "migrations": "vpmsearch/migrations"}
"""Folder of the checkout -> folder of the wheel."""
BESIDE = ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "tests/conftest.py")
NEVER = ("__pycache__", ".pyc", ".git/", "weights/", "indexes/default")


def expected() -> dict[str, str]:
    """Files that the wheel must hold, by their names there, and where each is in the checkout."""
    return {
        f"{inside}/{path.relative_to(ROOT / folder)}": str(path.relative_to(ROOT))
        for folder, inside in SOURCES.items()
        for path in sorted((ROOT / folder).rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def problems_of(wheel: Path, sdist: Path) -> list[str]:
    """What is wrong with the two files, a line each."""
    found = []
    with zipfile.ZipFile(wheel) as opened:
        names = set(opened.namelist())
        told = [name for name in names if name.endswith((".dist-info/METADATA", "entry_points.txt"))]
        texts = {name: opened.read(name) for name in told}
    wanted = expected()
    found += [f"{wheel.name} lacks {name}" for name in sorted(set(wanted) - names)]
    more = {name for name in names - set(wanted) if ".dist-info/" not in name}
    found += [f"{wheel.name} holds {name}, which is not the package's" for name in sorted(more)]
    (metadata,) = (text for name, text in texts.items() if name.endswith("METADATA"))
    read = Metadata.from_email(metadata, validate=True)  # raises an ExceptionGroup
    if f"{read.name}-{read.version}-" not in wheel.name or not read.description:
        found.append(f"{wheel.name}: its metadata are of {read.name} {read.version}, or without a description")
    if not any(b"vpmsearch = vpmsearch.commands:app" in text for text in texts.values()):
        found.append(f"{wheel.name} installs no command vpmsearch")
    with tarfile.open(sdist) as opened:
        members = {name.partition("/")[2] for name in opened.getnames()}
    found += [f"{sdist.name} lacks {source}" for source in sorted(set(wanted.values()) - members)]
    found += [f"{sdist.name} lacks {name}" for name in BESIDE if name not in members]
    found += [f"{name} is packed" for name in sorted(names | members) if any(part in name for part in NEVER)]
    return found


def main(folder: Path) -> int:
    """Print what is wrong, or what there is."""
    wheels, sdists = sorted(folder.glob("*.whl")), sorted(folder.glob("*.tar.gz"))
    if len(wheels) != 1 or len(sdists) != 1:
        sys.exit(f"{folder} needs one wheel and one sdist, it has {len(wheels)} and {len(sdists)}")
    found = problems_of(wheels[0], sdists[0])
    for path in (wheels[0], sdists[0]):
        sys.stdout.write(f"{path}: {path.stat().st_size / 1e6:.1f} MB\n")
    for line in found:
        sys.stdout.write(f"problem: {line}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "dist")))
