"""Money limits: the worst case is reserved before a call, what it cost is booked after.

Both happen in the transactions that write the call's own rows. A call that may have been paid counts at
its worst case until its price is known.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import BindParameter, Connection, literal, select, update

from models.errors import BudgetExceeded, NotFound
from models.ledger.store import Ledger
from models.ledger.tables import Usd, budgets


def open_budget(ledger: Ledger, name: str, max_usd: float) -> None:
    """Make the budget, or set the limit of the one that is there (what it has spent stays)."""
    row = {"name": name, "max_usd": max_usd, "reserved_usd": 0.0, "spent_usd": 0.0}
    statement = ledger.insert(budgets).values(row)
    with ledger.transaction() as connection:
        connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_={"max_usd": max_usd}))


def remaining(ledger: Ledger, name: str) -> dict[str, float]:
    """`limit`, `reserved`, `spent` and what is `left` for new calls, in USD. Raises NotFound."""
    with ledger.reading() as connection:
        row = connection.execute(select(budgets).where(budgets.c.name == name)).one_or_none()
    if row is None:
        raise NotFound(f"no budget {name!r}")
    return {
        "limit": row.max_usd,
        "reserved": row.reserved_usd,
        "spent": row.spent_usd,
        "left": round(row.max_usd - row.reserved_usd - row.spent_usd, 9),
    }


def hold(connection: Connection, names: Collection[str | None]) -> None:
    """Lock these budgets (`None` is none) until the transaction ends, in the one order that everybody takes them in."""
    wanted = select(budgets.c.name).where(budgets.c.name.in_([name for name in names if name is not None]))
    connection.execute(wanted.order_by(budgets.c.name).with_for_update())


def reserve(connection: Connection, name: str, usd: float) -> None:
    """Set `usd` aside, or raise BudgetExceeded; the caller's transaction then writes nothing."""
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


def book(connection: Connection, name: str, *, released: float, spent: float) -> None:
    """Give back what was reserved and add what was spent (USD; negative where an estimate is corrected)."""
    if released == 0 and spent == 0:
        return
    connection.execute(
        update(budgets)
        .where(budgets.c.name == name)
        .values(reserved_usd=budgets.c.reserved_usd - _usd(released), spent_usd=budgets.c.spent_usd + _usd(spent))
    )


def _usd(value: float) -> BindParameter[float]:
    """The unit of the columns, also inside arithmetic, where SQLAlchemy would pass a bare number."""
    return literal(value, Usd)
