"""Retention: deletes the texts of old requests from the ledger (`prune`), and shrinks SQLite's file (`give_back`).

Texts are deleted by age and by total bytes, the oldest first: messages, replies, errors, plans, tool calls and kept
responses. The rows of calls, requests and responses remain, with worker, times, tokens and costs, so that accounts stay
complete and no call is paid for twice. Calls that measure labels (scope `measure:…`) keep their texts.

SQLite keeps deleted pages in its file. `give_back` returns them to the file system: it rewrites a small file, and frees
the pages of a large one in small transactions.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Column, Connection, LargeBinary, Text, and_, cast, delete, func, null, or_, select, update
from sqlalchemy import union_all as union
from sqlalchemy.exc import OperationalError
from sqlalchemy.sql import ColumnElement, Select

from models.ledger.epochs import is_measuring
from models.ledger.kept.responses import FINAL
from models.ledger.store import Ledger
from models.ledger.tables import calls, requests, steps, tool_calls, tries, workflows
from models.ledger.tables.responses import responses

BATCH = 200
"""Rows per transaction, so that concurrent writers wait for milliseconds only."""

UNDER_WAY = timedelta(days=1)
"""For so long a request that has not ended counts as running: its texts, and those that it continues, are kept."""

FIGURES = (
    *("id", "model", "status", "http", "error", "created", "seconds", "stream", "continues", "process", "owner"),
    "trace_id",
    *("worker", "turns", "calls", "cost_usd", "prompt_tokens", "completion_tokens"),
    *("champion", "champion_version", "steps"),
)
"""The fields of a request's row that are kept."""

FIGURES_OF_RESPONSES = ("id", "object", "created_at", "completed_at", "model", "status", "usage")

REWRITE_BYTES = 128 << 20
"""SQLite files with at most so many bytes in use are rewritten by VACUUM, which blocks writers for about a second and
leaves no remnant of deleted data. Larger files free their unused pages in small transactions."""

REWRITE_PAGES = 2000
"""Pages of 4 KiB that one of these transactions frees."""

_PRAGMAS = ("page_size", "page_count", "freelist_count", "auto_vacuum")
_INCREMENTAL = 2  # the value of `auto_vacuum` with which a file can free its pages in pieces


@dataclass(frozen=True)
class Dropped:
    """Counts of rows that lost their texts, and the texts' bytes. `until`: of this time and before."""

    until: datetime
    calls: int = 0
    requests: int = 0
    workflows: int = 0
    tool_calls: int = 0
    responses: int = 0
    bytes: int = 0


def prune(ledger: Ledger, max_age: timedelta, max_bytes: int, *, dry_run: bool = False) -> Dropped:
    """Delete texts older than `max_age`, and the oldest others until at most `max_bytes` are left.

    `dry_run`: only count them. Blocks: call it off the event loop; others can read and write meanwhile.
    """
    with ledger.reading() as connection:
        until = _until(ledger, connection, max_age, max_bytes)
        found = _count(ledger, connection, until)
    if dry_run or found == Dropped(until):
        return found
    for write in (_drop_calls, _drop_requests, _drop_workflows, _drop_tool_calls, _drop_responses):
        more = True
        while more:
            with _erasing(ledger) as connection:
                more = write(connection, until, ledger.now(connection))
    give_back(ledger)
    return found


def give_back(ledger: Ledger) -> None:
    """Shrink SQLite's file and its journal, as far as possible without disturbing concurrent readers and writers."""
    if not ledger.is_sqlite:
        return
    raw: Any = ledger.engine.raw_connection()
    try:
        with suppress(OperationalError, raw.dbapi_connection.OperationalError):
            size, pages, free, mode = (_pragma(raw, name) for name in _PRAGMAS)
            if (pages - free) * size <= REWRITE_BYTES:
                raw.execute("VACUUM")
            elif mode == _INCREMENTAL:
                _in_pieces(ledger, free)
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        raw.close()


@contextmanager
def _erasing(ledger: Ledger) -> Iterator[Connection]:
    """A write transaction that also overwrites deleted data in SQLite's file."""
    with ledger.transaction() as connection:
        if ledger.is_sqlite:
            connection.exec_driver_sql("PRAGMA secure_delete=ON")
        yield connection


def _kept_calls(now: datetime) -> ColumnElement[bool]:
    """Calls whose texts may be deleted: not those of labels, nor those under a live lease."""
    held = calls.c.status.in_(("claimed", "sent")) & (calls.c.lease_until > now)
    # A late settlement may have stored a reply in a pruned call.
    whole = or_(calls.c.pruned_at.is_(None), calls.c.reply.is_not(None))
    return and_(~is_measuring(), whole, ~held)


def _kept_responses(now: datetime) -> ColumnElement[bool]:
    """Responses whose texts may be deleted: not those that are being answered in the background."""
    ended = or_(responses.c.status.in_(FINAL), responses.c.created_at <= now - UNDER_WAY)
    return and_(responses.c.pruned_at.is_(None), ended)


def _texts(ledger: Ledger, now: datetime) -> dict[str, Select[tuple[datetime, int]]]:
    """Per table, a query of the creation time and bytes of each row's texts."""

    def sized(*columns: Column[Any]) -> ColumnElement[int]:
        if ledger.is_sqlite:
            sizes = [func.length(cast(column, LargeBinary)) for column in columns]
        else:
            sizes = [func.octet_length(cast(column, Text)) for column in columns]
        return sum((func.coalesce(size, 0) for size in sizes[1:]), func.coalesce(sizes[0], 0)).label("size")

    def of(created: Column[datetime], *columns: Column[Any]) -> Select[tuple[datetime, int]]:
        return select(created.label("created_at"), sized(*columns))

    return {
        "calls": of(calls.c.created_at, calls.c.payload, calls.c.reply, calls.c.error).where(_kept_calls(now)),
        "requests": of(requests.c.created_at, requests.c.body).where(requests.c.pruned_at.is_(None)),
        "workflows": of(workflows.c.created_at, workflows.c.body),
        "tool_calls": of(tool_calls.c.created_at, tool_calls.c.name, tool_calls.c.arguments, tool_calls.c.result),
        "responses": of(responses.c.created_at, responses.c.body).where(_kept_responses(now)),
    }


def _until(ledger: Ledger, connection: Connection, max_age: timedelta, max_bytes: int) -> datetime:
    """The time up to which texts are deleted; earlier than every running request."""
    now = ledger.now(connection)
    until, total = now - max_age, 0
    everything = union(*_texts(ledger, now).values()).subquery()
    rows = select(everything.c.created_at, everything.c.size).order_by(everything.c.created_at.desc())
    for row in connection.execution_options(yield_per=1000).execute(rows):
        total += row.size
        if total > max_bytes or row.created_at <= until:
            until = max(until, row.created_at)
            break
    began = _oldest_under_way(connection, now)
    return until if began is None else min(until, began - timedelta(microseconds=1))


def _oldest_under_way(connection: Connection, now: datetime) -> datetime | None:
    """The start of the oldest request that is running, or that a running one continues."""
    columns = requests.c.created_at, requests.c.body["continues"].as_string().label("continues")
    running = requests.c.body["status"].as_string() == "running", requests.c.created_at > now - UNDER_WAY
    found = connection.execute(select(*columns).where(*running)).all()
    times: list[datetime] = []
    while found:
        times += [row.created_at for row in found]
        earlier = {row.continues for row in found if row.continues}
        found = connection.execute(select(*columns).where(requests.c.id.in_(earlier))).all() if earlier else []
    return min(times, default=None)


def _count(ledger: Ledger, connection: Connection, until: datetime) -> Dropped:
    found = Dropped(until)
    for name, texts in _texts(ledger, ledger.now(connection)).items():
        old = texts.subquery()
        totals = select(func.count(), func.coalesce(func.sum(old.c.size), 0)).where(old.c.created_at <= until)
        count, size = connection.execute(totals).one()
        found = replace(found, **{name: count}, bytes=found.bytes + int(size))
    return found


def _drop_calls(connection: Connection, until: datetime, now: datetime) -> bool:
    old = select(calls.c.id).where(calls.c.created_at <= until, _kept_calls(now))
    ids = connection.execute(old.order_by(calls.c.created_at).limit(BATCH)).scalars().all()
    # Locked in order of id, as everywhere, to avoid deadlocks; a call claimed meanwhile is skipped.
    locked = select(calls.c.id).where(calls.c.id.in_(ids), _kept_calls(now)).order_by(calls.c.id).with_for_update()
    mine = connection.execute(locked).scalars().all()
    gone = {"payload": {}, "reply": null(), "error": null(), "pruned_at": now}
    connection.execute(update(calls).where(calls.c.id.in_(mine)).values(gone))
    connection.execute(update(tries).where(tries.c.call_id.in_(mine)).values(error=null()))
    return len(ids) == BATCH


def _drop_requests(connection: Connection, until: datetime, now: datetime) -> bool:
    old = requests.c.created_at <= until, requests.c.pruned_at.is_(None)
    statement = select(requests.c.id, requests.c.body).where(*old).order_by(requests.c.id).limit(BATCH)
    rows = connection.execute(statement.with_for_update()).all()
    for row in rows:
        body = {name: row.body[name] for name in FIGURES if name in row.body} | {"pruned": now.isoformat()}
        connection.execute(update(requests).where(requests.c.id == row.id).values(body=body, pruned_at=now))
    return len(rows) == BATCH


def _drop_workflows(connection: Connection, until: datetime, now: datetime) -> bool:
    old = select(workflows.c.id).where(workflows.c.created_at <= until).limit(BATCH)
    ids = connection.execute(old).scalars().all()
    connection.execute(delete(steps).where(steps.c.workflow.in_(ids)))
    connection.execute(delete(workflows).where(workflows.c.id.in_(ids)))
    return len(ids) == BATCH


def _drop_tool_calls(connection: Connection, until: datetime, now: datetime) -> bool:
    old = select(tool_calls.c.id).where(tool_calls.c.created_at <= until).limit(BATCH)
    ids = connection.execute(old).scalars().all()
    connection.execute(delete(tool_calls).where(tool_calls.c.id.in_(ids)))
    return len(ids) == BATCH


def _drop_responses(connection: Connection, until: datetime, now: datetime) -> bool:
    old = responses.c.created_at <= until, _kept_responses(now)
    statement = select(responses.c.id, responses.c.body).where(*old).order_by(responses.c.id).limit(BATCH)
    rows = connection.execute(statement.with_for_update()).all()
    for row in rows:
        whole = row.body["response"]
        figures = {name: whole[name] for name in FIGURES_OF_RESPONSES if name in whole}
        values = {"body": {"response": figures, "input": []}, "pruned_at": now}
        connection.execute(update(responses).where(responses.c.id == row.id).values(values))
    return len(rows) == BATCH


def _in_pieces(ledger: Ledger, free: int) -> None:
    """Free the file's `free` unused pages, `REWRITE_PAGES` per transaction."""
    for _ in range(0, free, REWRITE_PAGES):
        with ledger.transaction() as connection:
            connection.exec_driver_sql(f"PRAGMA incremental_vacuum({REWRITE_PAGES})").fetchall()


def _pragma(raw: Any, name: str) -> int:
    return int(raw.execute(f"PRAGMA {name}").fetchone()[0])
