"""The pace of calls: a provider's limits per minute and in flight, kept by all processes that share the ledger.

A worker's row has the times at which its next call may start. A claim takes its time and moves the row on, evenly: a
provider may reckon its limit of a minute by the second. Source: the generic cell rate algorithm (ITU-T I.371).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, func, select, update

from models.ledger.store import Ledger
from models.ledger.tables import calls, paces
from models.ledger.tries import OPEN


@dataclass(frozen=True)
class Pace:
    """What one call takes of its worker's limits: seconds of its requests per minute and of its tokens per minute.

    `in_flight`: how many calls may be open at once. `patience_s`: how long the caller waits for its start.
    """

    request_s: float = 0.0
    tokens_s: float = 0.0
    in_flight: int | None = None
    patience_s: float = float("inf")


def paced(
    ledger: Ledger, connection: Connection, wanted: Sequence[tuple[str, str, Pace | None]], now: datetime
) -> tuple[dict[str, datetime | None], dict[str, datetime]]:
    """When calls, each (identity, worker, pace), may start: those that are held, and the starts of the others.

    A held call may be claimed again at its time or, without one, when a call of its worker has ended. The earlier calls
    start first.
    """
    held: dict[str, datetime | None] = {}
    starts: dict[str, datetime] = {}
    limited = [(identity, worker, pace) for identity, worker, pace in wanted if pace is not None]
    lanes = {worker: _Lane(ledger, connection, worker, now) for worker in sorted({each[1] for each in limited})}
    for identity, worker, pace in limited:
        lane = lanes[worker]
        late = (lane.start - now).total_seconds() > pace.patience_s
        if late or lane.is_full(pace):
            held[identity] = lane.start if late else None
        else:
            starts[identity] = lane.take(pace)
    for lane in lanes.values():
        lane.keep()
    return held, starts


class _Lane:
    """One worker's row, locked: the lanes are made in order, so that claims of several processes do not deadlock."""

    def __init__(self, ledger: Ledger, connection: Connection, worker: str, now: datetime) -> None:
        self._connection, self._now, self._this = connection, now, paces.c.worker == worker
        row = {"worker": worker, "next_request": now, "next_tokens": now}
        connection.execute(ledger.insert(paces).values(row).on_conflict_do_nothing())
        columns = select(paces.c.next_request, paces.c.next_tokens).where(self._this)
        self._request, self._tokens = connection.execute(columns.with_for_update()).one()
        self._open = calls.c.worker == worker, calls.c.status.in_(OPEN), calls.c.lease_until > now
        self._taken = 0

    @cached_property
    def _before(self) -> int:
        """The calls that were open before."""
        return int(self._connection.execute(select(func.count()).where(*self._open)).scalar_one())

    def is_full(self, pace: Pace) -> bool:
        """Whether no more calls may be in flight."""
        return pace.in_flight is not None and self._before + self._taken >= pace.in_flight

    @property
    def start(self) -> datetime:
        """When the next call may start."""
        return max(self._now, self._request, self._tokens)

    def take(self, pace: Pace) -> datetime:
        """The call's start; the next one's moves on."""
        start = self.start
        self._taken += 1
        if pace.request_s:
            self._request = start + timedelta(seconds=pace.request_s)
        if pace.tokens_s:
            self._tokens = start + timedelta(seconds=pace.tokens_s)
        return start

    def keep(self) -> None:
        values = {"next_request": self._request, "next_tokens": self._tokens}
        self._connection.execute(update(paces).where(self._this).values(values))


def give_back(ledger: Ledger, seconds: Mapping[str, float]) -> None:
    """Return what calls took of their workers' tokens per minute and did not use."""
    with ledger.transaction() as connection:
        for worker, unused in sorted(seconds.items()):
            this: Any = paces.c.worker == worker
            row = connection.execute(select(paces.c.next_tokens).where(this).with_for_update()).first()
            if row is not None:
                earlier = row.next_tokens - timedelta(seconds=unused)
                connection.execute(update(paces).where(this).values(next_tokens=earlier))
