"""A call's tries: reading them beside their call, closing them, and moving the money that hangs on them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import Connection, bindparam, select, update

from models.ledger.budgets import book
from models.ledger.tables import calls, tries

OPEN = ("claimed", "sent")
"""The statuses of a try that has not ended: what it may cost is reserved."""

CHUNK = 1000  # identities per statement; both databases limit a statement's parameters


def tries_of(connection: Connection, ids: Iterable[str]) -> dict[tuple[str, int], Any]:
    """Every try of these calls beside its call's present state, the calls locked.

    The lock comes first, by itself: PostgreSQL reads the locked row anew after it waited, but what was joined to it
    as it was before, so that a try that somebody has just ended would be ended, and its money moved, twice.
    """
    of_call = (calls.c.attempt.label("current"), calls.c.status.label("call_status"), calls.c.lease_until)
    columns = (*of_call, tries)
    found = {}
    for some in chunks(sorted(ids)):
        connection.execute(select(calls.c.id).where(calls.c.id.in_(some)).order_by(calls.c.id).with_for_update())
        statement = select(*columns).join(tries, tries.c.call_id == calls.c.id).where(calls.c.id.in_(some))
        for row in connection.execute(statement):
            found[row.call_id, row.attempt] = row
    return found


def end(connection: Connection, now: datetime, ends: Sequence[tuple[Any, str, dict[str, Any]]]) -> None:
    """Close tries (row, status, values) and move their money.

    It is reserved while a try runs, counts at its worst case while that is in doubt, and at its price after.
    """
    if not ends:
        return
    rows, money = [], defaultdict[str, list[float]](lambda: [0.0, 0.0])
    for row, status, values in ends:
        known = {"cost_usd": None, "seconds": None, "error": row.error, "transient": row.transient} | values
        rows.append({"_id": row.call_id, "_attempt": row.attempt, "status": status, "ended_at": now, **known})
        if row.budget is not None:
            after = known["cost_usd"] if known["cost_usd"] is not None else row.worst_usd
            money[row.budget][0] += row.worst_usd if row.status in OPEN else 0.0
            money[row.budget][1] += 0.0 if status == "failed" else after
            money[row.budget][1] -= row.worst_usd if row.status == "maybe_paid" else 0.0
    this = tries.c.call_id == bindparam("_id"), tries.c.attempt == bindparam("_attempt")
    connection.execute(update(tries).where(*this), rows)
    for budget, (released, spent) in sorted(money.items()):
        book(connection, budget, released=released, spent=spent)


def chunks(ids: Sequence[str]) -> Iterator[list[str]]:
    rest = iter(ids)
    while some := list(islice(rest, CHUNK)):
        yield some
