"""The OpenAI-compatible endpoint: `create_app(parts)` makes one, and nothing is global.

`fugu` asks one worker and streams its tokens; `trinity` runs the loop and answers when a reply is accepted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.endpoint.abilities import is_askable
from deployments.endpoint.champions import Champions
from deployments.endpoint.chat import Chat, problem_response
from deployments.endpoint.exchange import FUGU, TRINITY
from deployments.endpoint.parts import DEFAULT, Options, Parts
from deployments.endpoint.problems import Problem, problem_of, unknown_model
from deployments.endpoint.response import encode, model_body
from models.ledger import registry

log = logging.getLogger(__name__)


def create_app(parts: Parts, options: Options = DEFAULT) -> FastAPI:
    """The application. Its start-up returns at once: champions and slow imports are loaded meanwhile."""
    endpoint = Endpoint(parts, options)
    app = FastAPI(title="fugu-flows", lifespan=endpoint.lifespan, openapi_url=None)
    app.add_api_route("/v1/chat/completions", endpoint.chat.respond, methods=["POST"])
    app.add_api_route("/v1/models", endpoint.models, methods=["GET"])
    app.add_api_route("/v1/models/{name}", endpoint.model, methods=["GET"])
    app.add_api_route("/livez", endpoint.livez, methods=["GET"])
    app.add_api_route("/readyz", endpoint.readyz, methods=["GET"])
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _fault)
    app.add_middleware(HostCheck, hosts=options.hosts)
    return app


class Endpoint:
    """What the routes of one application share, from its start to its end."""

    def __init__(self, parts: Parts, options: Options) -> None:
        self._parts, self._options = parts, options
        self._champions = Champions(
            (FUGU, TRINITY),
            parts.pool,
            lambda model: registry.champion(parts.ledger, model),
            parts.load_router,
        )
        self.chat = Chat(parts, options, self._champions)

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        following = asyncio.create_task(self._follow())
        yield
        following.cancel()
        await asyncio.wait([following])
        await self.chat.close()
        await self._parts.dispatcher.close()

    async def _follow(self) -> None:
        """Nobody is seated before the slow imports are there: a request would wait for them."""
        try:
            await asyncio.to_thread(self._parts.warm)
        except Exception:
            log.exception("the endpoint cannot get ready")
            return
        await self._champions.watch(self._options.poll_s)

    async def models(self, request: Request) -> Response:
        data = [self._model(name) for name in self._champions.names]
        return _json({"object": "list", "data": data})

    async def model(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._champions.names:
            return problem_response(unknown_model(name))
        return _json(self._model(name))

    def _model(self, name: str) -> dict[str, object]:
        seat = self._champions.seat(name)
        return model_body(name, int(seat.champion.since.timestamp()) if seat else 0)

    async def livez(self, request: Request) -> Response:
        return _json({"status": "ok"})

    async def readyz(self, request: Request) -> Response:
        """200 when a question would be answered without delay, else 503; the body says what is missing."""
        checks = {
            "ledger": await self._reads(),
            "champions": self._champions.complete,
            "workers": any(is_askable(worker) for worker in self._parts.pool.workers),
        }
        ready = all(checks.values())
        return _json({"ready": ready, **checks}, 200 if ready else 503)

    async def _reads(self) -> bool:
        with suppress(Exception):
            await asyncio.to_thread(registry.champion, self._parts.ledger, FUGU)
            return True
        return False


class HostCheck:
    """Refuses requests that were sent to another host's name (a web page that re-binds its own to loopback)."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str]) -> None:
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and Request(scope).url.hostname not in self.hosts:
            refusal = problem_response(Problem(403, "this endpoint serves its own machine", code="wrong_host"))
            await refusal(scope, receive, send)
        else:
            await self.app(scope, receive, send)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return problem_response(Problem(error.status_code, error.detail, headers=dict(error.headers or {})))


async def _fault(request: Request, error: Exception) -> Response:
    return problem_response(problem_of(error))


def _json(body: dict[str, object], status: int = 200) -> Response:
    return Response(encode(body), status, media_type="application/json")
