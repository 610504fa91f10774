"""Calls: claimed before they are paid for, settled or failed after (ARCHITECTURE, decision 1).

A settled identity is never paid again. While a claim's lease is live, others wait. When it has expired, the call is
taken over as the next attempt; the try before it is marked "maybe paid" if it was sent (`tries.send`), else its
reservation is released. A settlement by an owner who has lost the call is fenced off: its price is booked, its reply is
not stored.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection, bindparam, select, update

from models.ledger.access.limits import drawn, refused, reserve_calls
from models.ledger.accounts import Allowance
from models.ledger.budgets import priced, reserve
from models.ledger.providers.paces import Pace, paced
from models.ledger.statements import NEW_CALL, NEW_TRY, READ, READ_LOCKED, SETTLE
from models.ledger.store import Ledger
from models.ledger.tables import calls
from models.ledger.text import storable_json
from models.ledger.tries import OPEN, chunks, end, expire, tries_of


@dataclass(frozen=True)
class CallSpec:
    """A call to claim. `worst_usd`: the most it can cost, reserved in the budget while it runs.

    `allowance`: of the request that it is made for; it is held at the same time. `sends`: the owner sends it as soon as
    it is claimed, so that it is marked as sent at the same time.
    """

    identity: str
    scope: str
    worker: str
    revision: str
    payload: dict[str, Any]
    worst_usd: float = 0.0
    allowance: Allowance | None = None
    pace: Pace | None = None
    sends: bool = False

    @property
    def status(self) -> str:
        """Of the call, and of its try, once it is claimed."""
        return "sent" if self.sends else "claimed"

    def pays(self, now: datetime) -> str | None:
        """The budget of a key that pays for it, if one does."""
        purse = None if self.allowance is None else self.allowance.purse
        return None if purse is None else purse.path(now)


@dataclass(frozen=True)
class Claim:
    """The result of a claim; `call_id` is the identity. The states:

    `mine`: send it, as this attempt, not before `start_at`; where `sent`, it is marked as sent already. `settled`:
    `reply` is the answer. `held`: another try's lease is live until `lease_until`, or the next try may not start before
    `not_before`, or (neither is given) it fits its allowance, or its worker's calls in flight, only once running calls
    have ended. `limited`: it does not fit its allowance, by `limit`. `budget`: in words, the budget of a key that keeps
    it from being sent, now or at all. `maybe_paid`: the last try died in flight, and the claim was made with
    `resend=False`. `pruned`: the call's texts were deleted at `pruned_at`.
    """

    call_id: str
    attempt: int
    state: Literal["mine", "settled", "held", "maybe_paid", "pruned", "limited"]
    reply: dict[str, Any] | None = None
    lease_until: datetime | None = None
    not_before: datetime | None = None
    pruned_at: datetime | None = None
    limit: str | None = None
    budget: str | None = None
    start_at: datetime | None = None
    sent: bool = False

    @property
    def identity(self) -> str:
        return self.call_id


@dataclass(frozen=True)
class Settlement:
    """A reply to record, by the owner of this attempt."""

    call_id: str
    attempt: int
    owner: str
    reply: dict[str, Any]
    cost_usd: float
    seconds: float


def claim(
    ledger: Ledger,
    specs: Sequence[CallSpec],
    owner: str,
    *,
    lease_s: float = 120.0,
    resend: bool = True,
    budget: str | None = None,
) -> list[Claim]:
    """Claim calls in one transaction; one `Claim` per spec, in order (an identity given twice is one call).

    With a `budget`, the worst case of every call that becomes `mine` is reserved in it; if it does not fit, raises
    BudgetExceeded and writes nothing. A call that a key pays for draws on the budgets of its purse instead.
    """
    wanted = {spec.identity: spec for spec in specs}
    ids = sorted(wanted)  # locked are calls, budgets, allowances, paces, new calls, each sorted: no deadlocks
    with ledger.transaction() as connection:
        now = ledger.now(connection)
        found: dict[str, Claim] = {}
        expired = set()
        for row in _rows(connection, ids, lock=True):
            found[row.id] = _judge(row, now, resend)
            if row.status in OPEN and row.lease_until <= now:
                expired.add(row.id)
        asked = [(s.identity, s.allowance, s.worst_usd) for s in wanted.values() if _may_be_mine(found.get(s.identity))]
        expire(connection, expired, now, {budget, *drawn([allowance for _, allowance, _ in asked], now)})
        for id, why in refused(ledger, connection, asked, now).items():
            found[id] = Claim(id, 0, "held" if why.waits else "limited", limit=why.limit, budget=why.budget)
        limited = [(s.identity, s.worker, s.pace) for s in wanted.values() if _may_be_mine(found.get(s.identity))]
        held, starts = paced(ledger, connection, limited, now)
        found |= {identity: Claim(identity, 0, "held", not_before=at) for identity, at in held.items()}
        fresh = [wanted[identity] for identity in ids if identity not in found]
        found |= _insert(connection, fresh, owner, now, lease_s)
        mine = [(wanted[c.call_id], c.attempt) for c in found.values() if c.state == "mine"]
        _take(connection, mine, owner, now, now + timedelta(seconds=lease_s), budget)
    return [_given(spec, found[spec.identity], starts, spec is wanted[spec.identity]) for spec in specs]


def _given(spec: CallSpec, claim: Claim, starts: Mapping[str, datetime], counts: bool) -> Claim:
    """The claim as this spec gets it. `counts`: of several with its identity it is the one that was written."""
    return replace(claim, start_at=starts.get(spec.identity), sent=counts and spec.sends and claim.state == "mine")


def _judge(row: Any, now: datetime, resend: bool) -> Claim:
    if row.pruned_at is not None:
        return Claim(row.id, row.attempt, "pruned", pruned_at=row.pruned_at)
    if row.status == "settled":
        return Claim(row.id, row.attempt, "settled", reply=row.reply)
    if row.status in OPEN and row.lease_until > now:
        return Claim(row.id, row.attempt, "held", lease_until=row.lease_until)
    if row.status in ("sent", "maybe_paid") and not resend:
        return Claim(row.id, row.attempt, "maybe_paid")
    if row.not_before is not None and row.not_before > now:
        return Claim(row.id, row.attempt, "held", not_before=row.not_before)
    return Claim(row.id, row.attempt + 1, "mine")


def _may_be_mine(found: Claim | None) -> bool:
    return found is None or found.state == "mine"


def _insert(
    connection: Connection,
    specs: Sequence[CallSpec],
    owner: str,
    now: datetime,
    lease_s: float,
) -> dict[str, Claim]:
    """Insert first attempts. A row that another transaction inserted meanwhile is held by it, or already settled."""
    if not specs:
        return {}
    rows = [
        {
            "id": spec.identity,
            "scope": spec.scope,
            "worker": spec.worker,
            "revision": spec.revision,
            "payload": spec.payload,
            "status": spec.status,
            "attempt": 1,
            "owner": owner,
            "lease_until": now + timedelta(seconds=lease_s),
            "created_at": now,
            "updated_at": now,
        }
        for spec in specs
    ]
    found = {spec.identity: Claim(spec.identity, 1, "mine") for spec in specs}
    if NEW_CALL.run(connection, rows) == len(rows):
        return found
    for row in _rows(connection, list(found), lock=False):
        if (row.owner, row.created_at) == (owner, now):
            continue
        if row.status == "settled":
            found[row.id] = Claim(row.id, row.attempt, "settled", reply=row.reply)
        else:
            found[row.id] = Claim(row.id, row.attempt, "held", None, row.lease_until, row.not_before)
    return found


def _take(
    connection: Connection,
    mine: Sequence[tuple[CallSpec, int]],
    owner: str,
    now: datetime,
    lease: datetime,
    budget: str | None,
) -> None:
    """Insert the new try of every call that is `mine`, and reserve the worst cases."""
    if not mine:
        return
    again = [(spec, attempt) for spec, attempt in mine if attempt > 1]
    if again:
        statement = update(calls).where(calls.c.id == bindparam("_id"))
        values = {
            "owner": owner,
            "lease_until": lease,
            "not_before": None,
            "updated_at": now,
        }
        connection.execute(
            statement, [{"_id": s.identity, "status": s.status, "attempt": n, **values} for s, n in again]
        )
    row = {"owner": owner, "started_at": now}
    rows = [
        {"call_id": s.identity, "attempt": n, "status": s.status, "worst_usd": s.worst_usd, **row}
        | {"budget": s.pays(now) or budget}
        for s, n in mine
    ]
    NEW_TRY.run(connection, rows)
    reserve_calls(connection, [(s.allowance, s.worst_usd) for s, _ in mine], now)
    if budget is not None:
        reserve(connection, budget, sum(s.worst_usd for s, _ in mine if s.pays(now) is None))


def settle(ledger: Ledger, settlements: Sequence[Settlement]) -> list[bool]:
    """Store replies in one transaction, release what was reserved and book what was paid.

    `False`: fenced off, another attempt has the call now. Settling the same reply again changes nothing, so that a
    commit with an unknown outcome can be repeated.
    """
    with ledger.transaction() as connection:
        now = ledger.now(connection)
        known = tries_of(connection, {s.call_id for s in settlements})
        kept: list[Settlement] = []
        outcome, ends = [], []
        for s in settlements:
            row = known.pop((s.call_id, s.attempt), None)
            if row is None or row.owner != s.owner or row.cost_usd is not None or row.status == "failed":
                outcome.append(row is not None and row.owner == s.owner and row.status == "settled")
                continue
            outcome.append(row.current == s.attempt and row.call_status in {*OPEN, "maybe_paid"})
            status = "settled" if outcome[-1] else "maybe_paid"
            seconds = s.seconds if math.isfinite(s.seconds) else None
            ends.append((row, status, {"cost_usd": priced(s.cost_usd, row.worst_usd), "seconds": seconds}))
            if outcome[-1]:
                kept.append(s)
        end(connection, now, ends)
        if kept:
            SETTLE.run(connection, [{"_id": s.call_id, "_reply": storable_json(s.reply), "_now": now} for s in kept])
    return outcome


def fail(
    ledger: Ledger,
    call_id: str,
    attempt: int,
    owner: str,
    error: str,
    *,
    transient: bool,
    retry_at: datetime | None = None,
    maybe_paid: bool = False,
) -> bool:
    """Record that a try failed. `False`: fenced off.

    `retry_at`: no process may send the next try earlier.
    """
    with ledger.transaction() as connection:
        now = ledger.now(connection)
        row = tries_of(connection, {call_id}).get((call_id, attempt))
        if row is None or row.owner != owner or row.status not in OPEN:
            return False
        status = "maybe_paid" if maybe_paid else "failed"
        end(connection, now, [(row, status, {"error": error, "transient": transient})])
        values = {"status": status, "error": error, "not_before": retry_at, "updated_at": now}
        connection.execute(update(calls).where(calls.c.id == call_id).values(values))
    return True


def _rows(connection: Connection, ids: Sequence[str], *, lock: bool) -> Iterator[Any]:
    statement = READ_LOCKED if lock else READ
    for some in chunks(ids):
        yield from statement.rows(connection, some)


def is_settled(ledger: Ledger, identity: str) -> bool:
    """Whether the ledger has the reply of this call."""
    with ledger.reading() as connection:
        settled = select(calls.c.id).where(calls.c.id == identity, calls.c.status == "settled")
        return connection.execute(settled).first() is not None
