"""Which of the calls that are claimed together fit: the budgets of the keys that pay, and the requests' own limits.

All calls are judged in one transaction, with the budgets' rows locked: what fits is reserved before it ends. A whole
request is judged the same way where all that it may still cost is held at once (`hold`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert

from models.ledger.access.holds import HELD, Held, Holds, drop, locked
from models.ledger.access.purses import Purse, rows_of, whose
from models.ledger.accounts import Allowance, Room, room
from models.ledger.budgets import lineage, lock, reserve_all
from models.ledger.store import Ledger
from models.ledger.tables.access import holds

Asked = tuple[str, Allowance | None, float]
"""A call's identity, what it is allowed, and the most that it can cost, USD."""

_UNIT = 1e9  # the ledger counts money in billionths: whole numbers, so that a limit is kept exactly


@dataclass(frozen=True)
class Refusal:
    """Why a call may not be sent. `limit`: of its request; `budget`: of a key, in words. `waits`: running calls may
    turn out cheaper than their worst cases, and leave enough."""

    limit: str | None = None
    budget: str | None = None
    waits: bool = False


def drawn(allowances: Iterable[Allowance | None], now: datetime) -> set[str]:
    """The names of all budgets that calls with these allowances draw on."""
    return {name for each in allowances if each and each.purse for name in each.purse.limits(now)}


def reserve_calls(connection: Connection, taken: Sequence[tuple[Allowance | None, float]], now: datetime) -> None:
    """Reserve what these calls may cost, which is known to fit, out of their requests' holds and in the budgets."""
    held = Holds(connection, [allowance for allowance, _ in taken])
    sums: dict[str, float] = defaultdict(float)
    for allowance, worst_usd in taken:
        if worst_usd and allowance and allowance.purse:
            for name, usd in held.lacks(allowance, worst_usd, allowance.purse.limits(now)).items():
                sums[name] += usd
    reserve_all(connection, sums)
    held.write(now)


def hold(ledger: Ledger, request: str, purse: Purse, usd: float, *, more: bool = False) -> Refusal | None:
    """Hold `usd` for the request, instead of what it holds or in addition to it (`more`), in its key's budgets.

    Where that does not fit, nothing has changed.
    """
    with ledger.transaction() as connection:
        now = ledger.now(connection)
        lock(connection, drawn([Allowance(request, purse=purse)], now))
        had = locked(connection, holds.c.request == request)
        drop(connection, had)
        kept = sum(one.usd for one in had) if more else 0.0
        what = "a request all of whose calls may cost"
        lot = _Lot([request], Allowance(request, purse=purse), round(kept + usd, 9), what)
        refusal = _over_budget(ledger, connection, [lot], now).get(request)
        for one in had if refusal else [Held(request, purse.path(now), lot.worst_usd, now + HELD)]:
            reserve_all(connection, dict.fromkeys(lineage(one.budget), one.usd))
            connection.execute(insert(holds).values(vars(one)))
    return refusal


@dataclass
class _Lot:
    """Calls that fit together or not at all, by identity, and the most that they can cost together, USD. `what`: they
    are, in words, where they are not just calls."""

    ids: list[str]
    allowance: Allowance | None
    worst_usd: float
    what: str | None = None


def _lots(asked: Sequence[Asked]) -> list[_Lot]:
    found: list[_Lot] = []
    whole: dict[Allowance, _Lot] = {}
    for id, allowance, worst_usd in asked:
        lot = whole.get(allowance) if allowance is not None and allowance.whole else None
        if lot is not None:
            lot.ids.append(id)
            lot.worst_usd += worst_usd
            continue
        found.append(_Lot([id], allowance, worst_usd))
        if allowance is not None and allowance.whole:
            whole[allowance] = found[-1]
    return found


def refused(ledger: Ledger, connection: Connection, asked: Sequence[Asked], now: datetime) -> dict[str, Refusal]:
    """The calls among these that do not fit, by identity; of several calls the earlier ones go first."""
    lots = _lots(asked)
    found = _over_budget(ledger, connection, [lot for lot in lots if lot.worst_usd], now)
    return found | _over_allowance(ledger, connection, [lot for lot in lots if lot.ids[0] not in found], now)


def _over_budget(ledger: Ledger, connection: Connection, lots: Sequence[_Lot], now: datetime) -> dict[str, Refusal]:
    paying = [(lot, one, one.purse) for lot in lots if (one := lot.allowance) and one.purse]
    if not paying:
        return {}
    rows = rows_of(ledger, connection, {purse for *_, purse in paying}, now)
    state = {name: _Budget(*(round(amount * _UNIT) for amount in row)) for name, row in rows.items()}
    held = Holds(connection, [allowance for _, allowance, _ in paying])
    found: dict[str, Refusal] = {}
    for lot, allowance, purse in paying:
        limits = purse.limits(now)
        lacking = held.lacks(allowance, lot.worst_usd, limits)
        usd = {name: round(lacking[name] * _UNIT) for name in limits}
        full = next((name for name in limits if not state[name].takes(usd[name])), None)
        if full is None:
            for name in limits:
                state[name].reserved += usd[name]
        else:
            waits = all(state[name].may_take(usd[name]) for name in limits)
            refusal = Refusal(budget=_words(purse, full, state[full], lot), waits=waits)
            found |= dict.fromkeys(lot.ids, refusal)
    return found


@dataclass
class _Budget:
    """A budget's row, in billionths of a dollar."""

    limit: int
    spent: int
    reserved: int

    def takes(self, usd: int) -> bool:
        return self.spent + self.reserved + usd <= self.limit

    def may_take(self, usd: int) -> bool:
        """Whether it fits once nothing is reserved any more."""
        return self.spent + usd <= self.limit


def _words(purse: Purse, name: str, budget: _Budget, lot: _Lot) -> str:
    gone = f"{budget.spent / _UNIT:.6g} spent, {budget.reserved / _UNIT:.6g} reserved by calls under way"
    limit, count = whose(purse, name, budget.limit / _UNIT), len(lot.ids)
    calls = "a call that may cost" if count == 1 else f"{count} calls that may cost together"
    return f"{limit} has no room for {lot.what or calls} {lot.worst_usd:.6g} USD: {gone}"


def _over_allowance(ledger: Ledger, connection: Connection, lots: Sequence[_Lot], now: datetime) -> dict[str, Refusal]:
    limited = [(lot, one) for lot in lots if (one := lot.allowance) and (one.max_usd, one.max_calls) != (None, None)]
    rooms: dict[str, Room] = {}
    found: dict[str, Refusal] = {}
    for lot, allowance in sorted(limited, key=lambda each: each[1].request):
        left = rooms.get(allowance.request)
        if left is None:  # the locks are taken in order of request
            left = rooms[allowance.request] = room(ledger, connection, allowance, now)
        limit = left.refuses(lot.worst_usd, len(lot.ids))
        if limit is None:
            left.take(lot.worst_usd, len(lot.ids))
        else:
            found |= dict.fromkeys(lot.ids, Refusal(limit=limit, waits=limit == "wait"))
    return found
