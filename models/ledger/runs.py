"""Evolution's log: what each generation was told, once."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from models.errors import BadInput
from models.ledger.store import Ledger
from models.ledger.tables import generations as table


def tell_generation(ledger: Ledger, run: str, generation: int, row: dict[str, Any]) -> None:
    """Record a told generation. Telling the same again changes nothing; telling otherwise is BadInput."""
    where = table.c.run == run, table.c.generation == generation
    with ledger.transaction() as connection:
        values = {"run": run, "generation": generation, "body": row, "created_at": ledger.now(connection)}
        connection.execute(ledger.insert(table).values(values).on_conflict_do_nothing())
        told = connection.execute(select(table.c.body).where(*where)).scalar_one()
    if told != row:
        raise BadInput(f"generation {generation} of run {run!r} was told already, and otherwise", field="generation")


def generations(ledger: Ledger, run: str) -> list[dict[str, Any]]:
    """The rows of a run's told generations, in order."""
    statement = select(table.c.body).where(table.c.run == run).order_by(table.c.generation)
    with ledger.reading() as connection:
        return list(connection.execute(statement).scalars())
