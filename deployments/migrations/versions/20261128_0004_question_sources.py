"""Question ids are of their source: two files may use the same ones, and both keep their labels."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

COLUMNS = "id, digest, task, split, tags, body"


def upgrade() -> None:
    _remake(sa.Column("source", sa.String(64), primary_key=True), keep=f"'', {COLUMNS}")


def downgrade() -> None:
    """Of several questions of one id the newest source's stays: an older schema has no room for more."""
    op.execute("DELETE FROM questions WHERE EXISTS (SELECT 1 FROM questions AS other "
               "WHERE other.id = questions.id AND other.source > questions.source)")  # fmt: skip
    _remake(keep=COLUMNS)


def _remake(*first: sa.Column[str], keep: str) -> None:
    """A table with another key is another table: SQLite knows no other way."""
    op.create_table(
        "questions_after",
        *first,
        sa.Column("id", sa.String(200), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("task", sa.String(200), nullable=False),
        sa.Column("split", sa.String(20), nullable=False),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
    )
    names = f"source, {COLUMNS}" if first else COLUMNS
    op.execute(f"INSERT INTO questions_after ({names}) SELECT {keep} FROM questions")
    op.drop_table("questions")
    op.rename_table("questions_after", "questions")
