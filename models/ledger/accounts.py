"""Accounts: the money that calls have cost, and may have cost."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, func, or_, select
from sqlalchemy.sql import ColumnElement

from models.ledger.access.purses import Purse
from models.ledger.store import Ledger
from models.ledger.tables import calls, tries
from models.ledger.workflows import costs_of, scopes_in, scopes_of


@dataclass(frozen=True)
class Allowance:
    """What a request may use over all its calls, those of its rounds, steps and continuations; `None` is no limit.

    `request`: the id of the first request, which names the workflows. `purse`: the budgets of the key that pays, on
    which every call draws at the same time. `whole`: of the request's calls that are claimed in one transaction either
    all fit, or none of them does. `held`: the request may have a hold, out of which its calls are paid first.
    """

    request: str
    max_usd: float | None = None
    max_calls: int | None = None
    purse: Purse | None = None
    whole: bool = False
    held: bool = False


@dataclass
class Room:
    """What is left of an allowance. `running`: open calls, which may turn out cheaper than their worst cases."""

    usd: float
    calls: float
    running: int

    def refuses(self, worst_usd: float, count: int = 1) -> str | None:
        """The limit that `count` calls of this worst case together would exceed, "wait" where a running one may leave
        enough."""
        if self.calls < count:
            return "max_calls"
        if worst_usd <= self.usd + 1e-12:
            return None
        return "wait" if self.running else "max_usd"

    def take(self, worst_usd: float, count: int = 1) -> None:
        """Count so many more calls."""
        self.usd, self.calls, self.running = self.usd - worst_usd, self.calls - count, self.running + count


def room(ledger: Ledger, connection: Connection, allowance: Allowance, now: datetime) -> Room:
    """What is left, in the caller's transaction; claims for one request wait for one another."""
    ledger.serialise(connection, f"allowance:{allowance.request}")
    # Calls of an answer without a workflow have the request's id itself as their scope.
    costs = costs_of(connection, [allowance.request, *scopes_in(connection, allowance.request)], now)
    usd = sum(row.cost_usd if row.cost_usd is not None else row.worst_usd for row in costs)
    running = sum(row.status in ("claimed", "sent") and row.lease_until > now for row in costs)
    most_usd = float("inf") if allowance.max_usd is None else allowance.max_usd
    most_calls = float("inf") if allowance.max_calls is None else allowance.max_calls
    return Room(most_usd - usd, most_calls - len(costs), running)


def are_sent(ledger: Ledger, call_ids: Collection[str]) -> bool:
    """Whether one of these calls is sent, and not yet answered."""
    one = select(calls.c.id).where(calls.c.id.in_(call_ids), calls.c.status == "sent").limit(1)
    with ledger.reading() as connection:
        return connection.execute(one).scalar_one_or_none() is not None


def failed_tries(ledger: Ledger, call_id: str) -> int:
    """How many tries of a call ended with a transient failure."""
    count = select(func.count()).where(tries.c.call_id == call_id, tries.c.transient.is_(True))
    with ledger.reading() as connection:
        return int(connection.execute(count).scalar_one())


def maybe_paid(ledger: Ledger, scope: str | Collection[str] | None = None) -> list[dict[str, Any]]:
    """Tries that died in flight, oldest first: marked as maybe paid, or sent with an expired lease.

    `scope`: one or several; `None`: all.

    Each: `call_id`, `attempt`, `scope`, `worker`, `worst_usd`, `started_at`, `error`.
    """
    columns = (tries.c.call_id, tries.c.attempt, calls.c.scope, calls.c.worker)
    more = (tries.c.worst_usd, tries.c.started_at, tries.c.error)
    with ledger.reading() as connection:
        doubtful = _doubtful(ledger.now(connection))
        statement = _scoped(select(*columns, *more).join(calls, calls.c.id == tries.c.call_id), scope)
        rows = connection.execute(statement.where(doubtful).order_by(tries.c.started_at, tries.c.call_id))
        return [dict(row._mapping) for row in rows]


def in_doubt(ledger: Ledger, root: str) -> list[dict[str, Any]]:
    """`maybe_paid` of all calls of the request `root` and its continuations, as JSON values."""
    rows = maybe_paid(ledger, scopes_of(ledger, root))
    return [{**row, "started_at": row["started_at"].isoformat()} for row in rows]


def spend(ledger: Ledger, scope: str | Collection[str] | None = None) -> dict[str, Any]:
    """Counts of `calls` (identities), `settled` calls, `tries` and `maybe_paid` tries; `usd` known to be paid, and
    `maybe_usd`, the worst-case cost of the `maybe_paid` tries.
    """
    with ledger.reading() as connection:
        doubtful = _doubtful(ledger.now(connection))
        settled = func.count().filter(calls.c.status == "settled")
        of_calls = connection.execute(_scoped(select(func.count(), settled).select_from(calls), scope)).one()
        sums = (func.sum(tries.c.cost_usd), func.sum(tries.c.worst_usd).filter(doubtful))
        counts = (func.count(), func.count().filter(doubtful))
        statement = select(*counts, *sums).select_from(tries).join(calls, calls.c.id == tries.c.call_id)
        of_tries = connection.execute(_scoped(statement, scope)).one()
    return {
        "calls": of_calls[0],
        "settled": of_calls[1],
        "tries": of_tries[0],
        "maybe_paid": of_tries[1],
        "usd": of_tries[2] or 0.0,
        "maybe_usd": of_tries[3] or 0.0,
    }


def spent_on(ledger: Ledger, root: str) -> dict[str, Any]:
    """`calls` and `cost_usd` of the request `root` and its continuations: what is known to be paid."""
    found = spend(ledger, scopes_of(ledger, root))
    return {"calls": found["calls"], "cost_usd": found["usd"]}


def paid_by(ledger: Ledger, budget: str, scope: str) -> tuple[int, float]:
    """How many calls of a scope were paid out of this budget, and for how many USD.

    A call that was settled before, or that another one paid while this one waited for it, is not among them.
    """
    mine = calls.c.scope == scope, tries.c.budget == budget, tries.c.cost_usd.is_not(None)
    paid = select(func.count(calls.c.id.distinct()), func.sum(tries.c.cost_usd))
    with ledger.reading() as connection:
        count, usd = connection.execute(paid.join(calls, calls.c.id == tries.c.call_id).where(*mine)).one()
    return count, usd or 0.0


def _doubtful(now: datetime) -> ColumnElement[bool]:
    orphan = and_(tries.c.status == "sent", tries.c.attempt == calls.c.attempt, calls.c.lease_until <= now)
    return and_(tries.c.cost_usd.is_(None), or_(tries.c.status == "maybe_paid", orphan))


def _scoped(statement: Any, scope: str | Collection[str] | None) -> Any:
    if scope is None:
        return statement
    return statement.where(calls.c.scope.in_([scope] if isinstance(scope, str) else scope))
