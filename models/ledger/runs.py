"""The log of evolution runs: the scores reported for each generation, recorded once."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from models.errors import BadInput
from models.ledger.store import Ledger
from models.ledger.tables import generations as table


def tell_generation(ledger: Ledger, run: str, generation: int, row: dict[str, Any]) -> None:
    """Record a generation's result. Recording it again changes nothing; raises BadInput if it differs."""
    where = table.c.run == run, table.c.generation == generation
    with ledger.transaction() as connection:
        values = {"run": run, "generation": generation, "body": row, "created_at": ledger.now(connection)}
        connection.execute(ledger.insert(table).values(values).on_conflict_do_nothing())
        recorded = connection.execute(select(table.c.body).where(*where)).scalar_one()
    if recorded != row:
        raise BadInput(f"generation {generation} of run {run!r} is recorded with another result", field="generation")


def generations(ledger: Ledger, run: str) -> list[dict[str, Any]]:
    """The rows of a run's recorded generations, in order."""
    statement = select(table.c.body).where(table.c.run == run).order_by(table.c.generation)
    with ledger.reading() as connection:
        return list(connection.execute(statement).scalars())
