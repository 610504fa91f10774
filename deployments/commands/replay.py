"""`fugu replay`."""

from __future__ import annotations

import asyncio
import sys

from deployments.commands.options import Home, PoolName
from deployments.commands.resume import Id


def replay(id: Id, pool: PoolName = None, home: Home = None) -> None:
    """Repeat a request from the ledger alone, without asking workers, and print its final body, equal byte for byte."""
    from deployments.commands.conducted import body_of, open_request
    from deployments.commands.silence import Silent
    from deployments.endpoint.wire.response import encode
    from models.conductor.plan.writers import FixedWriter
    from models.conductor.run.request import ConductParts
    from models.conductor.run.request_run import replay as replayed
    from models.errors import PermanentError
    from models.workers.dispatch import Dispatcher
    from models.workers.pool import Pool
    from tasks.setup.conductor import champion_rank
    from tasks.setup.settings import pool_path

    ledger, row, request = open_request(id)
    workers = Pool.load(pool_path())

    async def again() -> bytes:
        dispatcher = Dispatcher(ledger, workers, Silent())
        parts = ConductParts(ledger, workers, dispatcher, FixedWriter(""), champion_rank(ledger, workers))
        return encode(body_of(row, await replayed(parts, request)))

    body = asyncio.run(again())
    if row.get("body") is not None and encode(row["body"]) != body:
        raise PermanentError(f"the replay of {id} gives another body than the recorded answer")
    sys.stdout.buffer.write(body + b"\n")
    sys.stdout.buffer.flush()
