"""What is on the wire is a state of its own, and a row to learn whether writing works."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "probes",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    )
    # Until now a claim did not say whether its call had left: it may have.
    for table in ("calls", "tries"):
        op.execute(f"UPDATE {table} SET status = 'sent' WHERE status = 'claimed'")


def downgrade() -> None:
    for table in ("calls", "tries"):
        op.execute(f"UPDATE {table} SET status = 'claimed' WHERE status = 'sent'")
    op.drop_table("probes")
