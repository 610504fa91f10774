"""The table of what callers say of answers. It holds no texts."""

from __future__ import annotations

from sqlalchemy import Column, Float, String, Table

from models.ledger.tables.columns import Utc, metadata

feedback = Table(
    "feedback",
    metadata,
    Column("request", String(200), primary_key=True),  # whose answer
    Column("kind", String(20), primary_key=True),  # opinion, outcome
    Column("owner", String(64)),  # the id of the API key that asked, and says it; NULL without keys
    Column("worker", String(200)),  # who answered; NULL where nobody is named
    Column("score", Float, nullable=False),  # in [0, 1]
    Column("created_at", Utc, nullable=False, index=True),
    Column("updated_at", Utc, nullable=False),
)
