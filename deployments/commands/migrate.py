"""`fugu migrate`."""

from __future__ import annotations

import typer

from deployments.commands.options import Home


def migrate(home: Home = None) -> None:
    """Upgrade the ledger's schema and check the whole file. Other commands upgrade it themselves."""
    from deployments.migrations import upgrade
    from tasks.setup.settings import settings

    database = settings().database
    upgrade(database, read_through=1 << 40)
    typer.echo("the ledger is up to date")
