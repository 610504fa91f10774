"""`fugu up`."""

from __future__ import annotations

from typing import Annotated

import typer

from deployments.commands.options import Backbone, Home, MaxUsd, PoolName, PresetName, Questions, Yes, sets

MAX_PORT = 65535


def up(
    once: Annotated[bool, typer.Option("--once", help="End after the first question.")] = False,
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=MAX_PORT,
            callback=sets("FUGU_PORT"),
            help="The endpoint's port; 0: a free one.",
            show_default="8000",
        ),
    ] = None,
    prefect_port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=MAX_PORT,
            callback=sets("FUGU_PREFECT_PORT"),
            help="Prefect's port; 0: a free one.",
            show_default="4200",
        ),
    ] = None,
    pool: PoolName = None,
    questions: Questions = None,
    preset: PresetName = None,
    backbone: Backbone = None,
    max_usd: MaxUsd = None,
    yes: Yes = False,
    for_trying: Annotated[
        bool,
        typer.Option(
            "--for-trying", help="In a home that is new, let Prefect show what the house pool is asked and answers."
        ),
    ] = False,
    home: Home = None,
) -> None:
    """Measure the pool, learn a router, serve it; what is there already is not done again. Ctrl-C ends all of it."""
    from rich.console import Console

    from deployments.up import Options, bring_up
    from tasks.setup.home import mark_for_trying
    from tasks.setup.settings import settings

    if for_trying:
        mark_for_trying(settings().home)
    raise typer.Exit(bring_up(Options(once=once, yes=yes, max_usd=max_usd), settings(), Console()))
