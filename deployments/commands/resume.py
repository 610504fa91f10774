"""`fugu resume`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.commands.options import Home, PoolName

if TYPE_CHECKING:
    from models.conductor.run.request import ConductAnswer, ConductRequest
    from models.ledger.store import Ledger

Id = Annotated[str, typer.Argument(help="The request's id, from the header X-Request-Id or the body's `id`.")]


def resume(id: Id, pool: PoolName = None, home: Home = None) -> None:
    """Continue a request whose process died; settled calls are not paid again. No endpoint is needed."""
    from deployments.commands.conducted import answer_text, body_of, open_request, print_maybe_paid
    from models.conductor.run import rows
    from models.errors import FuguError
    from models.ledger.accounts import in_doubt
    from models.ledger.workflows import past
    from tasks.batch import end_request

    ledger, row, request = open_request(id)
    if row.get("body") is None:
        try:
            planned = f"{request.root}/0" in past(ledger, request.root).workflows and not request.recursive
            conducted = asyncio.run(_answer(ledger, request, planned))
        except FuguError as error:
            end_request(ledger, id, rows.failed(error))
            raise
        finally:
            print_maybe_paid(ledger, request.root)
        lost = in_doubt(ledger, request.root)
        row = end_request(ledger, id, {**rows.answered(id, conducted, body_of(row, conducted), lost), "http": 200})
    typer.echo(answer_text(row["body"]))


async def _answer(ledger: Ledger, request: ConductRequest, planned: bool) -> ConductAnswer:
    """Run the request in this process with its own dispatcher, which waits for calls that other processes hold.

    `planned`: whether every round is planned, so that no conductor is needed.
    """
    from models.conductor.run.request_run import RequestRuns
    from tasks.setup.conductor import TRIES, open_parts
    from tasks.setup.session import open_dispatcher
    from tasks.setup.settings import open_pool, settings

    here, pool = settings(), open_pool()
    dispatcher = open_dispatcher(ledger, pool, TRIES)
    request_runs = RequestRuns(await open_parts(ledger, pool, dispatcher, None if planned else here.conductor))
    try:
        return await request_runs.open(request).answer()
    finally:
        await request_runs.close()
        await dispatcher.close()
