"""`fugu up`."""

from __future__ import annotations

from typing import Annotated

import typer

from deployments.commands.options import Backbone, Home, MaxUsd, PoolName, PresetName, Questions, Yes, sets

MAX_PORT = 65535


def up(
    once: Annotated[bool, typer.Option("--once", help="Exit after the first question.")] = False,
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=MAX_PORT,
            callback=sets("FUGU_PORT"),
            help="Port of the endpoint; 0: a free one.",
            show_default="8000",
        ),
    ] = None,
    prefect_port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=MAX_PORT,
            callback=sets("FUGU_PREFECT_PORT"),
            help="Port of Prefect; 0: a free one.",
            show_default="4200",
        ),
    ] = None,
    pool: PoolName = None,
    questions: Questions = None,
    preset: PresetName = None,
    backbone: Backbone = None,
    max_usd: MaxUsd = None,
    yes: Yes = False,
    serve: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The worker that answers until a router is learned; `cheapest`: the one with the lowest prices.",
            show_default="without questions the pool's first",
        ),
    ] = None,
    for_trying: Annotated[
        bool,
        typer.Option(
            "--for-trying", help="If the home is new, let Prefect show questions and answers of the house pool."
        ),
    ] = False,
    home: Home = None,
) -> None:
    """Measure the pool, train a router and serve it, skipping finished work. Ctrl-C stops everything."""
    from rich.console import Console

    from deployments.up import Options, bring_up
    from tasks.setup.home import mark_for_trying
    from tasks.setup.settings import settings

    if for_trying:
        mark_for_trying(settings().home)
    raise typer.Exit(bring_up(Options(once=once, yes=yes, max_usd=max_usd, serve=serve), settings(), Console()))
