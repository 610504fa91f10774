"""The tries of a call and their leases: sending, renewing, withdrawing and expiring tries, with their reserved money.

A try is one transport attempt of a call. Its owner holds the call by a lease, which begins when the call is claimed
(`calls.claim`) and anew when the request is sent (`send`), and is renewed (`renew`) until the try has ended. A try ends
by a settlement or a failure (`calls`), by `withdraw` if it was never sent, or by `expire` when its lease runs out. Each
end moves the try's money in its budget (`end`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from sqlalchemy import Connection, bindparam, select, text, update

from models.ledger.budgets import book, draws_on, lineage, lock, never_sent
from models.ledger.statements import END, HELD, LOCK_CALLS, SEND_CALLS, SEND_TRIES, TRIES
from models.ledger.store import Ledger
from models.ledger.tables import calls, tries

OPEN = ("claimed", "sent")
"""The statuses of a try that has not ended: its worst-case cost is reserved."""

OPEN_CALLS = "calls.status IN ('claimed', 'sent')"
"""As the index of open calls has it, so that it is used."""

EXPIRED, WITHDRAWN = ("its lease expired before it was sent", "it was not sent")
"""The errors of tries whose requests were never sent."""

CHUNK = 1000  # identities per statement; both databases limit a statement's parameters


def send(ledger: Ledger, marks: Sequence[tuple[str, int]], owner: str, lease_s: float = 120.0) -> list[bool]:
    """Record that tries (call, attempt) are about to be sent, and restart their leases. Call before the first byte.

    `False`: another owner has the call. The request must not be sent then.
    """
    with ledger.transaction() as connection:
        now = ledger.now(connection)
        mine = _held(connection, [call for call, _ in marks], owner, "claimed")
        going = sorted(set(marks) & set(mine.items()))
        for some in chunks([call for call, _ in going]):
            SEND_CALLS.run(connection, some, {"_lease": now + timedelta(seconds=lease_s), "_now": now})
            SEND_TRIES.run(connection, some)
    return [mark in going for mark in marks]


def renew(ledger: Ledger, call_ids: Iterable[str], owner: str, lease_s: float) -> int:
    """Extend the leases of the owner's open calls among these; return how many there are."""
    with ledger.transaction() as connection:
        lease = ledger.now(connection) + timedelta(seconds=lease_s)
        mine = _held(connection, call_ids, owner, *OPEN)
        for some in chunks(sorted(mine)):
            connection.execute(update(calls).where(calls.c.id.in_(some)).values(lease_until=lease))
    return len(mine)


def withdraw(ledger: Ledger, call_ids: Iterable[str], owner: str) -> None:
    """Give up the owner's open claims on calls that it knows were not sent, and will not be."""
    with ledger.transaction() as connection:
        now = ledger.now(connection)
        mine = _held(connection, call_ids, owner, *OPEN)
        known = tries_of(connection, mine)
        rows = [known[mark] for mark in sorted(mine.items())]
        end(connection, now, [(row, "failed", {"error": WITHDRAWN}) for row in rows])
        for some in chunks(sorted(mine)):
            connection.execute(update(calls).where(calls.c.id.in_(some)).values(status="failed", updated_at=now))


def expire(connection: Connection, ids: Collection[str], now: datetime, also: Collection[str | None] = ()) -> None:
    """End the tries of these calls whose leases have run out: a sent one may have been paid, any other has failed.

    `also`: budgets in which the caller reserves next; they are locked together with the tries' own.
    """
    if not ids:
        lock(connection, also)
        return
    known = [row for row in tries_of(connection, ids).values() if row.attempt == row.current and row.status in OPEN]
    held = [row for row in known if row.lease_until <= now]  # it may have been renewed before the rows were locked
    lock(connection, {*also, *(row.budget for row in held)})
    ends, ended = [], []
    for row in held:
        status, error = ("maybe_paid", "the lease expired") if row.status == "sent" else ("failed", EXPIRED)
        ends.append((row, status, {"error": error}))
        ended.append({"_id": row.call_id, "status": status, "updated_at": now})
    end(connection, now, ends)
    if ended:
        connection.execute(update(calls).where(calls.c.id == bindparam("_id")), ended)


def free(ledger: Ledger, budget: str) -> bool:
    """End the budget's expired claims that were never sent; return whether there were any."""
    unsent = select(tries.c.call_id).join(calls, calls.c.id == tries.c.call_id)
    with ledger.reading() as connection:
        mine = unsent.where(text(OPEN_CALLS), draws_on(budget), never_sent(ledger.now(connection)))
        ids = connection.execute(mine).scalars().all()
    if ids:
        with ledger.transaction() as connection:
            expire(connection, ids, ledger.now(connection), [budget])
    return bool(ids)


def tries_of(connection: Connection, ids: Iterable[str]) -> dict[tuple[str, int], Any]:
    """All tries of these calls, by (call, attempt), each with its call's present state; locks the calls.

    The lock is a statement of its own: after waiting for a lock PostgreSQL reads the locked row again, but the rows
    joined to it as they were before, so that a try that another process has just ended would be ended, and its money
    moved, a second time.
    """
    found = {}
    for some in chunks(sorted(ids)):
        if connection.dialect.name != "sqlite":  # whose write transactions exclude one another
            LOCK_CALLS.rows(connection, some)
        for row in TRIES.rows(connection, some):
            found[row.call_id, row.attempt] = row
    return found


def end(connection: Connection, now: datetime, ends: Sequence[tuple[Any, str, dict[str, Any]]]) -> None:
    """Close tries, each given as (row, status, values), and book their money.

    The worst case is reserved while a try is open, counts as spent while it is unknown whether the try was paid, and is
    replaced by the price once that is known.
    """
    if not ends:
        return
    rows, money = [], defaultdict[str, list[float]](lambda: [0.0, 0.0])
    for row, status, values in ends:
        known = {"cost_usd": None, "seconds": None, "error": row.error, "transient": row.transient} | values
        written = {"_id": row.call_id, "_attempt": row.attempt, "_status": status, "_ended_at": now}
        rows.append(written | {f"_{name}": value for name, value in known.items()})
        after = known["cost_usd"] if known["cost_usd"] is not None else row.worst_usd
        for budget in () if row.budget is None else lineage(row.budget):
            money[budget][0] += row.worst_usd if row.status in OPEN else 0.0
            money[budget][1] += 0.0 if status == "failed" else after
            money[budget][1] -= row.worst_usd if row.status == "maybe_paid" else 0.0
    END.run(connection, rows)
    for budget, (released, spent) in sorted(money.items()):
        book(connection, budget, released=released, spent=spent)


def chunks(ids: Sequence[str]) -> Iterator[list[str]]:
    """The ids in lists of at most `CHUNK`."""
    rest = iter(ids)
    while some := list(islice(rest, CHUNK)):
        yield some


def _held(connection: Connection, ids: Iterable[str], owner: str, *statuses: str) -> dict[str, int]:
    """The owner's calls among these, locked, with their attempt numbers.

    The lock is taken in order of id: an UPDATE alone locks its rows in any order, so that two of them can deadlock.
    """
    found: dict[str, int] = {}
    for some in chunks(sorted(ids)):
        rows = HELD.rows(connection, some, {"_owner": owner})
        found |= {row.id: row.attempt for row in rows if row.status in statuses}
    return found
