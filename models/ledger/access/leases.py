"""What each process may use of a key's rates: a share that it leases, so that most requests need no transaction.

The shares of all processes together are at most the key's limit. A share of a minute's requests or tokens is used up
with the minute; a share of the requests in flight is given back, or lapses with its process.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import Connection, delete, select

from models.ledger.journal import Change
from models.ledger.store import Ledger
from models.ledger.tables.access import rate_leases

Kind = Literal["requests", "tokens", "in_flight"]

HELD = timedelta(seconds=30)
"""How long a share of the requests in flight is held without being renewed."""


@dataclass(frozen=True)
class Share:
    """`mine`: of this process, in this minute or now; `all`: of all processes. `until`: when it ends, in `left_s`
    seconds."""

    mine: int
    all: int
    until: datetime
    left_s: float


def lease(ledger: Ledger, key: str, kind: Kind, owner: str, more: int, limit: int, used: int = 0) -> Change[Share]:
    """Take `more` of the key's `limit`, or as much as is left (less than 0 gives back). `used`: of `more`, what has
    been used already, so that it counts also where it does not fit."""

    def change(connection: Connection, now: datetime) -> Share:
        ledger.serialise(connection, f"rates:{key}")
        of_key = rate_leases.c.key == key, rate_leases.c.kind == kind
        connection.execute(delete(rate_leases).where(*of_key, rate_leases.c.until <= now))
        found = select(rate_leases.c.owner, rate_leases.c.amount).where(*of_key)
        amounts: dict[str, int] = dict(connection.execute(found).tuples().all())
        had = amounts.pop(owner, 0)
        others = sum(amounts.values())
        mine = max(had + used, min(had + more, limit - others), 0) if more > 0 else max(had + more, 0)
        until = now + HELD if kind == "in_flight" else now.replace(second=0, microsecond=0) + timedelta(minutes=1)
        row = {"key": key, "kind": kind, "owner": owner, "amount": mine, "until": until}
        statement = ledger.insert(rate_leases).values(row)
        new = {"amount": mine, "until": until}
        connection.execute(statement.on_conflict_do_update(index_elements=["key", "kind", "owner"], set_=new))
        return Share(mine, others + mine, until, (until - now).total_seconds())

    return change
