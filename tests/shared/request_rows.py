"""The ledger's rows of requests, read from their table."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from models.ledger.store import Ledger
from models.ledger.tables import requests


def recent_requests(ledger: Ledger, limit: int = 50) -> list[dict[str, Any]]:
    """The newest rows first."""
    statement = select(requests.c.body).order_by(requests.c.created_at.desc(), requests.c.id).limit(limit)
    with ledger.reading() as connection:
        return list(connection.execute(statement).scalars())
