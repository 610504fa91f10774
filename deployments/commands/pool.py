"""`fugu pool check`."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.commands.options import Home

if TYPE_CHECKING:
    from models.workers.dispatch import Dispatcher
    from models.workers.pool import Worker

PING = "Reply with the single word: ready"
app = typer.Typer(help="Pools of workers.", no_args_is_help=True)


@app.callback()
def _pools() -> None:
    """Pools of workers."""


@app.command()
def check(
    name: Annotated[str | None, typer.Argument(metavar="POOL", help="Name or file of a pool.")] = None,
    home: Home = None,
) -> None:
    """Check the key, price and reply of each worker by asking it once. Exit status 1 if a worker fails."""
    from deployments.migrations import upgrade
    from models.workers.dispatch import Dispatcher
    from tasks.setup.settings import load_pool, open_ledger, open_pool, settings

    load_pool(name)  # report an unreadable file before the ledger is opened
    upgrade(settings().database)
    ledger, pool = open_ledger(), open_pool(name)

    async def check_all() -> list[bool]:
        dispatcher = Dispatcher(ledger, pool)
        try:
            return [await _check(worker, dispatcher) for worker in pool.workers]
        finally:
            await dispatcher.close()

    if not all(asyncio.run(check_all())):
        raise typer.Exit(1)


async def _check(worker: Worker, dispatcher: Dispatcher) -> bool:
    """Print one line about a worker; returns whether it can be used."""
    from models.errors import FuguError
    from models.workers.ask import Ask, Sampling

    price = worker.price
    cost = "free" if price is None else f"${price.input_per_million:g}/${price.output_per_million:g} per million tokens"
    if worker.is_recorded:
        typer.echo(f"{worker.name}: recorded scores only")
        return True
    ping = Ask(
        scope=f"check:{uuid.uuid4()}",
        worker=worker.name,
        revision=worker.revision,
        messages=({"role": "user", "content": PING},),
        sampling=Sampling(max_tokens=64),
    )
    try:
        worker.key()
        reply = await dispatcher.ask(ping)
    except FuguError as error:
        typer.echo(f"{worker.name}: {worker.model}, {cost}: {type(error).__name__}: {error}")
        return False
    typer.echo(f"{worker.name}: {worker.model}, {cost}: answers in {reply.seconds:.2f} s{_template(worker)}")
    return True


def _template(worker: Worker) -> str:
    """What is to be known of a local model's chat template."""
    from deployments.local.starting import PLAIN
    from models.workers.local import find
    from tasks.setup.settings import local_notes

    note = find(local_notes(), worker.model) if worker.is_local else None
    return f"; {PLAIN}" if note is not None and note.template == "plain" else ""
