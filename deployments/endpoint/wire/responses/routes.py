"""The Responses API over HTTP: what is kept can be read, streamed again, cancelled and deleted, by its owner alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from functools import wraps
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from deployments.endpoint.answer.owner import OWNER
from deployments.endpoint.answer.question import Question
from deployments.endpoint.answer.result import Answering
from deployments.endpoint.wire.body import SHOWN
from deployments.endpoint.wire.chat import Taken
from deployments.endpoint.wire.problems import Problem, problem_of, problem_response
from deployments.endpoint.wire.response import HEARTBEAT, encode
from deployments.endpoint.wire.responses.background import LOOK_S, Background, Queued, Run, left_behind
from deployments.endpoint.wire.responses.format import Responses
from deployments.endpoint.wire.responses.kept import KeptAnswer
from deployments.endpoint.wire.responses.question import Reader, ResponsesQuestion
from deployments.endpoint.wire.responses.replayed import listed, page_of, replayed
from deployments.endpoint.wire.streaming import EventStream
from models.errors import BadInput, NotFound, Pruned
from models.ledger.journal import Journal
from models.ledger.kept.responses import FINAL, Kept, chain, drop, get, settle

Handler = Callable[[Request], Awaitable[Response]]

ONE = "/v1/responses/{id}"

LONGEST_NUMBER = 8
"""Digits of an event's number."""


class KeptResponses:
    """All about responses in one application. `wire`: the format in which they are asked for."""

    def __init__(self, journal: Journal, taken: Taken) -> None:
        self._journal, self._ledger = journal, journal.ledger
        self.background = Background(journal)
        self.wire = Responses(Reader(journal.ledger, taken))

    def around(self, question: Question, answering: Answering) -> Answering:
        """What answers a question, so that its response is written and kept."""
        assert isinstance(question, ResponsesQuestion)
        if question.background:
            return Queued(question, answering, self.background)
        return KeptAnswer(question, answering, self._journal)

    def routes(self) -> list[Route]:
        """Those of responses that are kept."""
        return [
            Route(ONE, _told(self.retrieve), methods=["GET"]),
            Route(ONE, _told(self.delete), methods=["DELETE"]),
            Route(f"{ONE}/cancel", _told(self.cancel), methods=["POST"]),
            Route(f"{ONE}/input_items", _told(self.input_items), methods=["GET"]),
        ]

    async def close(self) -> None:
        await self.background.close()

    async def retrieve(self, request: Request) -> Response:
        kept, run = await self._found(request)
        stream, after = _streamed(request.query_params)
        if not stream:
            return _json(run.question.draft.body() if run else kept.body)
        events = self._later(kept, after) if run is None else _skipped(run, after)

        async def close() -> None:
            await events.aclose()

        return EventStream(events, close, {"X-Request-Id": kept.id})

    async def _later(self, kept: Kept, after: int) -> AsyncGenerator[bytes]:
        """The events of a response that this process does not answer, once it is final."""
        while kept.status not in FINAL:
            yield HEARTBEAT
            await asyncio.sleep(LOOK_S)
            kept = await self._read(kept.id, kept.owner)
        for event in replayed(kept.body, after):
            yield event

    async def delete(self, request: Request) -> Response:
        kept, run = await self._found(request)
        if run is not None:
            await run.cancel()
        await self._journal.put(drop(kept.id), 0.0)
        return _json({"id": kept.id, "object": "response", "deleted": True})

    async def cancel(self, request: Request) -> Response:
        kept, run = await self._found(request)
        if not kept.body.get("background"):
            raise BadInput("only a response with background=true can be cancelled; else close its connection", "id")
        if run is not None:
            await run.cancel()
            return _json(run.question.draft.body())
        body = {**kept.body, "status": "cancelled"}
        if await self._journal.put(settle(kept.id, "cancelled", body), 0.0):
            return _json(body)
        return _json((await self._read(kept.id, kept.owner)).body)

    async def input_items(self, request: Request) -> Response:
        """The items that a response was made from, with those of the responses before it."""
        kept, _ = await self._found(request)
        before = await asyncio.to_thread(chain, self._ledger, kept.id, kept.owner)
        items: list[dict[str, Any]] = []
        for one in before:
            items += [listed(one.id, index, item) for index, item in enumerate(one.input)]
            items += one.body["output"] if one is not before[-1] else ()
        return _json(page_of(items, request.query_params))

    async def _found(self, request: Request) -> tuple[Kept, Run | None]:
        """The response that the path names, and its run where it is under way here."""
        kept = await self._read(request.path_params["id"], OWNER.get())
        return kept, self.background.get(kept.id)

    async def _read(self, id: str, owner: str | None) -> Kept:
        """Raises Problem 404 and Pruned. One whose process has ended has failed."""
        try:
            kept = await asyncio.to_thread(get, self._ledger, id, owner)
            if not left_behind(kept):
                return kept
            error = {"code": "server_error", "message": "the endpoint was stopped before it was answered"}
            failed = {**kept.body, "status": "failed", "error": error}
            await self._journal.put(settle(id, "failed", failed), 0.0)
            return await asyncio.to_thread(get, self._ledger, id, owner)
        except Pruned:
            raise
        except NotFound:
            raise Problem(404, f"there is no response {id[:SHOWN]!r}", code="not_found") from None


def _streamed(asked: Mapping[str, str]) -> tuple[bool, int]:
    """Whether the query asks for a stream, and the number of the last event that its client has. Raises BadInput."""
    stream, after = asked.get("stream", "false").lower(), asked.get("starting_after")
    if stream not in ("true", "false"):
        raise BadInput("stream has to be true or false", "stream")
    if after is not None and not (after.isascii() and after.isdigit() and len(after) <= LONGEST_NUMBER):
        raise BadInput("starting_after has to be the number of an event", "starting_after")
    return stream == "true", -1 if after is None else int(after)


async def _skipped(run: Run, after: int) -> AsyncGenerator[bytes]:
    number = 0
    async with aclosing(run.events()) as events:
        async for event in events:
            if number > after:
                yield event
            number += 1


def _told(handler: Handler) -> Handler:
    """The handler, with errors in the shape of the API."""

    @wraps(handler)
    async def told(request: Request) -> Response:
        try:
            return await handler(request)
        except Exception as error:
            return problem_response(problem_of(error))

    return told


def _json(body: Mapping[str, Any]) -> Response:
    return Response(encode(body), media_type="application/json")
