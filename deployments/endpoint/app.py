"""The OpenAI-compatible endpoint: `create_app(parts)` makes one; there is no global state.

`fugu` asks one worker and streams its tokens; `trinity` runs the router's loop and answers when a reply is accepted;
`fugu-ultra` runs a workflow and answers when its last step is settled.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from deployments.doors import Doors
from deployments.endpoint.annex import Annex
from deployments.endpoint.answer.champions import Champions
from deployments.endpoint.answer.conducted import Conducted
from deployments.endpoint.answer.conductor import Conductor
from deployments.endpoint.answer.jobs import Jobs
from deployments.endpoint.answer.keeping import Keeping
from deployments.endpoint.answer.routed import Routed
from deployments.endpoint.answer.stack import Stack
from deployments.endpoint.connections import Crowd
from deployments.endpoint.observer import Observer, named_server
from deployments.endpoint.parts import DEFAULT, Options, Parts
from deployments.endpoint.wire.body import SHOWN
from deployments.endpoint.wire.chat import ChatCompletions
from deployments.endpoint.wire.problems import Problem, problem_of, problem_response, unknown_model
from deployments.endpoint.wire.response import FUGU, TRINITY, ULTRA, encode, model_body
from models.conductor.run.request_run import RequestRuns
from models.errors import NotFound
from models.ledger import registry
from models.ledger.journal import Journal
from models.ledger.providers.breakers import OpenBreaker
from models.ledger.requests import get_request

log = logging.getLogger(__name__)

READ = ["GET", "HEAD"]

WIRE_FORMATS = (ChatCompletions(),)

WRITE_S = 2.0
"""Limit of a small read and a small write in `/readyz`."""

PREPARE_S = 60.0
"""How long a conducted request waits for the conductor, where the first request loads it."""


def create_app(parts: Parts, options: Options = DEFAULT, annex: Annex | None = None) -> ASGIApp:
    """The application, behind its host and origin checks. Champions and slow imports are loaded after the start-up.

    `annex`: where large requests are answered; without one they are answered here.
    """
    endpoint = Endpoint(parts, options, annex)
    app = FastAPI(title="fugu-flows", lifespan=endpoint.lifespan, openapi_url=None, redirect_slashes=False)
    for wire in WIRE_FORMATS:
        app.add_route(wire.path, endpoint.stack.serve(wire), methods=["POST"])
    app.add_route("/v1/models", endpoint.models, methods=READ)
    app.add_route("/v1/models/{name}", endpoint.model, methods=READ)
    app.add_route("/livez", endpoint.livez, methods=READ)
    app.add_route("/readyz", endpoint.readyz, methods=READ)
    app.add_route("/openapi.json", endpoint.openapi, methods=READ)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _fault)
    return Doors(endpoint.crowd.around(app), options.allowed)


class Endpoint:
    """The state that the HTTP handlers of one application share."""

    def __init__(self, parts: Parts, options: Options, annex: Annex | None) -> None:
        self._parts, self._options, self._annex = parts, options, annex
        self._champions = Champions(
            (FUGU, TRINITY),
            parts.pool,
            lambda model: registry.champion(parts.ledger, model),
            parts.load_router,
        )
        self._conductor = Conductor(parts, options, self._champions)
        self._observer = Observer(options.shown, named_server() if options.observe else None, self._mark_of)
        self._preparing: asyncio.Task[None] | None = None
        self._journal = Journal(parts.ledger)
        self._jobs = Jobs(self._journal, self._executor, self._observer.watch)
        keeping = Keeping(self._journal, options.keep_margin)
        own = parts, self._champions, options.turns, self._journal
        routed = partial(Routed, *own, keeping=keeping, max_seconds=options.limits.max_seconds)
        conducted = partial(Conducted, parts, options.limits, self._jobs)
        self.crowd = Crowd(options.max_requests)
        self.stack = Stack({FUGU: routed, TRINITY: routed, ULTRA: conducted}, options, annex, self.crowd)

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        self._parts.dispatcher.recover()
        following = asyncio.create_task(self._follow())
        yield
        for task in filter(None, (following, self._preparing)):
            task.cancel()
            await asyncio.wait([task])
        if self._annex is not None:
            await self._annex.close()
        await self._jobs.close()
        await self._conductor.close()
        await self._observer.close()
        await self._journal.close()
        await self._parts.dispatcher.close()

    def _mark_of(self, id: str) -> str | None:
        with suppress(NotFound):
            mark: str | None = get_request(self._parts.ledger, id).get("process")
            return mark
        return None

    async def _follow(self) -> None:
        """Load champions after the slow imports: until then a request would wait for them."""
        try:
            await asyncio.to_thread(self._parts.warm)
        except Exception as error:
            log.exception("the endpoint cannot get ready: %s", error)
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self._champions.watch(self._options.poll_s))
            if self._options.eager:
                group.create_task(self._prepare())

    async def _executor(self) -> RequestRuns:
        """Raises Problem 503 while there is none."""
        if not self._options.eager:
            self._preparing = self._preparing or asyncio.create_task(self._prepare())
            await asyncio.wait([self._preparing], timeout=PREPARE_S)
        return self._conductor.request_runs()

    async def _prepare(self) -> None:
        """Load what `fugu-ultra` needs once the other models can answer, so as not to delay them."""
        while not self._champions.complete:
            await asyncio.sleep(self._options.poll_s)
        await self._conductor.load()
        await self._observer.start()

    @property
    def _names(self) -> tuple[str, ...]:
        return (*self._champions.names, ULTRA)

    async def models(self, request: Request) -> Response:
        data = [self._model(name) for name in self._names]
        return _json({"object": "list", "data": data})

    async def model(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._names:
            return problem_response(unknown_model(name))
        return _json(self._model(name))

    def _model(self, name: str) -> dict[str, object]:
        # The champion of `fugu` ranks the workers of a conducted request.
        seat = self._champions.seat(FUGU if name == ULTRA else name)
        return model_body(name, int(seat.champion.since.timestamp()) if seat else 0)

    async def livez(self, request: Request) -> Response:
        return _json({"status": "ok"})

    async def openapi(self, request: Request) -> Response:
        return _json(await asyncio.to_thread(_document))

    async def readyz(self, request: Request) -> Response:
        """200 when a question would be answered without delay, else 503; the body says what is missing.

        The conductor is reported but not required: the other models answer without it.
        """
        open_ = await self._parts.dispatcher.open_workers()
        workers = [worker for worker in self._parts.pool.workers if worker.is_askable]
        checks = {
            "ledger": await self._writes(),
            "champions": self._champions.complete,
            "workers": any(worker.name not in open_ for worker in workers),
        }
        ready = all(checks.values())
        told = {"conductor": self._conductor.ready, "open": {name: _until(row) for name, row in open_.items()}}
        return _json({"ready": ready, **checks, **told}, 200 if ready else 503)

    async def _writes(self) -> bool:
        """Whether the registry can be read and a row be written: without that no call can be claimed."""
        with suppress(Exception):
            async with asyncio.timeout(WRITE_S):
                await asyncio.to_thread(registry.champion, self._parts.ledger, FUGU)
                await self._journal.put(self._parts.ledger.probe, patience_s=0.0)
            return True
        return False


def _until(row: OpenBreaker) -> str | None:
    return None if row.until is None else row.until.isoformat()


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message, code, path = error.detail, None, request.url.path[:SHOWN]
    if error.status_code == 404:
        served = ", ".join(f"{min(route.methods)} {route.path}" for route in request.app.routes)
        message, code = f"there is no {path} here, but {served}", "not_found"
    elif error.status_code == 405:
        message, code = f"{path} does not take {request.method[:SHOWN]}", "method_not_allowed"
    return problem_response(Problem(error.status_code, message, code=code, headers=dict(error.headers or {})))


def _document() -> dict[str, object]:
    from deployments.endpoint.wire.openapi import document

    return document()


async def _fault(request: Request, error: Exception) -> Response:
    return problem_response(problem_of(error))


def _json(body: dict[str, object], status: int = 200) -> Response:
    return Response(encode(body), status, media_type="application/json")
