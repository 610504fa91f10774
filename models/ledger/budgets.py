"""Budgets: a call's worst-case cost is reserved before it is sent, its actual cost is booked after.

Both happen in the transactions that write the call's own rows. A call that may have been paid counts at its worst case
until its price is known. The sum of spent and reserved money never exceeds the limit: if a price exceeds its worst
case, the budget books at most what it has left, and the try's row records the whole price.

A budget's name may be a path, `a/b`: a call that names it draws on `a`, too, where there is such a budget.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from datetime import datetime

from sqlalchemy import BindParameter, Connection, and_, case, func, literal, or_, select, update
from sqlalchemy.sql import ColumnElement

from models.errors import BadInput, BudgetExceeded, NotFound
from models.ledger.store import Ledger
from models.ledger.tables import budgets, calls, tries
from models.ledger.tables.columns import Usd

MOST_USD = 1e6
"""The largest budget, and the largest price of a call: sums of very many of them fit the columns."""


def priced(usd: float, worst_usd: float) -> float:
    """The price to book: clamped to [0, MOST_USD]; the worst case for NaN and infinity."""
    return min(max(usd, 0.0), MOST_USD) if math.isfinite(usd) else worst_usd


def lineage(name: str) -> list[str]:
    """The names of a budget and of all above it in its path, the uppermost first."""
    parts = name.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]


def draws_on(name: str) -> ColumnElement[bool]:
    """The condition, on tries, for those that draw on this budget."""
    return or_(tries.c.budget == name, tries.c.budget.startswith(name + "/", autoescape=True))


def open_budget(ledger: Ledger, name: str, max_usd: float) -> None:
    """Create the budget, or change the limit of an existing one (its spent money stays).

    Raises BadInput for a limit outside [0, MOST_USD].
    """
    if not 0 <= max_usd <= MOST_USD:
        raise BadInput(f"a budget has to be 0 to {MOST_USD:g} USD, not {max_usd:g}", "max_usd")
    row = {"name": name, "max_usd": max_usd, "reserved_usd": 0.0, "spent_usd": 0.0}
    statement = ledger.insert(budgets).values(row)
    with ledger.transaction() as connection:
        connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_={"max_usd": max_usd}))


def remaining(ledger: Ledger, name: str) -> dict[str, float]:
    """The budget's `limit`, `reserved`, `spent` and `left` (for new calls), in USD. Raises NotFound."""
    with ledger.reading() as connection:
        row = connection.execute(select(budgets).where(budgets.c.name == name)).one_or_none()
        if row is None:
            raise NotFound(f"no budget {name!r}")
        unsent = select(func.sum(tries.c.worst_usd)).join(calls, calls.c.id == tries.c.call_id)
        mine = draws_on(name), never_sent(ledger.now(connection))
        free = connection.execute(unsent.where(*mine)).scalar_one() or 0.0
    return {
        "limit": row.max_usd,
        "reserved": round(row.reserved_usd - free, 9),
        "spent": row.spent_usd,
        "left": round(row.max_usd - row.reserved_usd - row.spent_usd + free, 9),
    }


def never_sent(now: datetime) -> ColumnElement[bool]:
    """The condition, on tries joined to their calls, for expired claims that were never sent: their money is free."""
    return and_(tries.c.status == "claimed", tries.c.attempt == calls.c.attempt, calls.c.lease_until <= now)


def lock(connection: Connection, names: Collection[str | None]) -> None:
    """Lock these budgets (`None` is skipped) and those above them until the transaction ends, in order of name to avoid
    deadlocks."""
    lines = sorted({above for name in names if name is not None for above in lineage(name)})
    if lines:
        wanted = select(budgets.c.name).where(budgets.c.name.in_(lines))
        connection.execute(wanted.order_by(budgets.c.name).with_for_update())


def reserve(connection: Connection, name: str, usd: float) -> None:
    """Reserve `usd`. Raises BudgetExceeded, which rolls the caller's transaction back, and NotFound."""
    if usd == 0:
        return
    taken = budgets.c.spent_usd + budgets.c.reserved_usd
    statement = update(budgets).where(budgets.c.name == name, taken + _usd(usd) <= budgets.c.max_usd)
    if connection.execute(statement.values(reserved_usd=budgets.c.reserved_usd + _usd(usd))).rowcount:
        return
    row = connection.execute(select(budgets).where(budgets.c.name == name)).one_or_none()
    if row is None:
        raise NotFound(f"no budget {name!r}")
    raise BudgetExceeded(
        f"budget {name!r}: a worst case of {usd:.6g} USD does not fit into the limit of {row.max_usd:.6g} "
        f"({row.spent_usd:.6g} spent, {row.reserved_usd:.6g} reserved)"
    )


def reserve_all(connection: Connection, amounts: Mapping[str, float]) -> None:
    """Reserve amounts that are known to fit, in budgets that the caller has locked."""
    for name, usd in sorted(amounts.items()):
        values = {"reserved_usd": budgets.c.reserved_usd + _usd(usd)}
        connection.execute(update(budgets).where(budgets.c.name == name).values(values))


def book(connection: Connection, name: str, *, released: float, spent: float) -> None:
    """Release reserved money and add spent money (USD; negative to correct a worst case)."""
    if released == 0 and spent == 0:
        return
    left = budgets.c.max_usd - budgets.c.spent_usd - budgets.c.reserved_usd + _usd(released)
    within = case((left >= _usd(spent), _usd(spent)), (left > _usd(released), left), else_=_usd(min(spent, released)))
    values = {"reserved_usd": budgets.c.reserved_usd - _usd(released), "spent_usd": budgets.c.spent_usd + within}
    connection.execute(update(budgets).where(budgets.c.name == name).values(values))


def _usd(value: float) -> BindParameter[float]:
    """A value in the columns' unit, for use in arithmetic, where SQLAlchemy would pass the bare number."""
    return literal(value, Usd)
