"""The OpenAI-compatible endpoint: `create_app(parts)` makes one; there is no global state.

`fugu` asks one worker and streams its tokens; `trinity` runs the router's loop and answers when a reply is accepted;
`fugu-ultra` runs a workflow and answers when its last step is settled.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from deployments.commands.status import served_by
from deployments.doors import Doors
from deployments.endpoint.access.estimate import Estimates
from deployments.endpoint.access.gate import Gate
from deployments.endpoint.access.rates import Rates
from deployments.endpoint.access.ring import Keyring
from deployments.endpoint.annex import Annex
from deployments.endpoint.answer.catalogue import Catalogue
from deployments.endpoint.answer.champions import Champions
from deployments.endpoint.answer.conducted import Conducted
from deployments.endpoint.answer.conductor import Conductor
from deployments.endpoint.answer.jobs import Jobs
from deployments.endpoint.answer.keeping import Keeping
from deployments.endpoint.answer.once import Runs, once_per_key
from deployments.endpoint.answer.routed import Routed
from deployments.endpoint.answer.shadow import Shadow
from deployments.endpoint.answer.stack import Stack
from deployments.endpoint.connections import Crowd
from deployments.endpoint.feedback import Feedbacks
from deployments.endpoint.observer import Observer, named_server
from deployments.endpoint.pages.sight import Sight
from deployments.endpoint.pages.site import Site, refused
from deployments.endpoint.parts import DEFAULT, Options, Parts
from deployments.endpoint.watching.metrics import CONTENT_TYPE, Now
from deployments.endpoint.watching.traces import open_traces
from deployments.endpoint.watching.watch import Watch
from deployments.endpoint.wire.anthropic.counting import Counting, CountTokens
from deployments.endpoint.wire.anthropic.errors import refusal
from deployments.endpoint.wire.body import SHOWN
from deployments.endpoint.wire.chat import taken_by
from deployments.endpoint.wire.formats import wire_formats
from deployments.endpoint.wire.problems import Problem, problem_of
from deployments.endpoint.wire.response import FUGU, TRINITY, ULTRA, encode
from deployments.endpoint.wire.responses.routes import KeptResponses
from models.conductor.run.request_run import RequestRuns
from models.errors import NotFound
from models.ledger import registry
from models.ledger.journal import Journal
from models.ledger.providers.breakers import OpenBreaker
from models.ledger.requests import Row, get_request

log = logging.getLogger(__name__)

READ = ["GET", "HEAD"]

WRITE_S = 2.0
"""Limit of a small read and a small write in `/readyz`."""

PREPARE_S = 60.0
"""How long a conducted request waits for the conductor, where the first request loads it."""


def create_app(parts: Parts, options: Options = DEFAULT, annex: Annex | None = None) -> ASGIApp:
    """The application, behind its checks of host, origin and key. Champions and slow imports come after its start.

    `annex`: where large requests are answered; without one they are answered here.
    """
    endpoint = Endpoint(parts, options, annex)
    stack, kept, count = endpoint.stack, endpoint.responses, CountTokens()
    asked = [(wire.path, stack.serve(wire)) for wire in endpoint.wires]
    asked += [(kept.wire.path, stack.serve(kept.wire, kept.around)), (count.path, stack.serve(count, route=Counting))]
    asked += [("/v1/estimate", endpoint.estimates.respond), ("/v1/feedback", endpoint.feedbacks.respond)]
    read = {
        "/": endpoint.site.front,
        "/requests/{id:path}": endpoint.site.request,
        "/v1/models": endpoint.catalogue.models,
        "/v1/models/{name:model}": endpoint.catalogue.model,
        "/livez": endpoint.livez,
        "/readyz": endpoint.readyz,
        "/metrics": endpoint.metrics,
        "/openapi.json": endpoint.openapi,
    }
    app = Starlette(
        routes=[
            *(Route(path, handler, methods=["POST"]) for path, handler in asked),
            *kept.routes(),
            *(Route(path, handler, methods=READ) for path, handler in read.items()),
        ],
        lifespan=endpoint.lifespan,
        exception_handlers={HTTPException: _http_error, Problem: _fault, Exception: _fault},
    )
    app.router.redirect_slashes = False
    return Doors(endpoint.crowd.around(Gate(app, endpoint.ring, endpoint.rates)), options.allowed)


class Endpoint:
    """The state that the HTTP handlers of one application share."""

    def __init__(self, parts: Parts, options: Options, annex: Annex | None) -> None:
        self._parts, self._options, self._annex = parts, options, annex
        taken = taken_by(parts.pool.hosted_tools, options.aliases)
        self.wires = wire_formats(taken)
        self._champions = Champions(
            (FUGU, TRINITY),
            parts.pool,
            lambda model: registry.champion(parts.ledger, model),
            parts.load_router,
            partial(registry.promoted, parts.ledger),
            parts.knob_of,
        )
        self._conductor = Conductor(parts, options, self._champions)
        self._observer = Observer(options.shown, named_server() if options.observe else None, self._row_of)
        self._preparing: asyncio.Task[None] | None = None
        self._journal = Journal(parts.ledger)
        self.ring = Keyring(self._journal, options.needs_key, options.secret)
        self.rates = Rates(self._journal, counts=options.counts)
        self._jobs = Jobs(self._journal, self._executor, self._observer.watch, lambda: self._conductor.pin)
        keeping = Keeping(self._journal, options.keep_margin)
        own = parts, self._champions, options.turns
        challenger = partial(registry.champion, parts.ledger, registry.SHADOW)
        self._shadow = Shadow(self._journal, challenger, parts.load_router, options.poll_s)
        more: dict[str, Any] = {"keeping": keeping, "max_seconds": options.limits.max_seconds, "shadow": self._shadow}
        self._runs = Runs(self._journal, partial(Routed, *own, None, **more))
        routed = once_per_key(partial(Routed, *own, self._journal, **more), self._runs)
        conducted = partial(Conducted, parts, options.limits, self._jobs, self._conductor)
        self.responses = KeptResponses(self._journal, taken)
        self.feedbacks = Feedbacks(self._journal, options)
        self.catalogue = Catalogue(self._champions, self._conductor, options.aliases)
        self.site = Site(parts.ledger, parts.pool, options.sees, self._state)
        self._watch = Watch(parts.pool, (*self._champions.names, ULTRA), open_traces())
        self.crowd = Crowd(options.max_requests)
        self.stack = Stack({FUGU: routed, TRINITY: routed, ULTRA: conducted}, options, self._watch, annex, self.crowd)
        asked = keeping, options, self.wires[0], self.stack.routes
        self.estimates = Estimates(parts, self._champions, self._conductor, *asked)

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        self._parts.dispatcher.watched(self._watch.sending)
        self._parts.dispatcher.recover()
        following = asyncio.create_task(self._follow())
        yield
        for task in filter(None, (following, self._preparing)):
            task.cancel()
            await asyncio.wait([task])
        if self._annex is not None:
            await self._annex.close()
        parts = self.responses, self._jobs, self._runs, self._conductor, self._observer, self.ring, self.rates
        for part in (*parts, self._journal, self._parts.dispatcher, self._watch):
            await part.close()

    def _row_of(self, id: str) -> Row | None:
        with suppress(NotFound):
            return get_request(self._parts.ledger, id)
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
            group.create_task(self._shadow.run())
            group.create_task(self._prepare() if self._options.eager else self._complete())

    async def _complete(self) -> None:
        """Wait until the other models than `fugu-ultra` can answer."""
        while not self._champions.complete:
            await asyncio.sleep(self._options.poll_s)
        self._freeze()

    def _freeze(self) -> None:
        """Leave what has been loaded, mostly libraries, out of garbage collections: each stops all requests."""
        if self._options.freezes:
            gc.collect()
            gc.freeze()

    async def _executor(self) -> RequestRuns:
        """Raises Problem 503 while there is none."""
        if not self._options.eager:
            self._preparing = self._preparing or asyncio.create_task(self._prepare())
            await asyncio.wait([self._preparing], timeout=PREPARE_S)
        return self._conductor.request_runs()

    async def _prepare(self) -> None:
        """Load what `fugu-ultra` needs once the other models can answer, so as not to delay them."""
        await self._complete()
        await self._conductor.load()
        await self._observer.start()
        self._freeze()  # Prefect's modules too

    async def livez(self, request: Request) -> Response:
        return _json({"status": "ok"})

    async def openapi(self, request: Request) -> Response:
        return _json(await asyncio.to_thread(_document))

    async def metrics(self, request: Request) -> Response:
        """Figures for Prometheus."""
        if await self._options.sees(request) < Sight.FIGURES:
            return refused()
        open_ = await self._parts.dispatcher.open_workers()
        queues = {
            "ledger": self._journal.waiting + self._parts.dispatcher.waiting,
            "prefect": self._observer.waiting,
            "workflows": self._jobs.running,
        }
        now = Now({worker.name: worker.name in open_ for worker in self._parts.pool.workers}, queues)
        annex_lives = self._annex is not None and self._annex.lives
        page = await asyncio.to_thread(self._watch.metrics.page, now, annex_lives)
        return Response(page, media_type=CONTENT_TYPE)

    async def readyz(self, request: Request) -> Response:
        """200 when a question would be answered without delay, else 503; the body says what is missing.

        The conductor is reported but not required: the other models answer without it.
        """
        open_ = await self._parts.dispatcher.open_workers()
        checks = {"ledger": await self._writes(), **self._checks(open_)}
        ready = all(checks.values())
        background = self.responses.background.running
        told = {
            "conductor": self._conductor.ready,
            "background": background,
            "open": {name: _until(row) for name, row in open_.items()},
        }
        return _json({"ready": ready, **checks, **told}, 200 if ready else 503)

    def _checks(self, open_: Mapping[str, OpenBreaker]) -> dict[str, bool]:
        workers = [worker for worker in self._parts.pool.workers if worker.is_askable]
        asked = any(worker.name not in open_ for worker in workers)
        return {"champions": self._champions.complete, "workers": asked}

    async def _state(self) -> dict[str, object]:
        """What the first page shows of this process."""
        open_ = await self._parts.dispatcher.open_workers()
        lacking = [name for name, is_so in self._checks(open_).items() if not is_so]
        seats = [(name, self._champions.seat(name)) for name in self._champions.names]
        serving = [(name, "nothing yet" if seat is None else served_by(seat.champion)) for name, seat in seats]
        serving.append((ULTRA, "ready" if self._conductor.ready else "its conductor is not loaded"))
        return {"ready": not lacking, "lacking": ", ".join(lacking), "serving": serving}

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
        served = [f"{min(route.methods)} {route.path_format}" for route in request.app.routes]
        bare, missing = path.rstrip("/"), ""
        for begun, why in (("", ""), ("/v1", " (is /v1 missing in the base URL?)")):
            missing += "".join(f": did you mean {line}?{why}" for line in served if line.endswith(f" {begun}{bare}"))
        message, code = f"there is no {path} here{missing}; there is {', '.join(served)}", "not_found"
    elif error.status_code == 405:
        message, code = f"{path} does not take {request.method[:SHOWN]}", "method_not_allowed"
    return refusal(request.scope, Problem(error.status_code, message, code=code, headers=dict(error.headers or {})))


def _document() -> dict[str, object]:
    from deployments.endpoint.wire.openapi import document

    return document()


async def _fault(request: Request, error: Exception) -> Response:
    return refusal(request.scope, problem_of(error))


def _json(body: dict[str, object], status: int = 200) -> Response:
    return Response(encode(body), status, media_type="application/json")
