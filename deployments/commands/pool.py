"""`fugu pool check`."""

from __future__ import annotations

from typing import Annotated

import typer

from deployments.commands.options import Home

app = typer.Typer(help="Pools of workers.", no_args_is_help=True)


@app.callback()
def _pools() -> None:
    """Pools of workers."""


@app.command()
def check(
    name: Annotated[str | None, typer.Argument(metavar="POOL", help="Name or file of a pool.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Ask no worker: nothing is sent or paid.")] = False,
    home: Home = None,
) -> None:
    """Say each worker's key, price, abilities and limits, what litellm drops or refuses, and ask it once with each key.

    Exit status 1 if a worker cannot be used.
    """
    from deployments.begin.checking import check as check_pool
    from deployments.migrations import upgrade
    from tasks.setup.settings import load_pool, open_ledger, open_pool, settings

    load_pool(name)  # report an unreadable file before the ledger is opened
    upgrade(settings().database)
    ledger = open_ledger()
    try:
        usable = check_pool(open_pool(name), ledger, typer.echo, ping=not offline)
    finally:
        ledger.close()
    if not usable:
        raise typer.Exit(1)
