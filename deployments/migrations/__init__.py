"""Schema migrations of the ledger. Every command calls `upgrade` before it opens the ledger."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import inspect
from sqlalchemy.engine import URL

from models.errors import PermanentError
from models.ledger.store import Ledger, read_url
from models.ledger.tables import metadata, promotions

if TYPE_CHECKING:
    from sqlalchemy import Connection

HERE = Path(__file__).parent

READ_THROUGH = 1 << 28
"""Largest SQLite file, in bytes, whose pages every command checks (0.5 s); a larger one is not checked."""

BEGUN_S = 3.0
"""How long a file that another process has just created may be empty."""


def upgrade(url: str | URL, revision: str = "head", *, read_through: int = READ_THROUGH) -> None:
    """Upgrade the database at `url` to `revision`, in one transaction.

    Processes that start together wait for each other; the first one does the work. Raises PermanentError for a damaged
    file and for a schema newer than this version; SQLAlchemy's DatabaseError for a database that cannot be used.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(HERE).replace("%", "%%"))
    parsed = read_url(url)
    file = Path(str(parsed.database)) if parsed.get_backend_name() == "sqlite" else None
    if file is not None:
        _check_file(file)  # before a connection creates it
    new = file is not None and not file.exists()
    ledger = Ledger(url)
    try:
        if ledger.is_sqlite:
            with ledger.reading() as connection:  # no write lock, so that writers need not wait
                _check_pages(connection, read_through)
        with ledger.transaction() as connection:
            ledger.serialise(connection, "migrations")
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
            if revision == "head":
                _check_tables(connection)
    except CommandError as error:
        raise PermanentError(f"the ledger has a schema that this version of fugu does not know: {error}") from None
    finally:
        ledger.close()
        if new and file is not None and file.is_file() and file.stat().st_size == 0:
            file.unlink()  # the disk had no room for its first page


def is_made(url: str | URL) -> bool:
    """Whether the database at `url` is a ledger. Nothing is created. SQLAlchemy's DatabaseError where it cannot be
    used."""
    parsed = read_url(url)
    file = Path(str(parsed.database))
    if parsed.get_backend_name() == "sqlite" and not (file.is_file() and file.stat().st_size):
        return False  # opening an empty file would fill it
    ledger = Ledger(url)
    try:
        with ledger.reading() as connection:
            return inspect(connection).has_table(promotions.name)
    finally:
        ledger.close()


def _check_file(path: Path) -> None:
    """Refuse an empty file: SQLite would take a truncated ledger for a new database."""
    deadline = time.monotonic() + BEGUN_S
    while path.is_file() and path.stat().st_size == 0:
        if time.monotonic() > deadline:
            raise PermanentError(f"the ledger {path} is empty, so it was truncated: restore a copy, or remove it")
        time.sleep(0.05)


def _check_pages(connection: Connection, most: int) -> None:
    counted = [connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in ("page_count", "page_size")]
    if counted[0] * counted[1] > most:
        return
    found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
    if found != "ok":
        raise PermanentError(f"the ledger is damaged: {' '.join(str(found).split())}")


def _check_tables(connection: Connection) -> None:
    lacking = sorted(set(metadata.tables) - set(inspect(connection).get_table_names()))
    if lacking:
        raise PermanentError(f"the ledger is damaged: it has no table {lacking[0]!r}")
