"""Run by Alembic; `vpmsearch.store.migrations` configures it and hands over the connection."""

from typing import Any

from alembic import context
from alembic.ddl.sqlite import SQLiteImpl
from alembic.util.exc import CommandError

from vpmsearch.store.folder.tables import METADATA


class CatalogImpl(SQLiteImpl):
    """SQLite without Alembic's way to build a table anew ("batch").

    It copies a table from what SQLite tells of it, which leaves out AUTOINCREMENT, so ids of removed images would be
    given again; and it drops the old one, which takes along by ON DELETE CASCADE the visibility of every image. SQLite
    adds, renames and drops columns in place (`op.add_column`, `op.alter_column`, `op.drop_column`); where that is not
    enough, a migration creates, fills and renames a table itself. `vpmsearch.store.folder.migrate` compares what was
    there before with what is there after, whatever a migration did.
    """

    __dialect__ = "sqlite"  # takes the place of Alembic's own

    def prep_table_for_batch(self, batch_impl: Any, table: Any) -> None:
        """Refuse.

        Raises:
            CommandError: always.
        """
        raise CommandError(
            f"a migration wants to build table {table.name} anew by batch_alter_table, which gives ids again and "
            "empties what refers to it; see migrations/env.py"
        )


context.configure(
    version_table=context.config.attributes.get("version_table", "alembic_version"),
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    render_as_batch=False,
    transactional_ddl=True,  # SQLite can create and drop within a transaction, and the caller has begun one
)
with context.begin_transaction():
    context.run_migrations()
