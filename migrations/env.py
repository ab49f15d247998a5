"""Run by Alembic; `vpmsearch.store.migrations` configures it and hands over the connection."""

from alembic import context

from vpmsearch.store.folder.tables import Base

context.configure(
    version_table=context.config.attributes.get("version_table", "alembic_version"),
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite cannot alter most of a table in place
    transactional_ddl=True,  # it can create and drop within a transaction, and the caller has begun one
)
with context.begin_transaction():
    context.run_migrations()
