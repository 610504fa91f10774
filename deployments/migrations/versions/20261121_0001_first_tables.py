"""First tables: calls and money, questions and labels, checkpoints and champions, runs, requests."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _calls()
    _labels()
    _registry()
    _logs()


def downgrade() -> None:
    for table in ("requests", "generations", "promotions", "checkpoints", "attempts", "epochs", "workers"):
        op.drop_table(table)
    for table in ("questions", "budgets", "tries", "calls"):
        op.drop_table(table)


def _text(name: str, length: int, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.String(length), nullable=nullable)


def _key(name: str, length: int) -> sa.Column[Any]:
    return sa.Column(name, sa.String(length), primary_key=True)


def _time(name: str, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _usd(name: str, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger(), nullable=nullable)


def _json(name: str, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.JSON(), nullable=nullable)


def _integer(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Integer(), nullable=False)


def _number(name: str, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Float(), nullable=nullable)


def _calls() -> None:
    op.create_table(
        "calls",
        _key("id", 64),
        _text("scope", 200),
        _text("worker", 200),
        _text("revision", 200),
        _json("payload"),
        _text("status", 10),
        _integer("attempt"),
        _text("owner", 64),
        _time("lease_until"),
        _time("not_before", nullable=True),
        _json("reply", nullable=True),
        sa.Column("error", sa.Text()),
        _time("created_at"),
        _time("updated_at"),
    )
    op.create_index("ix_calls_scope", "calls", ["scope"])
    op.create_table(
        "tries",
        _key("call_id", 64),
        sa.Column("attempt", sa.Integer(), primary_key=True),
        _text("owner", 64),
        _text("status", 10),
        _text("budget", 200, nullable=True),
        _usd("worst_usd"),
        _usd("cost_usd", nullable=True),
        _number("seconds", nullable=True),
        sa.Column("transient", sa.Boolean()),
        sa.Column("error", sa.Text()),
        _time("started_at"),
        _time("ended_at", nullable=True),
    )
    op.create_table("budgets", _key("name", 200), _usd("max_usd"), _usd("reserved_usd"), _usd("spent_usd"))


def _labels() -> None:
    op.create_table(
        "questions",
        _key("id", 200),
        _text("digest", 64),
        _text("task", 200),
        _text("split", 20),
        _json("tags"),
        _json("body"),
    )
    recorded: sa.Column[Any] = sa.Column("recorded", sa.Boolean(), nullable=False)
    op.create_table("workers", _key("name", 200), _text("revision", 200), recorded)
    op.create_table(
        "epochs",
        sa.Column("id", sa.Integer(), primary_key=True),
        _text("pool", 200),
        _text("question_set", 64),
        _time("opened_at"),
    )
    op.create_index("ix_epochs_series", "epochs", ["pool", "question_set"])
    cell = ("epoch", "question_id", "worker", "revision", "repeat", "grader", "grader_version")
    op.create_table(
        "attempts",
        sa.Column("id", sa.Integer(), primary_key=True),
        _integer("epoch"),
        _text("question_id", 200),
        _text("question_digest", 64),
        _text("worker", 200),
        _text("revision", 200),
        _integer("repeat"),
        _text("grader", 40),
        _text("grader_version", 40),
        _text("call_id", 64, nullable=True),
        _number("score"),
        _number("cost_usd"),
        _integer("prompt_tokens"),
        _integer("completion_tokens"),
        _number("seconds"),
        _text("text_digest", 64),
        _time("created_at"),
        sa.UniqueConstraint(*cell, name="uq_attempts_cell"),
    )


def _registry() -> None:
    vector: sa.Column[Any] = sa.Column("vector", sa.LargeBinary(), nullable=False)
    op.create_table("checkpoints", _key("id", 64), _text("name", 200), vector, _json("meta"), _time("created_at"))
    op.create_table(
        "promotions",
        _key("model", 200),
        sa.Column("version", sa.Integer(), primary_key=True),
        _integer("origin"),
        _json("target"),
        sa.Column("reason", sa.Text(), nullable=False),
        _time("since"),
    )


def _logs() -> None:
    op.create_table(
        "generations",
        _key("run", 200),
        sa.Column("generation", sa.Integer(), primary_key=True),
        _json("body"),
        _time("created_at"),
    )
    op.create_table("requests", _key("id", 200), _json("body"), _time("created_at"))
    op.create_index("ix_requests_created_at", "requests", ["created_at"])
