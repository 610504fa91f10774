"""The stack of every answer: a request read, answered whole or as a stream, with trace, headers and log line."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import uuid4

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from deployments.endpoint.access.gate import caller_of, need_scope, note_tokens
from deployments.endpoint.annex import LIGHT, Annex, weight
from deployments.endpoint.answer.aliases import by_its_own_name
from deployments.endpoint.answer.format import Rendering, WireFormat
from deployments.endpoint.answer.question import LIMITS, Key, Question
from deployments.endpoint.answer.result import Answering, Delta, Route
from deployments.endpoint.connections import Crowd
from deployments.endpoint.parts import Options
from deployments.endpoint.watching.watch import Visit, Watch
from deployments.endpoint.wire.identity import digest_of, key_of
from deployments.endpoint.wire.problems import CLIENT_GONE, Problem, problem_of, problem_response, unknown_model
from deployments.endpoint.wire.streaming import Body, EventStream, Feed, Item, read_body, refuse_pages, unless_gone
from models.errors import FuguError, LimitReached

log = logging.getLogger(__name__)


Around = Callable[[Question, Answering], Answering]
"""What answers a question -> what also keeps the answer."""


class Stack:
    """Answers by the route of the model's name. With an `annex`, large requests are answered there."""

    def __init__(
        self,
        routes: Mapping[str, Route],
        options: Options,
        watch: Watch,
        annex: Annex | None = None,
        crowd: Crowd | None = None,
    ) -> None:
        self.routes, self._options, self._watch, self._annex = routes, options, watch, annex
        self._crowd = crowd or Crowd(options.max_requests)

    def serve(
        self, wire: WireFormat, around: Around | None = None, route: Route | None = None
    ) -> Callable[[Request], Awaitable[Response]]:
        """The HTTP handler of a wire format. `around`: of one that keeps its answers. `route`: instead of those of the
        models."""

        async def respond(request: Request) -> Response:
            return await self._respond(request, wire, around, route)

        return respond

    async def _respond(
        self, request: Request, wire: WireFormat, around: Around | None, route: Route | None
    ) -> Response:
        visit = self._watch.arrived(wire.path, request.headers)
        told = partial(note_tokens, request.scope)
        receipt = Receipt(wire, request.headers, visit, told)
        try:
            self._crowd.refuse()
            refuse_pages(request)
            caller = caller_of(request.scope)
            key = key_of(request.headers, caller.own(f"POST {wire.path}"), wire.id_prefix)
            body = await self._read(request)
            if isinstance(body, Body):
                assert self._annex is not None
                visit.left()
                return await self._annex.respond(request, body)
            question = await self._parse(receipt, key, request, body)
            question = by_its_own_name(question, self._options.aliases, self.routes)
            question = receipt.question = replace(question, caller=caller)
            visit.asked(question)
            if question.name not in self.routes:
                raise unknown_model(question.model)
            check_scope(question, receipt.trace)
            digest = partial(digest_of, body, question.workers)
            answering = receipt.answering = (route or self.routes[question.name])(question, digest)
            if around is not None:
                answering = receipt.answering = around(question, answering)
            visit.routed(answering.id)
            return await (self._stream if question.stream else self._whole)(request, answering, receipt)
        except ClientDisconnect:
            receipt.finish(CLIENT_GONE)
            return Response(status_code=CLIENT_GONE)
        except Exception as error:
            problem = receipt.problem(error)
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
        # What takes long is done in a thread, so that other requests are served meanwhile.
        return (
            await asyncio.to_thread(receipt.wire.question, *given)
            if receipt.wire.slow or weight(body) > LIGHT
            else receipt.wire.question(*given)
        )

    async def _whole(self, request: Request, answering: Answering, receipt: Receipt) -> Response:
        result = await unless_gone(request, answering.answer(None))
        receipt.visit.result = result
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

        return EventStream(self._events(first, feed, receipt), close, receipt.headers("first"))

    async def _events(self, item: Item | None, feed: Feed, receipt: Receipt) -> AsyncIterator[bytes]:
        while item is None:
            yield receipt.wire.heartbeat
            item = await feed.get(self._options.heartbeat_s)
        rendering = receipt.rendering()
        ready = [] if isinstance(item, Exception) else [rendering.opening()]
        while item is None or isinstance(item, Delta):
            if item is not None:
                receipt.visit.begun()
            ready.append(receipt.wire.heartbeat if item is None else rendering.delta(item))
            if not feed.waits:  # what came together is sent together
                yield b"".join(ready)
                ready = []
            item = await feed.get(self._options.heartbeat_s)
        if ready:
            yield b"".join(ready)
        if isinstance(item, Exception):
            # The status line has been sent: the stream itself reports the failure.
            problem = receipt.problem(item)
            receipt.status, receipt.error = problem.status, item
            yield receipt.wire.failure(problem, rendering)
            return
        receipt.status, receipt.visit.result = 200, item
        yield b"".join(rendering.closing(item, receipt.disclosed()))


class Receipt:
    """One request from its arrival to its log line. `visit`: counts it. `tell_tokens`: is called with the tokens that
    the answer has used. `trace`: the caller wants to see who answered; `priced`: what it cost, and how long it took.

    `status` and `error`: what a stream ended with. No prompt and no reply is ever in here.
    """

    def __init__(
        self, wire: WireFormat, headers: Mapping[str, str], visit: Visit, tell_tokens: Callable[[int], None]
    ) -> None:
        self.wire, self.visit, self._tell_tokens = wire, visit, tell_tokens
        self.trace, self.priced = headers.get("X-Fugu-Trace") == "1", headers.get("X-Fugu-Cost") == "1"
        self.question: Question | None = None
        self.answering: Answering | None = None
        self.status: int | None = None
        self.error: Exception | None = None
        self._id, self._created, self._started = f"{wire.id_prefix}{uuid4().hex}", int(time.time()), time.monotonic()

    @property
    def id(self) -> str:
        return self.answering.id if self.answering else self._id

    @property
    def _seconds(self) -> float:
        """Since its arrival."""
        return time.monotonic() - self._started

    def rendering(self) -> Rendering:
        assert self.question is not None and self.answering is not None
        return self.wire.rendering(self.question, self.id, self.answering.created)

    def problem(self, error: Exception) -> Problem:
        """How the error is answered in the form of this request; a limit that the key has set is called the key's."""
        problem, question = problem_of(error, trace=self.trace), self.question
        if isinstance(error, LimitReached) and question is not None and error.limit in LIMITS:
            own, keys = getattr(question.fugu, error.limit), getattr(question.caller.policy, error.limit)
            if keys is not None and (own is None or keys < own):
                problem.message += f"; it is the key {question.caller.name!r} that sets it"
        status = self.wire.statuses.get(problem.status, problem.status)
        return replace(problem, status=status, request_id=self.id)

    def disclosed(self) -> Mapping[str, Any] | None:
        """The object `fugu`, where the caller asked for it: the trace, or only its own cost and time."""
        if not (self.trace or self.priced) or self.answering is None:
            return None
        report = self.answering.report()
        if not self.trace:
            return {"cost_usd": report.cost_usd, "seconds": round(self._seconds, 3)}
        notes = [*(self.question.notes if self.question else ()), *report.notes]
        return {**report.trace, **({"notes": notes} if notes else {})}

    def headers(self, timed: str = "total") -> dict[str, str]:
        """The request's id; on demand what is known so far of who answers, and of what it cost (a stream begins before
        its end). `timed`: what has taken the time until now, in the header of the W3C's Server Timing."""
        headers = {"X-Request-Id": self.id, "Request-Id": self.id}  # as OpenAI and as Anthropic name it
        if not (self.trace or self.priced) or self.answering is None:
            return headers
        report = self.answering.report()
        known: dict[str, Any] = {
            "X-Fugu-Cost": None if report.cost_usd is None else f"{report.cost_usd:.9f}",
            "Server-Timing": f"{timed};dur={1000 * self._seconds:.1f}",
        }
        if self.trace:
            known |= {
                "X-Fugu-Worker": report.worker,
                "X-Fugu-Turns": report.turns,
                "X-Fugu-Roles": ",".join(report.roles) or None,
                "X-Fugu-Margin": None if report.margin is None else f"{report.margin:.4f}",
            }
        return headers | {name: str(value) for name, value in known.items() if value is not None}

    def finish(self, status: int, error: Exception | None = None) -> None:
        """Log the request, and hand its row to the route, which writes it in the background."""
        line: dict[str, Any] = {
            "id": self.id,
            "created": self.answering.created if self.answering else self._created,
            "status": status,
            "seconds": round(self._seconds, 4),
            "error": type(error).__name__ if error else None,
            **_place(error),
            **({"trace_id": trace_id} if (trace_id := self.visit.trace_id) else {}),
        }
        report = None if self.answering is None else self.answering.report()
        self.visit.ended(status, error, report)
        if self.answering is not None and self.question is not None and report is not None:
            question = self.question
            line |= {"model": question.model, "stream": question.stream, "owner": question.caller.key, **report.log}
            self._tell_tokens(sum(line.get(name) or 0 for name in ("prompt_tokens", "completion_tokens")))
            # The caller's own user is in the ledger, for as long as texts are kept, and in no log.
            self.answering.keep({**line, "user": question.user})
        log.info("request", extra={"fields": line})


def check_scope(question: Question, trace: bool) -> None:
    """Raises Problem 403 for a key that may not see who answers."""
    if trace or question.show_work:
        need_scope(question.caller, "trace", "X-Fugu-Trace" if trace else "fugu.show_work")


def _place(error: Exception | None) -> dict[str, str]:
    """Where a fault of ours was raised. Its message may quote a prompt; this does not."""
    if error is None or isinstance(error, FuguError | Problem):
        return {}
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return {"where": f"{frame.filename}:{frame.lineno}"}
