"""Checksums of files and rows, the index's own identity, copies made of it, and content hashes of 16 bytes, unsorted."""

import uuid

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables; `vpmsearch.store.folder.migrate` then fills in the checksums, for which it reads the files."""
    op.create_table(
        "segment_file",
        sa.Column("segment_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["segment_id"], ["segment.id"], name=op.f("fk_segment_file_segment_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("segment_id", "name", name=op.f("pk_segment_file")),
    )
    op.create_table(
        "checksum",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_checksum")),
    )
    op.create_table(
        "copy",
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("path", name=op.f("pk_copy")),
    )
    # No statement looks for a hash, and hashes are random: each image of a commit would cost a page of this index.
    op.drop_index("ix_image_content_hash", table_name="image")
    op.create_index("ix_image_removed", "image", ["id"], sqlite_where=sa.text("removed_at IS NOT NULL"))
    op.add_column("model", sa.Column("index_id", sa.String(), nullable=False, server_default=""))
    connection = op.get_bind()
    connection.execute(sa.text("UPDATE model SET index_id = :id"), {"id": uuid.uuid4().hex})
    hashes = connection.execute(sa.text("SELECT id, content_hash FROM image")).all()
    short = [{"id": number, "hash": _short(text)} for number, text in hashes]
    if short:
        connection.execute(sa.text("UPDATE image SET content_hash = :hash WHERE id = :id"), short)


def _short(text: str) -> bytes | str:
    """The first 16 of a hash's bytes; what is no hash stays."""
    try:
        return bytes.fromhex(text)[:16] if len(text) == 64 else text
    except ValueError:
        return text


def downgrade() -> None:
    """Indexes are not taken back: `vpmsearch upgrade` leaves a backup of the catalog."""
    raise NotImplementedError("restore the backup beside the catalog")
