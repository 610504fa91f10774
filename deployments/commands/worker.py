"""`fugu worker serve`."""

from __future__ import annotations

import os
import signal
import time
from typing import Annotated

import typer

from deployments.commands.options import Home

app = typer.Typer(help="Local models as workers.", no_args_is_help=True)


@app.callback()
def _workers() -> None:
    """Local models as workers."""


@app.command()
def serve(
    name: Annotated[str, typer.Argument(metavar="POOL-OR-MODEL", help="Name or file of a pool, or local/NAME.")],
    queue: Annotated[
        int | None, typer.Option(min=0, help="How many requests may wait for a model.", show_default="64")
    ] = None,
    home: Home = None,
) -> None:
    """Serve the pool's local models, or one model, to this home until Ctrl-C. `fugu up` does so by itself."""
    from deployments.local.files import check_files, named_file
    from deployments.local.starting import LOADING_S, log_name, start_models, words_of
    from deployments.services import Services
    from models.errors import BadInput, PermanentError
    from models.workers.local import is_held, models_of
    from models.workers.worker import LOCAL
    from tasks.setup.home import private_home
    from tasks.setup.settings import load_pool, local_notes, settings

    here, notes = settings(), local_notes()
    if name.startswith(LOCAL):
        models: tuple[str, ...] = (name,)
        named_file(name, here.home)
    else:
        pool = load_pool(name)
        check_files(pool, here.home)
        models = models_of(pool)
    if not models:
        raise BadInput(f"the pool {name} has no local model (`model: local/…`)", "pool")
    if missing := [model for model in models if is_held(notes, model)]:
        raise BadInput(f"{missing[0]} is already served by another process of this home", "model")
    stopped: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: stopped.append(received))
    private_home(here.home)
    with Services(here.home) as services:
        start_models(models, notes, services, os.environ | here.environment(), queue)
        waiting, deadline = list(models), time.monotonic() + LOADING_S
        while not stopped:
            services.check()
            for model in [model for model in waiting if words_of(model, notes)]:
                typer.echo(words_of(model, notes))
                waiting.remove(model)
            if waiting and time.monotonic() > deadline:
                log = services.logs / f"{log_name(notes, waiting[0])}.log"
                raise PermanentError(f"{waiting[0]} is not loaded after {LOADING_S:g} s: see {log}")
            time.sleep(0.1)
