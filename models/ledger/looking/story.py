"""All that the ledger knows of one request: its row, its plans and steps, its calls and each of their tries."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import or_, select

from models.errors import NotFound
from models.ledger.requests import Row
from models.ledger.store import Ledger
from models.ledger.tables import calls, requests, tries
from models.ledger.workflows import Past, past


@dataclass(frozen=True)
class Try:
    """One sending of a call. `worst_usd`: what was reserved for it; `cost_usd`: `None` where it is not known."""

    attempt: int
    status: str
    worst_usd: float
    cost_usd: float | None
    seconds: float | None
    error: str | None
    started_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True)
class Call:
    """A call with its tries, in order. `payload` and `reply`: its texts; empty and `None` where they were pruned."""

    id: str
    scope: str
    worker: str
    status: str
    payload: dict[str, Any]
    reply: dict[str, Any] | None
    error: str | None
    created_at: datetime
    tries: tuple[Try, ...]

    @property
    def cost_usd(self) -> float:
        """Of all tries, as far as it is known."""
        return sum(one.cost_usd or 0.0 for one in self.tries)

    @property
    def seconds(self) -> float | None:
        """Of the last try."""
        return self.tries[-1].seconds if self.tries else None


@dataclass(frozen=True)
class Story:
    """`past`: of a conducted request and those that continue it, else empty. `calls`: the earliest first."""

    row: Row
    began: datetime
    past: Past
    calls: tuple[Call, ...]

    @property
    def is_pruned(self) -> bool:
        """Whether its texts were deleted."""
        return "pruned" in self.row

    def call(self, id: str | None) -> Call | None:
        return next((one for one in self.calls if one.id == id), None)


def story(ledger: Ledger, id: str) -> Story:
    """Raises NotFound. Of a pruned request only the figures are left."""
    with ledger.reading() as connection:
        found = connection.execute(select(requests).where(requests.c.id == id)).first()
    if found is None:
        raise NotFound(f"no request {id!r}")
    row: Row = dict(found.body)
    asked = row.get("request")
    history = Past() if asked is None else past(ledger, (asked.get("chain") or [id])[0])
    named = [step["call_id"] for step in row.get("steps") or () if step.get("call_id")]
    made = _calls(ledger, [id, f"{id}/0", *history.scopes], named)
    # A routed request's row is written at its end.
    took = timedelta(seconds=0.0 if asked or "messages" in row else row.get("seconds") or 0.0)
    began = min([found.created_at - took, *(call.created_at for call in made if call.scope == id)])
    return Story(row, began, history, made)


def _calls(ledger: Ledger, scopes: Collection[str], ids: Collection[str]) -> tuple[Call, ...]:
    mine = or_(calls.c.scope.in_(scopes), calls.c.id.in_(ids)) if ids else calls.c.scope.in_(scopes)
    names = ("id", "scope", "worker", "status", "payload", "reply", "error", "created_at")
    with ledger.reading() as connection:
        rows = connection.execute(select(*(calls.c[name] for name in names)).where(mine)).all()
        of_calls = tries.c.call_id.in_([row.id for row in rows])
        sent = connection.execute(select(tries).where(of_calls).order_by(tries.c.attempt)).all()
    tried: dict[str, list[Try]] = {row.id: [] for row in rows}
    for each in sent:
        tried[each.call_id].append(Try(*(getattr(each, name) for name in Try.__dataclass_fields__)))
    found = [Call(**row._mapping, tries=tuple(tried[row.id])) for row in rows]
    return tuple(sorted(found, key=lambda call: (call.created_at, call.id)))
