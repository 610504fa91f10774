"""Breakers of workers, the pace of their calls, an index of open calls, and who answered a conversation last."""

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
    op.create_table(
        "conversation_workers",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("worker", sa.String(200), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_conversation_workers_at", "conversation_workers", ["at"])
    op.create_index("ix_calls_open", "calls", ["worker"], sqlite_where=OPEN, postgresql_where=OPEN)


def downgrade() -> None:
    op.drop_index("ix_calls_open", "calls")
    op.drop_table("conversation_workers")
    op.drop_table("paces")
    op.drop_table("breakers")
