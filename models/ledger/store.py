"""The ledger's database: SQLite by default, PostgreSQL by URL."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, event, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.schema import CreateIndex, CreateTable

from models.errors import BadInput, LedgerAway
from models.ledger.outage import told_apart
from models.ledger.tables import identity, metadata, probes

BUSY_TIMEOUT_S = 60.0

PATIENCE = {"connect_timeout": 5, "tcp_user_timeout": 10_000}
"""Timeouts of PostgreSQL's client, in seconds and milliseconds: an unreachable server soon counts as an outage."""


class Ledger:
    """A handle on the ledger's database; cheap to create, safe to share between threads, one per process.

    `url`: `sqlite:////absolute/path` or `postgresql+psycopg://...`. Raises BadInput for any other. For a path that
    contains `?`, which such a text cannot hold, use `sqlite_url`. `unsettled`: the folder for replies that wait for the
    database (default: next to SQLite's file; for PostgreSQL none).

    Its transactions raise LedgerAway where the database cannot be reached or written.
    """

    def __init__(self, url: str | URL, unsettled: Path | None = None) -> None:
        parsed = read_url(url)
        self.url = parsed.render_as_string(hide_password=False)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        self.unsettled = unsettled
        if self.is_sqlite:
            file = Path(str(parsed.database))
            self.unsettled = unsettled or file.with_name("unsettled")
            _make_private(file)
            # Parameters are hidden in error texts: they hold texts of users and workers.
            self.engine = create_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT_S}, hide_parameters=True)
            _prepare_sqlite(self.engine)
        else:
            options = {name: value for name, value in PATIENCE.items() if name not in parsed.query}
            self.engine = create_engine(parsed, pool_pre_ping=True, connect_args=options, hide_parameters=True)
        self._outer: ContextVar[Connection | None] = ContextVar("outer", default=None)
        self._writing = threading.Lock()
        self._writer = self.engine.execution_options(begin="IMMEDIATE")

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A short write transaction, committed at the end, rolled back on an error.

        On SQLite it takes the write lock immediately: upgrading a deferred BEGIN can fail without waiting for the
        timeout. Never hold a transaction across a call to a worker.
        """
        outer = self._outer.get()
        if outer is not None:
            yield outer
            return
        with told_apart(), self._turn(), self._writer.begin() as connection:
            yield connection

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """On SQLite this process's writers wait for one another here: SQLite's own waiting is to sleep and try again.

        Raises LedgerAway.
        """
        if not self.is_sqlite:
            yield
            return
        if not self._writing.acquire(timeout=BUSY_TIMEOUT_S):
            raise LedgerAway("the ledger cannot be used: another transaction of this process does not end")
        try:
            yield
        finally:
            self._writing.release()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Make all writes to this ledger within the block one transaction."""
        with self.transaction() as connection:
            token = self._outer.set(connection)
            try:
                yield
            finally:
                self._outer.reset(token)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A consistent read-only view; does not block writers."""
        with told_apart(), self.engine.connect() as connection:
            yield connection

    def probe(self, connection: Connection, now: datetime) -> None:
        """A change for a `Journal` that tests whether the database can be written."""
        row = {"id": 1, "at": now}
        statement = self.insert(probes).values(row)
        connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=row))

    def create_schema(self) -> None:
        """Create the tables of `tables.py`, for tests. Installations run the migrations instead."""
        with self.transaction() as connection:
            for statement in _definitions(self.is_sqlite):
                connection.exec_driver_sql(statement)

    @cached_property
    def name(self) -> str:
        """The ledger's own random name, given at the first use. A copy of the database has it, too."""
        given = self.insert(identity).values(id=1, ledger=uuid.uuid4().hex).on_conflict_do_nothing()
        known = select(identity.c.ledger)
        with self.reading() as connection:
            found = connection.execute(known).scalar_one_or_none()
        if found is None:
            with self.transaction() as connection:
                connection.execute(given)
                found = connection.execute(known).scalar_one()
        return str(found)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def now(self, connection: Connection) -> datetime:
        """The time that leases are compared with: the database's clock for PostgreSQL, which machines can share."""
        if self.is_sqlite:
            return datetime.now(UTC)
        found: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
        return found.astimezone(UTC)

    def insert(self, table: Table) -> Any:
        """An INSERT in the database's dialect, which supports ON CONFLICT."""
        return sqlite.insert(table) if self.is_sqlite else postgresql.insert(table)

    def serialise(self, connection: Connection, what: str) -> None:
        """Run transactions with the same `what` one after another (on SQLite all write transactions do)."""
        if not self.is_sqlite:
            connection.execute(select(func.pg_advisory_xact_lock(func.hashtext(what))))


def sqlite_url(path: Path) -> URL:
    """The URL of a SQLite file, whose path may contain any characters."""
    return URL.create("sqlite", database=str(path))


def read_url(url: str | URL) -> URL:
    """Parse a ledger's URL. Raises BadInput for an invalid one."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise BadInput("the ledger's URL cannot be read", field="url") from None
    if parsed.drivername in {"sqlite", "sqlite+pysqlite"}:
        if not parsed.database or not Path(parsed.database).is_absolute():
            raise BadInput(
                f"a SQLite ledger needs an absolute path (sqlite:////...), not {parsed.database!r}",
                field="url",
            )
        if parsed.query:
            message = "a SQLite ledger's URL ends with its path: give a path that contains `?` as FUGU_HOME"
            raise BadInput(message, field="url")
        return parsed
    if parsed.drivername in {"postgresql", "postgresql+psycopg"}:
        return parsed.set(drivername="postgresql+psycopg")
    raise BadInput(f"the ledger needs SQLite or PostgreSQL, not {parsed.drivername!r}", field="url")


@cache
def _definitions(of_sqlite: bool) -> tuple[str, ...]:
    """What creates the tables and indices that are not there yet."""
    dialect = sqlite.dialect() if of_sqlite else postgresql.dialect()
    tables: list[Any] = [CreateTable(table, if_not_exists=True) for table in metadata.sorted_tables]
    indices: list[Any] = [
        CreateIndex(index, if_not_exists=True) for table in metadata.sorted_tables for index in table.indexes
    ]
    return tuple(str(each.compile(dialect=dialect)) for each in (*tables, *indices))


def _make_private(file: Path) -> None:
    """Create the database's file, or restrict an existing one, to its owner; SQLite gives its journals the same mode.

    An existing file must never be opened but by SQLite: a process that closes any descriptor of a file loses all its
    locks on it (POSIX). Another process could then take itself for the last one and delete the journal in use.
    Errors are ignored here: opening the file reports them.
    """
    with contextlib.suppress(OSError):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        for path in (file, *(file.with_name(file.name + end) for end in ("-wal", "-shm"))):
            if path.exists() and path.stat().st_mode & 0o077:
                path.chmod(0o600)


def _prepare_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def pragmas(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # the driver's own BEGIN would be a deferred one
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")  # affects new files only
        _set_wal(connection)
        # FULL: a claim must survive a power failure before its call is paid; group commits make it cheap.
        connection.execute("PRAGMA synchronous=FULL")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        mode = connection.get_execution_options().get("begin", "DEFERRED")
        connection.exec_driver_sql(f"BEGIN {mode}")


def _set_wal(connection: Any) -> None:
    """Switch the database to WAL; wait while another process that opens the new file holds the lock.

    SQLite's own timeout does not cover this switch. Other errors, such as a read-only disk, are raised immediately.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            if not busy or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
