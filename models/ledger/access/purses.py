"""Budgets of an API key: in all, of a month and of a day, in UTC.

Their names are a path, `key:ID/2026-11/29`: a call draws on the budget that its try names and on all above it
(`budgets.lineage`). The rows of a day and of a month are made with their first call; a limit that is not set has none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, or_, select

from models.ledger.access.policy import Policy
from models.ledger.budgets import lineage
from models.ledger.store import Ledger
from models.ledger.tables import budgets


@dataclass(frozen=True)
class Purse:
    """The budgets of a key, USD; `None` is no limit. `name`: the key's, for people."""

    key: str
    name: str
    total_usd: float | None = None
    month_usd: float | None = None
    day_usd: float | None = None

    @classmethod
    def of(cls, key: str, name: str, policy: Policy) -> Purse | None:
        """`None` for a key without budgets."""
        limits = policy.total_usd, policy.month_usd, policy.day_usd
        return None if limits == (None, None, None) else cls(key, name, *limits)

    @property
    def root(self) -> str:
        """The name of the budget in all, above all others."""
        return f"key:{self.key}"

    def path(self, now: datetime) -> str:
        """The name of the day's budget, below which there is none."""
        return f"{self.root}/{now:%Y-%m}/{now:%d}"

    def limits(self, now: datetime) -> dict[str, float]:
        """The names of the budgets that a call draws on now, and their limits."""
        given = zip(lineage(self.path(now)), (self.total_usd, self.month_usd, self.day_usd), strict=True)
        return {name: limit for name, limit in given if limit is not None}


def rows_of(
    ledger: Ledger, connection: Connection, purses: Iterable[Purse], now: datetime
) -> dict[str, tuple[float, float, float]]:
    """The budgets of these purses, locked: name -> (limit, spent, reserved). Those that are missing are made.

    Locked and made in order of name, so that transactions do not wait for one another in a circle.
    """
    limits = {name: limit for purse in purses for name, limit in purse.limits(now).items()}
    found = _locked(connection, limits)
    if missing := sorted(limits.keys() - found.keys()):
        rows = [{"name": name, "max_usd": limits[name], "reserved_usd": 0.0, "spent_usd": 0.0} for name in missing]
        connection.execute(ledger.insert(budgets).on_conflict_do_nothing(), rows)
        found |= _locked(connection, missing)
    return found


def _locked(connection: Connection, names: Collection[str]) -> dict[str, tuple[float, float, float]]:
    columns = budgets.c.name, budgets.c.max_usd, budgets.c.spent_usd, budgets.c.reserved_usd
    wanted = select(*columns).where(budgets.c.name.in_(sorted(names))).order_by(budgets.c.name).with_for_update()
    return {name: (limit, spent, reserved) for name, limit, spent, reserved in connection.execute(wanted)}


def whose(purse: Purse, name: str, limit: float) -> str:
    """A budget in words, from its name."""
    span = ("budget", "budget of this month", "budget of today (UTC)")[name.count("/")]
    return f"the {span} of the key {purse.name!r} ({limit:.6g} USD)"


def left_in(ledger: Ledger, purse: Purse) -> list[dict[str, Any]]:
    """What the purse's budgets have left for new calls now, USD: `budget` in words, `limit_usd`, `left_usd`."""
    with ledger.reading() as connection:
        limits = purse.limits(ledger.now(connection))
        rows = connection.execute(select(budgets).where(budgets.c.name.in_(limits))).all()
    gone = {row.name: row.spent_usd + row.reserved_usd for row in rows}
    spans = ("total", "month", "day")
    return [
        {"budget": spans[name.count("/")], "limit_usd": limit, "left_usd": round(limit - gone.get(name, 0.0), 9)}
        for name, limit in limits.items()
    ]


def unspent(ledger: Ledger, purse: Purse) -> float:
    """The most that the purse's budgets will have for new calls once nothing is reserved in them any more, USD."""
    with ledger.reading() as connection:
        limits = purse.limits(ledger.now(connection))
        rows = connection.execute(select(budgets.c.name, budgets.c.spent_usd).where(budgets.c.name.in_(limits)))
        spent = {row.name: row.spent_usd for row in rows}
    return min(max(0.0, limit - spent.get(name, 0.0)) for name, limit in limits.items())


def spent_by(ledger: Ledger, key: str) -> list[str]:
    """What the budgets of a key have had to pay this month, in words, one a line."""
    own = f"key:{key}"
    with ledger.reading() as connection:
        month = f"{own}/{ledger.now(connection):%Y-%m}"
        mine = or_(budgets.c.name == own, budgets.c.name == month, budgets.c.name.startswith(month + "/"))
        rows = connection.execute(select(budgets).where(mine).order_by(budgets.c.name)).all()
    spans = {row.name: row.name.removeprefix(own).lstrip("/").replace("/", "-") or "in all" for row in rows}
    return [f"{spans[row.name]}: {row.spent_usd:.6f} of {row.max_usd:.6f} USD" for row in rows]
