"""`fugu fetch` and `fugu verify`: the released router, which is no part of this project."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from deployments.commands.options import Home

Released = Annotated[Literal["trinity"], typer.Argument(help="What was released.")]


def fetch(what: Released, home: Home = None) -> None:
    """Get the released vector, its backbone and its cases from where they are public, at pinned revisions."""
    from models.fugu import released
    from tasks.setup.settings import settings

    here = settings()
    typer.echo(f"all of it is in {released.fetch(here.data / 'catalog.yaml', here.home, typer.echo)}")


def verify(what: Released, home: Home = None) -> None:
    """Run the released cases on the released router. Exit status 1 where fewer are right than in the known run."""
    from models.fugu import released
    from tasks.setup.settings import settings

    here = settings()
    found = released.verify(here.data / "catalog.yaml", here.home)
    typer.echo(f"{found.cases} cases: worker right in {found.workers}, role in {found.roles}, both in {found.both}")
    if found.others:
        typer.echo(
            f"other decisions: {', '.join(found.others)} (known in float32: {found.known[0]} workers, ", nl=False
        )
        typer.echo(f"{found.known[1]} roles right)")
    if not found.faithful:
        raise typer.Exit(1)
