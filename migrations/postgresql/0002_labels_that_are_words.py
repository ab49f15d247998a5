"""Labels that are words, and attributes: any other column of a list, as JSON of text by name."""

from alembic import op

revision = "server_0002"
down_revision = "server_0001"
branch_labels = None
depends_on = None

STATEMENTS = (
    # A number and its text stand for one another, see vpmsearch.labels: 7 is "7", and no word is.
    """
    ALTER TABLE image
        ALTER COLUMN pid TYPE text COLLATE "C" USING pid::text,
        ALTER COLUMN camid TYPE text COLLATE "C" USING camid::text,
        ADD COLUMN attributes jsonb
    """,
    "CREATE INDEX ix_image_attributes ON image USING gin (attributes jsonb_path_ops)",
)


def upgrade() -> None:
    """Change the table as it was then; never edited once released."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Indexes are not taken back: restore the server's own backup."""
    raise NotImplementedError("restore the server's backup")
