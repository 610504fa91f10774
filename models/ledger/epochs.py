"""Measurement epochs, and the questions and workers that labels refer to.

An epoch is one round of measuring a question set on a pool; its calls have the scope `measure:<epoch>`. The tables
`questions` and `workers` hold what the latest question files and pools contain: a label of another digest or revision
does not count (`labels`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, func, select

from models.errors import NotFound
from models.ledger.store import Ledger
from models.ledger.tables import attempts, calls, epochs, questions
from models.ledger.tables import workers as worker_rows

_SCOPE = "measure:"


def scope_of(epoch: int) -> str:
    """The scope of an epoch's calls."""
    return f"{_SCOPE}{epoch}"


def is_measuring() -> ColumnElement[bool]:
    """SQL condition on `calls`: the call has the scope of some epoch."""
    return calls.c.scope.like(f"{_SCOPE}%")


def open_epoch(ledger: Ledger, pool: str, question_set: str) -> int:
    """The newest epoch of (pool, question set's digest); created if there is none.

    A flow restarted after a crash gets the same epoch, and with it every settled reply. Epochs are numbered over all
    pools and question sets, so that no two share a scope.
    """
    with ledger.transaction() as connection:
        ledger.serialise(connection, "epochs")
        return _newest(ledger, connection, pool, question_set).id


def next_epoch(
    ledger: Ledger,
    pool: str,
    question_set: str,
    max_age: timedelta,
    workers: Mapping[str, str] | None = None,
) -> int:
    """The epoch in which to measure labels older than `max_age` again; a new one only if needed.

    A new epoch is opened when some cell's newest label (of `workers`, name to revision, if given) is too old, unless
    the newest epoch was itself opened within `max_age`: then that refresh is still in progress.
    """
    with ledger.transaction() as connection:
        ledger.serialise(connection, "epochs")
        newest = _newest(ledger, connection, pool, question_set)
        limit = ledger.now(connection) - max_age
        if newest.opened_at > limit or not _stale(connection, pool, question_set, limit, workers):
            return newest.id
        return _open(ledger, connection, pool, question_set)


def identity(ledger: Ledger, epoch: int) -> str:
    """A key that distinguishes this epoch from one of the same number in another ledger."""
    with ledger.reading() as connection:
        row = connection.execute(select(epochs).where(epochs.c.id == epoch)).one()
    return f"{row.id}:{row.pool}:{row.question_set}:{row.opened_at.isoformat()}"


def _newest(ledger: Ledger, connection: Connection, pool: str, question_set: str) -> Any:
    series = epochs.c.pool == pool, epochs.c.question_set == question_set
    statement = select(epochs).where(*series).order_by(epochs.c.id.desc()).limit(1)
    found = connection.execute(statement).one_or_none()
    if found is None:
        _open(ledger, connection, pool, question_set)
        found = connection.execute(statement).one()
    return found


def _open(ledger: Ledger, connection: Connection, pool: str, question_set: str) -> int:
    row = {"pool": pool, "question_set": question_set, "opened_at": ledger.now(connection)}
    return int(connection.execute(epochs.insert().values(row).returning(epochs.c.id)).scalar_one())


def _stale(
    connection: Connection, pool: str, question_set: str, limit: datetime, workers: Mapping[str, str] | None
) -> bool:
    cell = (attempts.c.question_id, attempts.c.worker, attempts.c.revision, attempts.c.repeat)
    series = epochs.c.pool == pool, epochs.c.question_set == question_set
    statement = select(attempts.c.worker, attempts.c.revision).join(epochs, epochs.c.id == attempts.c.epoch)
    statement = statement.where(*series).group_by(*cell).having(func.max(attempts.c.created_at) <= limit)
    if workers is None:
        return connection.execute(statement.limit(1)).first() is not None
    return any(workers.get(row.worker) == row.revision for row in connection.execute(statement.distinct()))


def put_questions(ledger: Ledger, source: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Store the questions of a source (at most 64 characters): `id`, `digest`, `task`, `split`, `tags`, `body` (JSON).

    A changed question replaces the source's old one: labels of a digest that no source has any more do not count.
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


def question_bodies(ledger: Ledger, source: str, ids: Sequence[str]) -> dict[str, Any]:
    """The bodies (JSON) of a source's questions by id. Raises NotFound for an unknown one."""
    wanted, bodies = sorted(set(ids)), dict[str, Any]()
    with ledger.reading() as connection:
        for start in range(0, len(wanted), 1000):
            some = questions.c.source == source, questions.c.id.in_(wanted[start : start + 1000])
            for row in connection.execute(select(questions.c.id, questions.c.body).where(*some)):
                bodies[row.id] = row.body
    for id in wanted:
        if id not in bodies:
            raise NotFound(f"the ledger has no question {id!r} of the source {source!r}")
    return bodies


def put_workers(ledger: Ledger, rows: Sequence[Mapping[str, Any]]) -> None:
    """Store workers: `name`, `revision`, `recorded` (known from recorded scores only)."""
    keep = [{"name": r["name"], "revision": r["revision"], "recorded": bool(r.get("recorded", False))} for r in rows]
    _upsert(ledger, worker_rows, ("name",), keep)


def _upsert(ledger: Ledger, table: Table, key: Sequence[str], rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    statement = ledger.insert(table)
    changed = {column.name: statement.excluded[column.name] for column in table.c if column.name not in key}
    with ledger.transaction() as connection:
        # In a fixed order, so that two processes that write the same rows cannot deadlock.
        ordered = sorted(rows, key=lambda row: [str(row[name]) for name in key])
        connection.execute(statement.on_conflict_do_update(index_elements=key, set_=changed), ordered)
