"""${message}"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision: str = ${repr(up_revision)}
down_revision: str | None = ${repr(down_revision)}
branch_labels: str | Sequence[str] | None = ${repr(branch_labels)}
depends_on: str | Sequence[str] | None = ${repr(depends_on)}


def upgrade() -> None:
    """Apply; the tables named here are frozen copies, never the models of the package."""
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    """Indexes are not taken back: `vpmsearch upgrade` leaves a backup of the catalog."""
    raise NotImplementedError("restore the backup beside the catalog")
