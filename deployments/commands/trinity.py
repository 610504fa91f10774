"""`fugu fetch` and `fugu verify`: the router that TRINITY's authors released, which is not part of this project."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from deployments.commands.options import Home

Released = Annotated[Literal["trinity"], typer.Argument(help="The released router.")]


def fetch(what: Released, home: Home = None) -> None:
    """Download the released vector, its backbone and its test cases from their public sources, at pinned revisions."""
    from models.fugu import released
    from tasks.setup.settings import settings

    here = settings()
    typer.echo(f"downloaded to {released.fetch(here.data / 'catalog.yaml', here.home, typer.echo)}")


def verify(what: Released, home: Home = None) -> None:
    """Run the released cases on the released router. Exit status 1 if fewer are right than in the reference run."""
    from models.fugu import released
    from tasks.setup.settings import settings

    here = settings()
    found = released.verify(here.data / "catalog.yaml", here.home)
    typer.echo(f"{found.cases} cases: worker right in {found.workers}, role in {found.roles}, both in {found.both}")
    if found.others:
        typer.echo(
            f"differing decisions: {', '.join(found.others)} (known in float32: {found.known[0]} workers, ", nl=False
        )
        typer.echo(f"{found.known[1]} roles right)")
    if not found.faithful:
        raise typer.Exit(1)
