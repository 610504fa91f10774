"""What SQLite gives back to the disk after texts were dropped. PostgreSQL does it by itself."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from sqlalchemy.exc import OperationalError

from models.ledger.store import Ledger

WHOLE = 128 << 20
"""Bytes in use up to which the file is written anew, in about a second for which writers wait; it then holds no
remnant of anything. A larger one gives back its free pages in small pieces.
"""

PIECE = 2000
"""Pages of 4 KiB in a transaction."""


def give_back(ledger: Ledger) -> None:
    """Shorten the file and its journal as far as others let us: who reads or writes meanwhile is not disturbed."""
    if not ledger.is_sqlite:
        return
    raw: Any = ledger.engine.raw_connection()
    try:
        with suppress(OperationalError, raw.dbapi_connection.OperationalError):
            size, pages, free, mode = (_pragma(raw, name) for name in _FIGURES)
            if (pages - free) * size <= WHOLE:
                raw.execute("VACUUM")
            elif mode == _INCREMENTAL:
                _in_pieces(ledger, free)
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        raw.close()


_FIGURES = ("page_size", "page_count", "freelist_count", "auto_vacuum")
_INCREMENTAL = 2


def _in_pieces(ledger: Ledger, free: int) -> None:
    for _ in range(0, free, PIECE):
        with ledger.transaction() as connection:
            connection.exec_driver_sql(f"PRAGMA incremental_vacuum({PIECE})").fetchall()


def _pragma(raw: Any, name: str) -> int:
    return int(raw.execute(f"PRAGMA {name}").fetchone()[0])
