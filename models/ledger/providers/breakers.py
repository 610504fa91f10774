"""Breakers of workers: rows that all processes share, one for each worker and key that is not asked at present.

A row without a time is open until a person or a successful ping closes it (`close`). Of the processes that meet a row
whose time has passed, one may send a probe (`take_probe`); its result closes the breaker, or opens it again.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import delete, or_, select, update

from models.ledger.store import Ledger
from models.ledger.tables import breakers

PROBED_S = 1.0
"""When to look again at a breaker whose probe is under way."""


@dataclass(frozen=True)
class OpenBreaker:
    """A worker that is not asked with this key (the name of its variable, or ""). `opens`: how often in a row."""

    worker: str
    key: str
    reason: str
    opens: int
    since: datetime
    until: datetime | None
    probe_until: datetime | None = None

    def wait_s(self, now: datetime) -> float:
        """Seconds until the worker may be asked again: infinite where somebody has to act, few while it is probed."""
        if self.until is None:
            return math.inf
        left = (self.until - now).total_seconds()
        return left if left > 0 else PROBED_S

    def reopened(self, reason: str, until: datetime | None, now: datetime) -> OpenBreaker:
        """It, opened once more: of the two times the later one holds, and a probe that has failed counts."""
        later = self.until is not None and (until is None or until > self.until)
        passed = self.until is not None and self.until <= now
        opens = self.opens + passed
        if not later:
            return replace(self, opens=opens, probe_until=None)
        return replace(self, reason=reason, until=until, opens=opens, probe_until=None)

    def is_due(self, now: datetime) -> bool:
        """Whether a probe may be sent."""
        return self.until is not None and self.until <= now and (self.probe_until is None or self.probe_until <= now)


def open_breakers(ledger: Ledger) -> list[OpenBreaker]:
    """All that are open, by worker and key."""
    with ledger.reading() as connection:
        rows = connection.execute(select(breakers).order_by(breakers.c.worker, breakers.c.key)).all()
    return [OpenBreaker(**row._mapping) for row in rows]


def open_breaker(ledger: Ledger, worker: str, key: str, reason: str, wait_s: float | None) -> None:
    """Open it for so many seconds, or for good (`None`). Of two that open it, the one for longer wins."""
    this = breakers.c.worker == worker, breakers.c.key == key
    with ledger.transaction() as connection:
        now = ledger.now(connection)
        until = None if wait_s is None else now + timedelta(seconds=wait_s)
        row = {"worker": worker, "key": key, "reason": reason, "opens": 1, "since": now, "until": until}
        made = ledger.insert(breakers).values(row).on_conflict_do_nothing().returning(breakers.c.worker)
        if connection.execute(made).first() is not None:
            return
        found = connection.execute(select(breakers).where(*this).with_for_update()).one()
        again = OpenBreaker(**found._mapping).reopened(reason, until, now)
        connection.execute(update(breakers).where(*this).values(asdict(again)))


def take_probe(ledger: Ledger, worker: str, key: str, for_s: float) -> bool:
    """Whether the caller may send the one probe, which holds for so many seconds."""
    with ledger.transaction() as connection:
        now = ledger.now(connection)
        free = or_(breakers.c.probe_until.is_(None), breakers.c.probe_until <= now)
        this = breakers.c.worker == worker, breakers.c.key == key, breakers.c.until <= now, free
        values = {"probe_until": now + timedelta(seconds=for_s)}
        taken = update(breakers).where(*this).values(values).returning(breakers.c.worker)
        return connection.execute(taken).first() is not None


def close_breaker(ledger: Ledger, worker: str, key: str | None = None) -> int:
    """Ask the worker again, with this key or (`None`) with all of its keys; returns how many were open."""
    which = [breakers.c.worker == worker, *([] if key is None else [breakers.c.key == key])]
    with ledger.transaction() as connection:
        return int(connection.execute(delete(breakers).where(*which)).rowcount)
