"""Responses that are kept for their clients."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "responses",
        sa.Column("id", sa.String(200), primary_key=True),
        sa.Column("owner", sa.String(64)),
        sa.Column("previous", sa.String(200)),
        sa.Column("conversation", sa.String(200)),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("process", sa.String(200)),
        sa.Column("body", sa.JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("pruned_at", sa.DateTime(timezone=True)),
    )
    op.create_index("ix_responses_conversation", "responses", ["conversation"])
    op.create_index("ix_responses_created_at", "responses", ["created_at"])


def downgrade() -> None:
    op.drop_table("responses")
