"""The ledger's table of responses: what a client may read again, continue, cancel or delete.

A response belongs to its owner: to anybody else it does not exist. `put`, `settle`, `cancel` and `drop` are changes for
a `Journal`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, literal, select, update

from models.errors import NotFound, Pruned
from models.ledger.journal import Change
from models.ledger.store import Ledger
from models.ledger.tables.responses import responses

FINAL = ("completed", "incomplete", "failed", "cancelled")
"""The statuses of responses that do not change any more."""

LONGEST = 10_000
"""The most responses that one may continue, one after another."""


@dataclass(frozen=True)
class Kept:
    """`body`: the response as its client gets it. `input`: the items that it answers, without those before it.

    `process`: the mark of the process that answers it in the background.
    """

    id: str
    status: str
    body: dict[str, Any]
    input: Sequence[dict[str, Any]]
    owner: str | None = None
    previous: str | None = None
    conversation: str | None = None
    process: str | None = None


def put(ledger: Ledger, kept: Kept) -> Change[None]:
    """Keep a response. One that is kept already stays: an answer that is given again is the same."""

    def change(connection: Connection, now: datetime) -> None:
        values = {
            "id": kept.id,
            "owner": kept.owner,
            "previous": kept.previous,
            "conversation": kept.conversation,
            "status": kept.status,
            "process": kept.process,
            "body": {"response": kept.body, "input": list(kept.input)},
            "created_at": now,
        }
        statement = ledger.insert(responses).values(values)
        connection.execute(statement.on_conflict_do_nothing(index_elements=["id"]))

    return change


def settle(id: str, status: str, body: dict[str, Any]) -> Change[bool]:
    """A new state of a response that is not final; whether it was not. `body`: as its client gets it."""

    def change(connection: Connection, now: datetime) -> bool:
        row = connection.execute(select(responses).where(responses.c.id == id).with_for_update()).one_or_none()
        if row is None or row.status in FINAL:
            return False
        values = {"status": status, "body": {**row.body, "response": body}}
        connection.execute(update(responses).where(responses.c.id == id).values(values))
        return True

    return change


def drop(id: str) -> Change[None]:
    """Forget a response, with its texts."""

    def change(connection: Connection, now: datetime) -> None:
        connection.execute(delete(responses).where(responses.c.id == id))

    return change


def get(ledger: Ledger, id: str, owner: str | None) -> Kept:
    """Raises NotFound, also for another owner's, and Pruned where its texts were deleted."""
    with ledger.reading() as connection:
        row = connection.execute(select(responses).where(*_named(id, owner))).one_or_none()
    if row is None:
        raise NotFound(f"there is no response {id!r}")
    return _kept(row)


def status_of(ledger: Ledger, id: str) -> str | None:
    """`None` for a response that is not there."""
    with ledger.reading() as connection:
        found: str | None = connection.execute(
            select(responses.c.status).where(responses.c.id == id)
        ).scalar_one_or_none()
    return found


def newest(ledger: Ledger, conversation: str, owner: str | None) -> str | None:
    """The id of the conversation's last response that has an answer; `None` where it has none yet."""
    mine = responses.c.conversation == conversation, responses.c.owner.is_not_distinct_from(owner)
    answered = responses.c.status.in_(("completed", "incomplete"))
    ordered = select(responses.c.id).where(*mine, answered).order_by(responses.c.created_at.desc()).limit(1)
    with ledger.reading() as connection:
        found: str | None = connection.execute(ordered).scalar_one_or_none()
    return found


def chain(ledger: Ledger, id: str, owner: str | None) -> list[Kept]:
    """The response and those that it continues, the oldest first.

    Raises NotFound where one of them is not there, or is another owner's, and Pruned where its texts were deleted.
    """
    with ledger.reading() as connection:
        rows = connection.execute(_walk(id, owner)).all()
    if not rows or (rows[-1].previous is not None and len(rows) < LONGEST):
        missing = rows[-1].previous if rows else id
        raise NotFound(f"there is no response {missing!r}")
    return [_kept(row) for row in reversed(rows)]


def _walk(id: str, owner: str | None) -> Select[Any]:
    start = select(responses, literal(0).label("back")).where(*_named(id, owner)).cte("walk", recursive=True)
    mine = responses.c.owner.is_not_distinct_from(owner)
    earlier = select(responses, (start.c.back + 1).label("back")).join(start, responses.c.id == start.c.previous)
    walk = start.union_all(earlier.where(mine, start.c.back < LONGEST - 1))
    return select(walk).order_by(walk.c.back)


def _named(id: str, owner: str | None) -> tuple[Any, ...]:
    return responses.c.id == id, responses.c.owner.is_not_distinct_from(owner)


def _kept(row: Row[Any]) -> Kept:
    if row.pruned_at is not None:
        raise Pruned(f"the response {row.id!r}", row.pruned_at)
    return Kept(
        row.id,
        row.status,
        row.body["response"],
        row.body["input"],
        row.owner,
        row.previous,
        row.conversation,
        row.process,
    )
