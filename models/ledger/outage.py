"""Database outages: distinguishes an unreachable database, which is waited for, from a row that cannot be written."""

from __future__ import annotations

import asyncio
import errno
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnection

from models.errors import LedgerAway

T = TypeVar("T")

PAUSE_S = 0.25
"""Between two tries to reach the database."""

PATIENCE_S = 60.0
"""How long work that has begun waits for the database."""

DISK = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS)

STATEMENTS = ("42", "54")
"""SQLSTATE classes of PostgreSQL's operational errors that are caused by the statement, not by the server."""


def is_away(error: BaseException) -> bool:
    """Whether the error is an outage of the database (no connection, no disk, no lock in time), not caused by the data.

    Of SQLite: busy, locked, I/O error, full, read-only, cannot be opened. Of PostgreSQL: a lost or refused connection,
    a server that stops or starts, a full disk, a deadlock. A file that is not a database is no outage: waiting would
    not help.
    """
    if isinstance(error, OSError):
        return error.errno in DISK
    if isinstance(error, NoConnection) or (isinstance(error, DBAPIError) and error.connection_invalidated):
        return True
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    if isinstance(cause, sqlite3.Error):
        return isinstance(cause, sqlite3.OperationalError) and not _of_the_statement(cause)
    # By name: psycopg is imported only where PostgreSQL is used.
    names = {kind.__name__ for kind in type(cause).__mro__}
    state = getattr(cause, "sqlstate", None) or ""
    return bool(names & {"OperationalError", "InterfaceError"}) and not state.startswith(STATEMENTS)


def _of_the_statement(error: sqlite3.OperationalError) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code & 0xFF == sqlite3.SQLITE_ERROR if code is not None else str(error).startswith(("no such", "near "))


@contextmanager
def told_apart() -> Iterator[None]:
    """Turn errors of an outage into LedgerAway; all others pass unchanged."""
    try:
        yield
    except Exception as error:
        if isinstance(error, LedgerAway) or not is_away(error):
            raise
        reason = str(getattr(error, "orig", None) or error).partition("\n")[0]
        raise LedgerAway(f"the ledger cannot be used: {reason}") from error


def apart(write: Callable[[Sequence[T]], Sequence[Any]], items: Sequence[T]) -> list[Any]:
    """Write items together; return each item's result, or its exception if it cannot be written.

    A batch that fails is split, the earlier half first, until the bad item is isolated. In an outage nothing is split:
    the result of each item that was not written is LedgerAway.
    """
    try:
        return list(write(items))
    except Exception as error:
        if len(items) == 1 or isinstance(error, LedgerAway):
            return [error] * len(items)
    half = len(items) // 2
    return apart(write, items[:half]) + apart(write, items[half:])


async def when_back(attempt: Callable[[], Awaitable[T]], patience_s: float = PATIENCE_S) -> T:
    """The attempt's result; it is repeated during an outage. For work that has been partly paid for.

    Raises LedgerAway after `patience_s`.
    """
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return await attempt()
        except LedgerAway:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(PAUSE_S)
