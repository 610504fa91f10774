"""`fugu doctor`."""

from __future__ import annotations

import typer

from deployments.commands.options import Backbone, Home, PoolName, Questions


def doctor(pool: PoolName = None, questions: Questions = None, backbone: Backbone = None, home: Home = None) -> None:
    """Say what is missing on this machine for what is set, and how to get it. Nothing is made, asked or spent.

    Exit status 1 if something is missing.
    """
    from deployments.begin.doctor import examine
    from tasks.setup.settings import settings

    found = examine(settings())
    missing = sum(each.state == "MISSING" for each in found)
    things = "1 thing is" if missing == 1 else f"{missing} things are"
    typer.echo(f"{things} missing:" if missing else "All that is needed is there:")
    for each in sorted(found, key=lambda each: each.state != "MISSING"):
        typer.echo(f"  {each.state:<9}{each.name:<11}{' '.join(each.text.split())}")
    if missing:
        raise typer.Exit(1)
