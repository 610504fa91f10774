"""`fugu migrate`."""

from __future__ import annotations

import typer

from deployments.commands.options import Home


def migrate(home: Home = None) -> None:
    """Bring the ledger's schema up to date, and read all of it. Every other command does the first by itself."""
    from deployments.migrations import upgrade
    from tasks.setup.settings import settings

    database = settings().database
    upgrade(database, read_through=1 << 40)
    typer.echo("the ledger is up to date")
