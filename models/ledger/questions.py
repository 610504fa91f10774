"""What is measured: questions and workers, as the ledger knows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Table

from models.ledger.store import Ledger
from models.ledger.tables import questions, workers


def put_questions(ledger: Ledger, source: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Keep the questions of a source (at most 64 characters): `id`, `digest`, `task`, `split`, `tags`, `body` (JSON).

    A changed one replaces the old one of its source: labels of a digest that no source has any more do not count.
    """
    keep = [
        {
            "source": source,
            "id": row["id"],
            "digest": row["digest"],
            "task": row["task"],
            "split": row.get("split", ""),
            "tags": list(row.get("tags", ())),
            "body": row["body"],
        }
        for row in rows
    ]
    _upsert(ledger, questions, ("source", "id"), keep)


def put_workers(ledger: Ledger, rows: Sequence[Mapping[str, Any]]) -> None:
    """Keep workers: `name`, `revision`, `recorded` (known from recorded scores alone)."""
    keep = [{"name": r["name"], "revision": r["revision"], "recorded": bool(r.get("recorded", False))} for r in rows]
    _upsert(ledger, workers, ("name",), keep)


def _upsert(ledger: Ledger, table: Table, key: Sequence[str], rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    statement = ledger.insert(table)
    changed = {column.name: statement.excluded[column.name] for column in table.c if column.name not in key}
    with ledger.transaction() as connection:
        # In one order, so that two processes that keep the same rows never wait for each other.
        ordered = sorted(rows, key=lambda row: [str(row[name]) for name in key])
        connection.execute(statement.on_conflict_do_update(index_elements=key, set_=changed), ordered)
