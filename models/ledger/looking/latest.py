"""The latest requests, and what was spent since a time: read by indices, without the texts in the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from models.ledger.store import Ledger
from models.ledger.tables import calls, requests, tries

FIELDS = ("model", "status", "http", "error", "worker", "seconds", "cost_usd", "calls", "turns")
_NUMBERS = frozenset({"seconds", "cost_usd", "calls", "turns"})


@dataclass(frozen=True)
class Line:
    """A request in a list. `figures`: FIELDS, `None` where its row has none. `steps`: of a routed one, as decided.
    `root`: of one that was answered by a workflow, the request that it continues, or itself; else `None`.
    """

    id: str
    at: datetime
    figures: dict[str, Any]
    steps: Sequence[dict[str, Any]]
    root: str | None


def latest(ledger: Ledger, count: int, before: datetime | None = None) -> list[Line]:
    """The newest first; `before`: those that began earlier than that."""
    body = requests.c.body
    fields = [body[name].as_float() if name in _NUMBERS else body[name].as_string() for name in FIELDS]
    # A conducted request's row holds its whole conversation, so only parts of a row are read.
    request = (body["request", "id"].as_string(), body["request", "chain"])
    columns = (requests.c.id, requests.c.created_at, *fields, body["steps"], *request)
    newest = select(*columns).order_by(requests.c.created_at.desc()).limit(count)
    if before is not None:
        newest = newest.where(requests.c.created_at < before)
    with ledger.reading() as connection:
        rows = connection.execute(newest).all()
    return [_line(tuple(row)) for row in rows]


def _line(row: tuple[Any, ...]) -> Line:
    id, at, *found, steps, request, chain = row
    return Line(id, at, dict(zip(FIELDS, found, strict=True)), steps or (), chain[0] if chain else request)


@dataclass(frozen=True)
class Spent:
    """A worker's tries since a time. `usd`: as far as their cost is known; `failed`: how many ended with an error."""

    worker: str
    tries: int
    failed: int
    usd: float
    seconds: float | None


def spent_since(ledger: Ledger, since: datetime) -> list[Spent]:
    """By worker, the dearest first. Of calls that were first claimed since then."""
    failed = func.count().filter(tries.c.status.in_(("failed", "maybe_paid")))
    seconds = func.avg(tries.c.seconds).filter(tries.c.status == "settled")
    figures = func.count(), failed, func.sum(tries.c.cost_usd), seconds
    joined = select(calls.c.worker, *figures).join(tries, tries.c.call_id == calls.c.id)
    with ledger.reading() as connection:
        rows = connection.execute(joined.where(calls.c.created_at >= since).group_by(calls.c.worker)).all()
    found = [Spent(worker, count, bad, usd or 0.0, average) for worker, count, bad, usd, average in rows]
    return sorted(found, key=lambda one: (-one.usd, -one.tries, one.worker))
