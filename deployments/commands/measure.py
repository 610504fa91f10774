"""`fugu measure`."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from deployments.commands.options import Home, MaxUsd, PoolName, PresetName, Questions, Yes

REFRESH = "refresh-labels/measure-nightly"


def measure(
    estimate: Annotated[bool, typer.Option("--estimate", help="Only print the estimated cost.")] = False,
    pool: PoolName = None,
    questions: Questions = None,
    preset: PresetName = None,
    max_usd: MaxUsd = None,
    yes: Yes = False,
    home: Home = None,
) -> None:
    """Measure the labels that are missing, as a flow run of the running `fugu up`."""
    from rich.console import Console

    from deployments.estimate import estimate_cost
    from deployments.home import find_note, secret
    from deployments.migrations import upgrade
    from deployments.money import agreed_limit
    from deployments.progress import watch
    from deployments.server import Server
    from tasks.setup.settings import load_pool, open_ledger, settings

    here = settings()
    upgrade(here.database)
    workers = load_pool()
    missing = estimate_cost(here, workers, open_ledger())
    typer.echo(f"{missing.missing} attempts are missing; they cost at most ${missing.labels_usd:,.2f}")
    if estimate or not missing.missing:
        return
    workers.check_keys()
    note = find_note(here.home)
    limit = agreed_limit(workers.name, "measuring", missing.labels_usd, yes=yes, max_usd=max_usd)
    parameters = {
        "pool": here.pool,
        "questions": here.questions,
        "preset": here.preset,
        "max_age_days": None,  # the nightly run's limit would repeat old labels, which the estimate does not include
        "max_usd": limit,
    }
    server = Server(note.prefect, secret(here.home))
    watch(server, server.start_run(REFRESH, parameters), Console(), time.monotonic())
