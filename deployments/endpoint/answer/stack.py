"""The stack of every answer: a request read, answered whole or as a stream, with trace, headers and log line."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from typing import Any
from uuid import uuid4

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from deployments.endpoint.annex import LIGHT, Annex, weight
from deployments.endpoint.answer.format import Rendering, WireFormat
from deployments.endpoint.answer.question import Key, Question
from deployments.endpoint.answer.result import Answering, Delta, Route
from deployments.endpoint.connections import Crowd
from deployments.endpoint.parts import Options
from deployments.endpoint.wire.identity import digest_of, key_of
from deployments.endpoint.wire.problems import CLIENT_GONE, Problem, problem_of, problem_response, unknown_model
from deployments.endpoint.wire.response import HEARTBEAT
from deployments.endpoint.wire.streaming import Body, EventStream, Feed, Item, read_body, unless_gone
from models.errors import FuguError

log = logging.getLogger(__name__)


class Stack:
    """Answers by the route of the model's name. With an `annex`, large requests are answered there."""

    def __init__(
        self, routes: Mapping[str, Route], options: Options, annex: Annex | None = None, crowd: Crowd | None = None
    ) -> None:
        self._routes, self._options, self._annex = routes, options, annex
        self._crowd = crowd or Crowd(options.max_requests)

    def serve(self, wire: WireFormat) -> Callable[[Request], Awaitable[Response]]:
        """The HTTP handler of a wire format."""

        async def respond(request: Request) -> Response:
            return await self._respond(request, wire)

        return respond

    async def _respond(self, request: Request, wire: WireFormat) -> Response:
        receipt = Receipt(wire, request.headers.get("X-Fugu-Trace") == "1")
        try:
            self._crowd.refuse()
            _refuse_pages(request)
            key = key_of(request.headers, f"POST {wire.path}", wire.id_prefix)  # checked also for models that ignore it
            body = await self._read(request)
            if isinstance(body, Body):
                assert self._annex is not None
                return await self._annex.respond(request, body)
            question = receipt.question = await self._parse(receipt, key, request, body)
            if question.model not in self._routes:
                raise unknown_model(question.model)
            digest = partial(digest_of, body, question.workers)
            answering = receipt.answering = self._routes[question.model](question, digest)
            return await (self._stream if question.stream else self._whole)(request, answering, receipt)
        except ClientDisconnect:
            receipt.finish(CLIENT_GONE)
            return Response(status_code=CLIENT_GONE)
        except Exception as error:
            problem = problem_of(error, trace=receipt.trace)
            receipt.finish(problem.status, error)
            return problem_response(problem, receipt.headers(), wire.error(problem))

    async def _read(self, request: Request) -> bytes | Body:
        """The body; of one that is for the annex only as much as it takes to know that."""
        if self._annex is None:
            return await read_body(request, self._options.max_body_bytes, self._options.body_s)
        body = Body(request)
        begun = await body.begin(LIGHT, self._options.body_s)
        return body if begun is None or weight(begun) > LIGHT else begun

    async def _parse(self, receipt: Receipt, key: Key | None, request: Request, body: bytes) -> Question:
        given = receipt.id, key, request.headers, body, self._options.bounds
        # A large body is parsed in a thread, so that other requests are served meanwhile.
        return (
            await asyncio.to_thread(receipt.wire.question, *given)
            if weight(body) > LIGHT
            else receipt.wire.question(*given)
        )

    async def _whole(self, request: Request, answering: Answering, receipt: Receipt) -> Response:
        result = await unless_gone(request, answering.answer(None))
        body = receipt.rendering().whole(result, receipt.disclosed())
        receipt.finish(200)
        return Response(body, 200, receipt.headers(), "application/json")

    async def _stream(self, request: Request, answering: Answering, receipt: Receipt) -> Response:
        feed, options = Feed(answering.answer), self._options
        patience_s = min(options.first_s, options.heartbeat_s) if answering.slow else options.heartbeat_s
        try:
            # What fails before the first byte keeps its own HTTP status.
            first = await unless_gone(request, feed.get(patience_s))
            if isinstance(first, Exception):
                raise first
        except BaseException:
            await feed.close()
            raise

        async def close() -> None:
            await feed.close()
            receipt.finish(receipt.status or CLIENT_GONE, receipt.error)

        return EventStream(self._events(first, feed, receipt), close, receipt.headers())

    async def _events(self, item: Item | None, feed: Feed, receipt: Receipt) -> AsyncIterator[bytes]:
        while item is None:
            yield HEARTBEAT
            item = await feed.get(self._options.heartbeat_s)
        rendering = receipt.rendering()
        if not isinstance(item, Exception):
            yield rendering.opening()
        while item is None or isinstance(item, Delta):
            yield HEARTBEAT if item is None else rendering.delta(item)
            item = await feed.get(self._options.heartbeat_s)
        if isinstance(item, Exception):
            # The status line has been sent: the stream itself reports the failure.
            problem = problem_of(item, trace=receipt.trace)
            receipt.status, receipt.error = problem.status, item
            yield receipt.wire.failure(problem)
            return
        receipt.status = 200
        for event in rendering.closing(item, receipt.disclosed()):
            yield event


class Receipt:
    """One request from its arrival to its log line. `trace`: the caller wants to see who answered.

    `status` and `error`: what a stream ended with. No prompt and no reply is ever in here.
    """

    def __init__(self, wire: WireFormat, trace: bool) -> None:
        self.wire, self.trace = wire, trace
        self.question: Question | None = None
        self.answering: Answering | None = None
        self.status: int | None = None
        self.error: Exception | None = None
        self._id, self._created, self._started = f"{wire.id_prefix}{uuid4().hex}", int(time.time()), time.monotonic()

    @property
    def id(self) -> str:
        return self.answering.id if self.answering else self._id

    def rendering(self) -> Rendering:
        assert self.question is not None and self.answering is not None
        return self.wire.rendering(self.question, self.id, self.answering.created)

    def disclosed(self) -> Mapping[str, Any] | None:
        """The object `fugu`, where the caller asked for it."""
        if not self.trace or self.answering is None:
            return None
        notes = self.question.notes if self.question else ()
        return {**self.answering.report().trace, **({"notes": list(notes)} if notes else {})}

    def headers(self) -> dict[str, str]:
        """The request's id; on demand what is known so far of who answers (a stream begins before its end)."""
        headers = {"X-Request-Id": self.id}
        if not self.trace or self.answering is None:
            return headers
        report = self.answering.report()
        known = {
            "X-Fugu-Worker": report.worker,
            "X-Fugu-Turns": report.turns,
            "X-Fugu-Roles": ",".join(report.roles) or None,
            "X-Fugu-Margin": None if report.margin is None else f"{report.margin:.4f}",
            "X-Fugu-Cost": None if report.cost_usd is None else f"{report.cost_usd:.9f}",
        }
        return headers | {name: str(value) for name, value in known.items() if value is not None}

    def finish(self, status: int, error: Exception | None = None) -> None:
        """Log the request, and hand its row to the route, which writes it in the background."""
        line: dict[str, Any] = {
            "id": self.id,
            "created": self.answering.created if self.answering else self._created,
            "status": status,
            "seconds": round(time.monotonic() - self._started, 4),
            "error": type(error).__name__ if error else None,
            **_place(error),
        }
        if self.answering is not None and self.question is not None:
            line |= {"model": self.question.model, "stream": self.question.stream, **self.answering.report().log}
            # The caller's own user is in the ledger, for as long as texts are kept, and in no log.
            self.answering.keep({**line, "user": self.question.user})
        log.info("request", extra={"fields": line})


def _refuse_pages(request: Request) -> None:
    """Raises Problem 415. A web page may post plain text to any address without permission, but not JSON."""
    if request.headers.get("Content-Type", "").split(";")[0].strip().lower() != "application/json":
        raise Problem(415, "the Content-Type has to be application/json", code="unsupported_media_type")


def _place(error: Exception | None) -> dict[str, str]:
    """Where a fault of ours was raised. Its message may quote a prompt; this does not."""
    if error is None or isinstance(error, FuguError | Problem):
        return {}
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return {"where": f"{frame.filename}:{frame.lineno}"}
