"""Debian's PgBouncer before a test's PostgreSQL: in a temporary folder, at a Unix socket."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from postgres_server import USER, PostgresServer

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
"""None where it is not installed."""
_NUMBERS = itertools.count()


class Pooler:
    """The server behind it, and where databases are found by it."""

    def __init__(self, folder: Path, server: PostgresServer) -> None:
        self.folder, self.server = folder, server

    def new_database(self) -> str:
        """The name of an empty database; by a pooler a test cannot choose a schema."""
        name = f"pooled_{next(_NUMBERS)}"
        self.server.execute(f"CREATE DATABASE {name}")
        self.server.execute("CREATE EXTENSION vector", database=name)
        return name

    def uri(self, database: str, options: str = "") -> str:
        """A database by the pooler."""
        given = f"&options={quote(options)}" if options else ""
        return f"postgresql+psycopg://postgres@/{database}?host={self.folder}&port=6432{given}"


@contextmanager
def pooler(server: PostgresServer, **settings: object) -> Iterator[Pooler]:
    """In transaction mode unless told otherwise, for as long as the block runs."""
    assert PROGRAM is not None
    folder = Path(tempfile.mkdtemp(prefix="vpm-pool-", dir="/tmp"))  # a socket's path must be short
    folder.chmod(0o755)
    lines = {
        "listen_port": 6432, "unix_socket_dir": folder, "auth_type": "trust", "auth_file": folder / "users",
        "pool_mode": "transaction", "logfile": folder / "log",
    }  # fmt: skip
    body = "".join(f"{name} = {value}\n" for name, value in (lines | settings).items())
    (folder / "users").write_text('"postgres" ""\n')
    (folder / "pgbouncer.ini").write_text(f"[databases]\n* = host={server.folder} port=5432\n[pgbouncer]\n{body}")
    identity = {"user": USER, "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
    if identity:
        shutil.chown(folder, USER, "nogroup")
    process = subprocess.Popen(
        [PROGRAM, "-q", folder / "pgbouncer.ini"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **identity
    )
    try:
        for _ in range(1500):
            assert process.poll() is None, (folder / "log").read_text()
            if (folder / ".s.PGSQL.6432").exists():
                break
            time.sleep(0.02)
        yield Pooler(folder, server)
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)
