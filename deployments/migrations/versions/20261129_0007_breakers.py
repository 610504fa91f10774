"""Breakers of workers, the pace of their calls, and an index of the calls that are open."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

OPEN = sa.text("status IN ('claimed', 'sent')")


def upgrade() -> None:
    op.create_table(
        "breakers",
        sa.Column("worker", sa.String(200), primary_key=True),
        sa.Column("key", sa.String(200), primary_key=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("opens", sa.Integer, nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True)),
        sa.Column("probe_until", sa.DateTime(timezone=True)),
    )
    op.create_table(
        "paces",
        sa.Column("worker", sa.String(200), primary_key=True),
        sa.Column("next_request", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_tokens", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_calls_open", "calls", ["worker"], sqlite_where=OPEN, postgresql_where=OPEN)


def downgrade() -> None:
    op.drop_index("ix_calls_open", "calls")
    op.drop_table("paces")
    op.drop_table("breakers")
