"""`fugu rollback`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from deployments.commands.options import Home
from deployments.commands.status import served_by


def rollback(
    model: Annotated[Literal["fugu", "trinity"], typer.Argument(help="The model to roll back.")],
    home: Home = None,
) -> None:
    """Restore a model's previous champion; run it again for the one before."""
    from deployments.migrations import upgrade
    from models.ledger import registry
    from tasks.setup.settings import open_ledger, settings

    upgrade(settings().database)
    typer.echo(f"{model} is served by {served_by(registry.rollback(open_ledger(), model))}")
