"""`fugu migrate`."""

from __future__ import annotations

import typer

from deployments.commands.options import Home


def migrate(home: Home = None) -> None:
    """Bring the ledger's schema up to date. Every other command does so by itself."""
    from deployments.migrations import upgrade
    from tasks.settings import settings

    database = settings().database
    upgrade(database)
    typer.echo("the ledger is up to date")
