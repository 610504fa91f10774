"""The table of responses that are kept for their clients."""

from __future__ import annotations

from sqlalchemy import JSON, Column, String, Table

from models.ledger.tables.columns import Utc, metadata

responses = Table(
    "responses",
    metadata,
    Column("id", String(200), primary_key=True),
    Column("owner", String(64)),  # the id of the API key that asked; NULL without keys
    Column("previous", String(200)),  # the response that it continues
    Column("conversation", String(200), index=True),  # the client's name for it
    Column("status", String(20), nullable=False),  # queued, in_progress, completed, incomplete, failed, cancelled
    Column("process", String(200)),  # who answers it in the background
    Column("body", JSON, nullable=False),  # response: as its client gets it; input: its items
    Column("created_at", Utc, nullable=False, index=True),
    Column("pruned_at", Utc),  # when its texts were deleted
)
