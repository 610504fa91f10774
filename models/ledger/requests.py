"""Requests that the endpoint has answered."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from models.errors import BadInput, NotFound
from models.ledger.store import Ledger
from models.ledger.tables import requests


def record_request(ledger: Ledger, row: dict[str, Any]) -> None:
    """Keep a request's row (JSON values; `id` names it); a second row of that id replaces the first."""
    if not isinstance(row.get("id"), str):
        raise BadInput("a request's row needs an id", field="id")
    with ledger.transaction() as connection:
        values = {"id": row["id"], "body": row, "created_at": ledger.now(connection)}
        statement = ledger.insert(requests).values(values)
        connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_={"body": row}))


def get_request(ledger: Ledger, id: str) -> dict[str, Any]:
    """The row recorded under `id`. Raises NotFound."""
    with ledger.reading() as connection:
        row = connection.execute(select(requests.c.body).where(requests.c.id == id)).scalar_one_or_none()
    if row is None:
        raise NotFound(f"no request {id!r}")
    return dict(row)


def recent_requests(ledger: Ledger, limit: int = 50) -> list[dict[str, Any]]:
    """The newest rows first."""
    statement = select(requests.c.body).order_by(requests.c.created_at.desc(), requests.c.id).limit(limit)
    with ledger.reading() as connection:
        return list(connection.execute(statement).scalars())
