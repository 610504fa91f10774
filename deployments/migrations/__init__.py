"""The ledger's schema, step by step. `upgrade` is what every command calls before it opens the ledger."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import inspect
from sqlalchemy.engine import URL

from models.errors import PermanentError
from models.ledger.store import Ledger, read_url
from models.ledger.tables import metadata

if TYPE_CHECKING:
    from sqlalchemy import Connection

HERE = Path(__file__).parent

READ_THROUGH = 1 << 28
"""Bytes of a SQLite file that every command reads through for faults (0.5 s); a larger one is looked at in part."""

BEGUN_S = 3.0
"""How long a file may be empty that another process has just made."""


def upgrade(url: str | URL, revision: str = "head", *, read_through: int = READ_THROUGH) -> None:
    """Bring the database at `url` to the newest schema, in one transaction.

    Processes that start together wait for each other: the first one does the work. Raises PermanentError for a file
    that is damaged, and for a newer schema than this; SQLAlchemy's DatabaseError for a database that cannot be used.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(HERE).replace("%", "%%"))
    parsed = read_url(url)
    file = Path(str(parsed.database)) if parsed.get_backend_name() == "sqlite" else None
    if file is not None:
        _check_file(file)  # before a handle makes one
    new = file is not None and not file.exists()
    ledger = Ledger(url)
    try:
        if ledger.is_sqlite:
            with ledger.reading() as connection:  # writers need not wait for it
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
            file.unlink()  # no room even for its first page


def _check_file(path: Path) -> None:
    """SQLite takes an empty file for a new database: a ledger that was cut off would begin anew."""
    deadline = time.monotonic() + BEGUN_S
    while path.is_file() and path.stat().st_size == 0:
        if time.monotonic() > deadline:
            raise PermanentError(f"the ledger {path} is empty: it was cut off; put a copy there, or remove it")
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
