"""The ledger's table of requests: answered ones, and conducted ones from their start on.

The row of a conducted request (`fugu-ultra`) is `{"id", "model", "status": "running" | "answered" | "awaiting-tools" |
"failed" | "cancelled", "created" (Unix seconds), "request": the ConductRequest, "key", "digest", "body": the final JSON
or null, "trace", ...}`. `record`, `begin`, `finish` and `note_end` are changes for a `Journal`.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select, update

from models.errors import BadInput, NotFound, Pruned
from models.ledger.journal import Change
from models.ledger.store import Ledger
from models.ledger.tables import requests
from models.ledger.tables.prepared import upsert

Row = dict[str, Any]
"""A request's row, as JSON values."""


_RECORD = upsert(requests, "id", ("id", "body", "created_at", "pruned_at"), ("body", "pruned_at"))


def record(row: Row) -> Change[None]:
    """Store a request's row under its `id`; it replaces an earlier row of that id."""
    if not isinstance(row.get("id"), str):
        raise BadInput("a request's row needs an id", field="id")

    def change(connection: Connection, now: datetime) -> None:
        values = {"id": row["id"], "body": row, "created_at": now, "pruned_at": None}
        _RECORD.run(connection, [values])

    return change


def record_request(ledger: Ledger, row: Row) -> None:
    """`record`, in its own transaction."""
    change = record(row)
    with ledger.transaction() as connection:
        change(connection, ledger.now(connection))


def begin(ledger: Ledger, row: Row) -> Change[Row]:
    """Store a request's row before anything is paid for it; an existing row of that id is kept.

    The change's result is the row in the ledger.
    """

    def change(connection: Connection, now: datetime) -> Row:
        values = {"id": row["id"], "body": row, "created_at": now}
        connection.execute(ledger.insert(requests).values(values).on_conflict_do_nothing(index_elements=["id"]))
        return _read(connection, row["id"])

    return change


def finish(id: str, changes: Row) -> Change[Row]:
    """Add a request's result to its row, unless the row has a `body` already: the first answer is kept.

    The change's result is the row in the ledger. Raises NotFound.
    """

    def change(connection: Connection, now: datetime) -> Row:
        row = _read(connection, id, locked=True)
        if row.get("body") is None:
            row |= changes
            connection.execute(update(requests).where(requests.c.id == id).values(body=row))
        return row

    return change


@dataclass(frozen=True)
class RunNotes:
    """What the processes that run a request tell one another. `deadline`: the end of its time; `limit`: the one that
    was reached; `cancelled`: since when nothing new may be sent for it.
    """

    deadline: datetime | None = None
    limit: str | None = None
    cancelled: datetime | None = None


def begin_run(id: str, max_seconds: float | None) -> Change[None]:
    """A run of the request begins: its time starts, and how an earlier run ended no longer counts."""

    def change(connection: Connection, now: datetime) -> None:
        deadline = None if max_seconds is None else (now + timedelta(seconds=max_seconds)).isoformat()
        _change_run(connection, id, {"deadline": deadline, "limit": None, "cancelled": None})

    return change


def note_limit(id: str, limit: str) -> Change[None]:
    """Make no more calls for the request, in any process, because this limit is reached; the first one counts."""

    def change(connection: Connection, now: datetime) -> None:
        _change_run(connection, id, {"limit": limit}, only_if_unset="limit")

    return change


def note_cancelled(id: str) -> Change[None]:
    """Make no more calls for the request, in any process, because somebody has cancelled it."""

    def change(connection: Connection, now: datetime) -> None:
        _change_run(connection, id, {"cancelled": now.isoformat()}, only_if_unset="cancelled")

    return change


def run_notes(ledger: Ledger, id: str) -> RunNotes:
    """What the processes that run a request have told; nothing for an unknown one."""
    with ledger.reading() as connection:
        row = connection.execute(select(requests.c.body).where(requests.c.id == id)).scalar_one_or_none()
    return notes_in(row or {})


def notes_in(row: Row) -> RunNotes:
    """What a request's row has of it."""
    run = row.get("run") or {}
    times = [run.get(name) and datetime.fromisoformat(run[name]) for name in ("deadline", "cancelled")]
    return RunNotes(times[0], run.get("limit"), times[1])


def _change_run(connection: Connection, id: str, values: Row, only_if_unset: str = "") -> None:
    row = _read(connection, id, locked=True)
    run = row.get("run") or {}
    if only_if_unset and run.get(only_if_unset) is not None:
        return
    connection.execute(update(requests).where(requests.c.id == id).values(body={**row, "run": {**run, **values}}))


def note_shadow(id: str, decision: Row) -> Change[None]:
    """Add what a challenger would have done to a request's row, if there is one."""

    def change(connection: Connection, now: datetime) -> None:
        with suppress(NotFound):
            row = _read(connection, id, locked=True)
            connection.execute(update(requests).where(requests.c.id == id).values(body={**row, "shadow": decision}))

    return change


def shadowed(ledger: Ledger, checkpoint: str, most: int = 100_000) -> list[Row]:
    """What this challenger would have done for the newest requests, as `note_shadow` got it."""
    decision = requests.c.body["shadow"]
    statement = select(decision).where(decision["checkpoint"].as_string() == checkpoint)
    with ledger.reading() as connection:
        return list(connection.execute(statement.order_by(requests.c.created_at.desc()).limit(most)).scalars())


def note_end(id: str, ended: Row | None) -> Change[None]:
    """Record which limit ended a conducted request, and its finished steps; does nothing if it has no row."""

    def change(connection: Connection, now: datetime) -> None:
        statement = select(requests.c.body).where(requests.c.id == id).with_for_update()
        row = connection.execute(statement).scalar_one_or_none()
        if row is not None:
            connection.execute(update(requests).where(requests.c.id == id).values(body={**row, "ended": ended}))

    return change


def ended_by(ledger: Ledger, id: str) -> Row | None:
    """What `note_end` recorded."""
    with ledger.reading() as connection:
        row = connection.execute(select(requests.c.body).where(requests.c.id == id)).scalar_one_or_none()
    return None if row is None else row.get("ended")


def get_request(ledger: Ledger, id: str) -> Row:
    """The row of that id. Raises NotFound, and Pruned where its texts were deleted."""
    with ledger.reading() as connection:
        row = _read(connection, id)
    refuse_pruned(row)
    return row


def refuse_pruned(row: Row) -> None:
    """Raises Pruned for the row of a request whose texts were deleted: it can be neither shown nor continued."""
    if "pruned" in row:
        raise Pruned(f"the request {row['id']!r}", datetime.fromisoformat(row["pruned"]))


def _read(connection: Connection, id: str, *, locked: bool = False) -> Row:
    statement = select(requests.c.body).where(requests.c.id == id)
    row = connection.execute(statement.with_for_update() if locked else statement).scalar_one_or_none()
    if row is None:
        raise NotFound(f"no request {id!r}")
    return dict(row)
