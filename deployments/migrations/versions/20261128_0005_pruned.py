"""When the texts of a call and of a request were dropped."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("calls", "requests"):
        op.add_column(table, sa.Column("pruned_at", sa.DateTime(timezone=True)))
    op.create_index("ix_calls_created_at", "calls", ["created_at", "scope"])


def downgrade() -> None:
    op.drop_index("ix_calls_created_at", "calls")
    for table in ("calls", "requests"):
        op.drop_column(table, "pruned_at")
