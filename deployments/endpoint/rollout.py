"""The endpoint that a coding agent uses in a rollout: the stack of the real one, with the candidate as its router.

It answers on the socket that it is given (the workshop's own loopback), for one model name. It keeps no rows of its
requests, but their calls are in the ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from functools import partial
from socket import socket
from typing import cast

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from deployments.doors import Doors
from deployments.endpoint.answer.champions import Seat
from deployments.endpoint.answer.routed import Routed
from deployments.endpoint.answer.stack import Stack
from deployments.endpoint.parts import Options, Parts
from deployments.endpoint.watching.watch import Watch
from deployments.endpoint.wire.anthropic.format import Messages
from deployments.endpoint.wire.chat import ChatCompletions
from deployments.endpoint.wire.problems import unknown_model
from deployments.endpoint.wire.response import encode, model_body
from models.coding.rollouts import Calls, Serve
from models.fugu.rollout import Decider
from models.ledger.registry import Champion
from models.ledger.store import Ledger
from models.workers.dispatch import Dispatcher
from models.workers.pool import Pool

OPTIONS = Options(observe=False)


class OneSeat:
    """A candidate as the champion of one model name."""

    def __init__(self, name: str, policy: Decider) -> None:
        champion = Champion(name, {"kind": "candidate"}, "a rollout", datetime.now(UTC), 0)
        self.names: tuple[str, ...] = (name,)
        self._seat = Seat(champion, router=policy)

    def seat(self, name: str) -> Seat | None:
        return self._seat if name in self.names else None

    async def pinned(self, name: str, pin: str) -> Seat:
        raise unknown_model(f"{name}@{pin}")


class Server(uvicorn.Server):
    """uvicorn without its signal handlers: this process belongs to the rollouts."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def server_of(ledger: Ledger, pool: Pool) -> Serve:
    """The endpoint for `models/coding/rollouts.py`, with the workers of this pool."""

    @asynccontextmanager
    async def serve(listening: socket, policy: Decider, calls: Calls, model: str) -> AsyncIterator[None]:
        # The route calls only what `Calls` has.
        parts = Parts(ledger, pool, cast(Dispatcher, calls), load_router=_none)
        seats = OneSeat(model, policy)
        routes = {model: partial(Routed, parts, seats, OPTIONS.turns, None, failover=False)}
        stack = Stack(routes, OPTIONS, Watch(pool, seats.names))

        async def models(request: Request) -> Response:
            data = [model_body(name, 0) for name in seats.names]
            return Response(encode({"object": "list", "data": data}), media_type="application/json")

        served = [Route(wire.path, stack.serve(wire), methods=["POST"]) for wire in (ChatCompletions(), Messages())]
        app = Doors(Starlette(routes=[*served, Route("/v1/models", models)]))
        config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off")
        config.timeout_graceful_shutdown = 1  # the agent is gone
        server = Server(config)
        running = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            yield
        finally:
            server.should_exit = True
            await running

    return serve


def _none(checkpoint: str) -> Decider:
    raise LookupError(f"a rollout has no checkpoint {checkpoint!r}")
