"""The ledger's own name, which cache keys hold."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "identity",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("ledger", sa.String(32), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("identity")
