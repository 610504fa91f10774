"""Workflows, their steps, and the tool calls that wait for a client."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "workflows",
        sa.Column("id", sa.String(200), primary_key=True),
        sa.Column("request", sa.String(200), nullable=False),
        sa.Column("conversation", sa.String(200), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_workflows_request", "workflows", ["request"])
    op.create_index("ix_workflows_conversation", "workflows", ["conversation"])
    op.create_table(
        "steps",
        sa.Column("workflow", sa.String(200), primary_key=True),
        sa.Column("step", sa.Integer(), primary_key=True),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("worker", sa.String(200), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "tool_calls",
        sa.Column("id", sa.String(60), primary_key=True),
        sa.Column("workflow", sa.String(200), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("conversation", sa.String(200), nullable=False),
        sa.Column("request", sa.String(200)),
        sa.Column("original", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("arguments", sa.Text(), nullable=False),
        sa.Column("result", sa.Text()),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_tool_calls_workflow", "tool_calls", ["workflow"])
    op.create_index("ix_tool_calls_conversation", "tool_calls", ["conversation"])


def downgrade() -> None:
    for table in ("tool_calls", "steps", "workflows"):
        op.drop_table(table)
