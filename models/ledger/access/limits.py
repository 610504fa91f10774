"""Which of the calls that are claimed together fit: the budgets of the keys that pay, and the requests' own limits.

All calls are judged in one transaction, with the budgets' rows locked: what fits is reserved before it ends.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from models.ledger.access.purses import Purse, rows_of, whose
from models.ledger.accounts import Allowance, Room, room
from models.ledger.store import Ledger

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


def amounts(taken: Iterable[tuple[Allowance | None, float]], now: datetime) -> dict[str, float]:
    """What these calls reserve in each budget, USD."""
    sums: dict[str, float] = defaultdict(float)
    for allowance, worst_usd in taken:
        if worst_usd and allowance and allowance.purse:
            for name in allowance.purse.limits(now):
                sums[name] += worst_usd
    return dict(sums)


def refused(ledger: Ledger, connection: Connection, asked: Sequence[Asked], now: datetime) -> dict[str, Refusal]:
    """The calls among these that do not fit, by identity; of several calls the earlier ones go first."""
    found = _over_budget(ledger, connection, [one for one in asked if one[2]], now)
    left = [one for one in asked if one[0] not in found]
    return found | _over_allowance(ledger, connection, left, now)


def _over_budget(ledger: Ledger, connection: Connection, asked: Sequence[Asked], now: datetime) -> dict[str, Refusal]:
    paying = [(id, allowance.purse, worst) for id, allowance, worst in asked if allowance and allowance.purse]
    if not paying:
        return {}
    rows = rows_of(ledger, connection, {purse for _, purse, _ in paying}, now)
    state = {name: _Budget(*(round(amount * _UNIT) for amount in row)) for name, row in rows.items()}
    found = {}
    for id, purse, worst in paying:
        usd, names = round(worst * _UNIT), purse.limits(now)
        full = next((name for name in names if not state[name].takes(usd)), None)
        if full is None:
            for name in names:
                state[name].reserved += usd
        else:
            waits = all(state[name].may_take(usd) for name in names)
            found[id] = Refusal(budget=_words(purse, full, state[full], worst), waits=waits)
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


def _words(purse: Purse, name: str, budget: _Budget, worst_usd: float) -> str:
    gone = f"{budget.spent / _UNIT:.6g} spent, {budget.reserved / _UNIT:.6g} reserved by calls under way"
    limit = whose(purse, name, budget.limit / _UNIT)
    return f"{limit} has no room for a call that may cost {worst_usd:.6g} USD: {gone}"


def _over_allowance(
    ledger: Ledger, connection: Connection, asked: Sequence[Asked], now: datetime
) -> dict[str, Refusal]:
    limited = [(id, one, worst) for id, one, worst in asked if one and (one.max_usd, one.max_calls) != (None, None)]
    rooms: dict[str, Room] = {}
    found = {}
    for id, allowance, worst_usd in sorted(limited, key=lambda one: one[1].request):
        left = rooms.get(allowance.request)
        if left is None:  # the locks are taken in order of request
            left = rooms[allowance.request] = room(ledger, connection, allowance, now)
        limit = left.refuses(worst_usd)
        if limit is None:
            left.take(worst_usd)
        else:
            found[id] = Refusal(limit=limit, waits=limit == "wait")
    return found
