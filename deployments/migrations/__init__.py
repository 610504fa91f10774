"""The ledger's schema, step by step. `upgrade` is what every command calls before it opens the ledger."""

from __future__ import annotations

from pathlib import Path

from models.ledger.store import Ledger

HERE = Path(__file__).parent


def upgrade(url: str) -> None:
    """Bring the database at `url` to the newest schema, in one transaction.

    Processes that start together wait for each other: the first one does the work.
    """
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(HERE))
    ledger = Ledger(url)
    try:
        with ledger.transaction() as connection:
            ledger.serialise(connection, "migrations")
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        ledger.close()
