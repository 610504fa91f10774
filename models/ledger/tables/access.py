"""Tables of API keys, of what their requests hold, and of what each process may use of a key's rates."""

from __future__ import annotations

from sqlalchemy import JSON, Column, Integer, String, Table

from models.ledger.tables.columns import Usd, Utc, metadata

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(16), primary_key=True),  # the key begins with it; rows and logs name the key by it
    Column("name", String(100), nullable=False),
    Column("digest", String(64), nullable=False),  # sha256 (hex) of the key, which is stored nowhere
    Column("policy", JSON, nullable=False),
    Column("created_at", Utc, nullable=False),
    Column("expires_at", Utc),
    Column("revoked_at", Utc),
    Column("used_at", Utc),  # the last use, up to a minute late
)

holds = Table(
    "holds",
    metadata,
    Column("request", String(200), primary_key=True),  # the first request, which names the workflows
    Column("budget", String(200), nullable=False),  # the path of the day's, as in tries
    Column("usd", Usd, nullable=False),  # what is left, which is reserved in the budgets
    Column("until", Utc, nullable=False),
)

rate_leases = Table(
    "rate_leases",
    metadata,
    Column("key", String(16), primary_key=True),
    Column("kind", String(10), primary_key=True),  # requests, tokens, in_flight
    Column("owner", String(32), primary_key=True),  # a process
    Column("amount", Integer, nullable=False),
    Column("until", Utc, nullable=False),
)
