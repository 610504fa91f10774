"""`fugu provision`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from deployments.commands.options import Backbone, Home, PoolName, PresetName, Questions
from deployments.places.templates import IMAGES


def provision(
    type: Annotated[
        Literal["process", "docker", "kubernetes"], typer.Option(help="Of the work pools cpu and gpu.")
    ] = "process",
    image: Annotated[str, typer.Option(help="Of the pool cpu, for docker and kubernetes.")] = IMAGES["cpu"],
    gpu_image: Annotated[str, typer.Option(help="Of the pool gpu.")] = IMAGES["gpu"],
    seat: Annotated[
        bool, typer.Option("--seat", help="Let the pool's first worker serve the models that nothing serves yet.")
    ] = False,
    patience: Annotated[float, typer.Option(min=0, help="Seconds to wait for the server.")] = 60.0,
    pool: PoolName = None,
    questions: Questions = None,
    preset: PresetName = None,
    backbone: Backbone = None,
    home: Home = None,
) -> None:
    """Make on the Prefect server at PREFECT_API_URL what flow runs need: work pools with their limits, deployments with
    the present settings, and an automation that ends runs whose process is gone. The ledger is brought up to date, too.

    Run it again when a setting changes: it says what it did, and changes nothing where nothing differs.
    """
    from deployments.migrations import upgrade
    from deployments.places.applying import apply
    from deployments.places.templates import Place
    from tasks.setup.checkpoint import seat as let_serve
    from tasks.setup.settings import load_pool, open_ledger, settings

    workers = load_pool()
    upgrade(settings().database)
    lines = apply(Place(type, image, gpu_image), patience_s=patience)
    if seat:
        ledger = open_ledger()
        worker = let_serve(ledger, workers)
        ledger.close()
        lines += [] if worker is None else [f"nothing was measured: worker {worker!r} answers"]
    for line in lines or ["nothing to change"]:
        typer.echo(line)
