"""Labels that are words, and attributes: any other column of a list, as JSON of text by name."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

LABELS = ("pid", "camid")


def upgrade() -> None:
    """Make pid and camid columns without an affinity: SQLite's INTEGER would turn the word "007" into 7.

    The columns are added, filled and renamed in place; see migrations/env.py for why the table is not built anew.
    """
    for name in LABELS:
        op.drop_index(f"ix_image_{name}", table_name="image")
        op.execute(f"ALTER TABLE image ADD COLUMN {name}_label BLOB")
    op.execute(f"UPDATE image SET {', '.join(f'{name}_label = {name}' for name in LABELS)}")
    for name in LABELS:
        op.execute(f"ALTER TABLE image DROP COLUMN {name}")
        op.execute(f"ALTER TABLE image RENAME COLUMN {name}_label TO {name}")
        op.create_index(f"ix_image_{name}", "image", [name])
    op.execute("ALTER TABLE image ADD COLUMN attributes VARCHAR")


def downgrade() -> None:
    """Indexes are not taken back: `vpmsearch upgrade` leaves a backup of the catalog."""
    raise NotImplementedError("restore the backup beside the catalog")
