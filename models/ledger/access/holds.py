"""Holds: what a whole request may still cost, reserved in its key's budgets before each of its calls is known.

A call of the request takes its worst case out of the hold first, and reserves in the budgets only what the hold lacks:
the calls of others cannot take what a workflow that has begun was promised. What is left is given back at the request's
end. The money of a failed try goes back to the budgets, not to the hold.

A hold lapses `HELD` after its last use, for a process that died; a request that goes on later holds anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, and_, delete, select, update

from models.ledger.accounts import Allowance
from models.ledger.budgets import lineage, lock, reserve_all
from models.ledger.store import Ledger
from models.ledger.tables.access import holds

HELD = timedelta(minutes=15)
"""Longer than one call takes, in which a request shows no other sign of life."""


@dataclass
class Held:
    """A row. `usd`: what is left; `budget`: the path of the day's budget in which it was reserved."""

    request: str
    budget: str
    usd: float
    until: datetime


class Holds:
    """The holds of some requests, locked, while their calls are judged or taken in one transaction.

    To be read with the budgets locked, as all that changes a hold has them.
    """

    def __init__(self, connection: Connection, allowances: Iterable[Allowance | None]) -> None:
        wanted = {one.request for one in allowances if one is not None and one.held}
        self._connection, self._used = connection, set[str]()
        self._rows = {row.request: row for row in locked(connection, holds.c.request.in_(wanted))} if wanted else {}

    def lacks(self, allowance: Allowance, usd: float, names: Iterable[str]) -> dict[str, float]:
        """What a call of at most `usd` has to reserve in each of these budgets beyond its request's hold, USD, which is
        less by what it takes; below 0 in the budget of another day, in which only the hold was reserved."""
        lacking = dict.fromkeys(names, usd)
        held = self._rows.get(allowance.request) if allowance.held else None
        if held is None or not (taken := min(held.usd, usd)):
            return lacking
        held.usd = round(held.usd - taken, 9)
        self._used.add(allowance.request)
        return lacking | {name: round(lacking.get(name, 0.0) - taken, 9) for name in lineage(held.budget)}

    def write(self, now: datetime) -> None:
        """Keep what was taken."""
        for request in sorted(self._used):
            values = {"usd": self._rows[request].usd, "until": now + HELD}
            self._connection.execute(update(holds).where(holds.c.request == request).values(values))


def locked(connection: Connection, which: ColumnElement[bool]) -> list[Held]:
    """These holds, until the transaction ends."""
    columns = holds.c.request, holds.c.budget, holds.c.usd, holds.c.until
    rows = connection.execute(select(*columns).where(which).order_by(holds.c.request).with_for_update())
    return [Held(*row) for row in rows]


def drop(connection: Connection, held: Iterable[Held]) -> None:
    """End these holds, whose budgets are locked, and give back what is left of them."""
    for one in held:
        reserve_all(connection, dict.fromkeys(lineage(one.budget), -one.usd))
        connection.execute(delete(holds).where(holds.c.request == one.request))


def release(ledger: Ledger, request: str) -> None:
    """End the request's hold, if there is one, and give back what is left of it."""
    _end(ledger, lambda now: holds.c.request == request)


def lapse(ledger: Ledger, budget: str) -> bool:
    """End the holds in this budget and below it that have lapsed; return whether there were any."""
    below = holds.c.budget.startswith(budget + "/", autoescape=True)
    return _end(ledger, lambda now: and_(below, holds.c.until <= now))


def _end(ledger: Ledger, which: Callable[[datetime], ColumnElement[bool]]) -> bool:
    """End the holds that are meant at a time; return whether there were any."""
    with ledger.reading() as connection:
        names = connection.execute(select(holds.c.budget).where(which(ledger.now(connection)))).scalars().all()
    if not names:
        return False
    with ledger.transaction() as connection:
        lock(connection, names)
        found = locked(connection, which(ledger.now(connection)))
        drop(connection, found)
    return bool(found)
