"""The chat-completions route: one request read, answered whole or as a stream, logged and recorded."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator
from uuid import uuid4

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from deployments.endpoint.annex import LIGHT, Annex, weight
from deployments.endpoint.answer.abilities import candidates
from deployments.endpoint.answer.champions import Seats
from deployments.endpoint.answer.exchange import Answer, Exchange
from deployments.endpoint.answer.receipt import Receipt
from deployments.endpoint.answer.ultra import Ultra
from deployments.endpoint.answer.works import CLIENT_GONE
from deployments.endpoint.parts import Options, Parts
from deployments.endpoint.wire.identity import key_of
from deployments.endpoint.wire.problems import Problem, not_ready, problem_of, problem_response, unknown_model
from deployments.endpoint.wire.request import ChatRequest
from deployments.endpoint.wire.response import DONE, HEARTBEAT, TRINITY, ULTRA, Envelope, encode, event, usage_body
from deployments.endpoint.wire.streaming import Body, EventStream, Feed, Item, read_body, unless_gone
from models.errors import BadInput
from models.ledger.journal import Journal
from models.ledger.requests import record

log = logging.getLogger(__name__)


class Chat:
    """The route and the writing that follows its answers. With an `annex`, large requests are answered there."""

    def __init__(
        self,
        parts: Parts,
        options: Options,
        champions: Seats,
        ultra: Ultra | None,
        journal: Journal | None = None,
        annex: Annex | None = None,
    ) -> None:
        """`journal`: gets a row of every request; `None`: it gets none."""
        self._parts, self._options, self._champions, self._ultra = parts, options, champions, ultra
        self._journal, self._annex = journal, annex

    async def respond(self, request: Request) -> Response:
        receipt = Receipt(f"chatcmpl-{uuid4().hex}", request.headers.get("X-Fugu-Trace") == "1")
        try:
            body = await self._read(request)
            if isinstance(body, Body):
                assert self._annex is not None
                return await self._annex.respond(request, body)
            # A thread of its own for what is large: it has to let others in between.
            within = self._options.bounds
            chat = (
                await asyncio.to_thread(ChatRequest.parse, body, within)
                if weight(body) > LIGHT
                else ChatRequest.parse(body, within)
            )
            if chat.model == ULTRA and self._ultra is not None:
                return await self._ultra.respond(request, chat, body, _wanted(request, chat))
            exchange = receipt.exchange = self._exchange(request, chat, receipt.id)
            return await (self._stream if chat.stream else self._whole)(request, exchange, receipt)
        except ClientDisconnect:
            self._finish(receipt, CLIENT_GONE)
            return Response(status_code=CLIENT_GONE)
        except Exception as error:
            problem = problem_of(error, trace=receipt.trace)
            self._finish(receipt, problem.status, error)
            return problem_response(problem, receipt.headers())

    async def _read(self, request: Request) -> bytes | Body:
        """The body; one that is the annex's to answer is read no further than it takes to know that."""
        if request.headers.get("Content-Type", "").split(";")[0].strip().lower() != "application/json":
            # A web page may post plain text to any address unasked; it may not post JSON.
            raise Problem(415, "the Content-Type has to be application/json", code="unsupported_media_type")
        key_of(request)  # of a request that has no use for it, too: what is wrong is said
        if self._annex is None:
            return await read_body(request, self._options.max_body_bytes, self._options.body_s)
        body = Body(request)
        begun = await body.begin(LIGHT, self._options.body_s)
        return body if begun is None or weight(begun) > LIGHT else begun

    def _exchange(self, request: Request, chat: ChatRequest, id: str) -> Exchange:
        if chat.model not in self._champions.names:
            raise unknown_model(chat.model)
        chat.refuse_conducting()
        if chat.model == TRINITY:
            chat.refuse_tools()
        allowed = candidates(self._parts.pool, chat, _wanted(request, chat))
        seat = self._champions.seat(chat.model)
        if seat is None:
            raise not_ready(f"the model {chat.model!r} is not loaded yet")
        return Exchange(id, chat, seat, self._parts, allowed, self._options.turns)

    async def _whole(self, request: Request, exchange: Exchange, receipt: Receipt) -> Response:
        answer = await unless_gone(request, exchange.answer())
        envelope = Envelope(receipt.id, receipt.created, exchange.chat.model)
        body = envelope.completion(answer.text, answer.tool_calls, answer.finish_reason, exchange.usage)
        self._finish(receipt, 200)
        return Response(encode(receipt.disclose(body)), 200, receipt.headers(), "application/json")

    async def _stream(self, request: Request, exchange: Exchange, receipt: Receipt) -> Response:
        feed = Feed(exchange.answer)
        try:
            # What fails before the first byte keeps its own HTTP status.
            first = await unless_gone(request, feed.get(self._options.heartbeat_s))
            if isinstance(first, Exception):
                raise first
        except BaseException:
            await feed.close()
            raise

        async def close() -> None:
            await feed.close()
            self._finish(receipt, receipt.status or CLIENT_GONE, receipt.error)

        return EventStream(self._events(first, feed, exchange, receipt), close, receipt.headers())

    async def _events(
        self, item: Item | None, feed: Feed, exchange: Exchange, receipt: Receipt
    ) -> AsyncIterator[bytes]:
        envelope = Envelope(receipt.id, receipt.created, exchange.chat.model)
        while item is None:
            yield HEARTBEAT
            item = await feed.get(self._options.heartbeat_s)
        if not isinstance(item, Exception):
            yield event(envelope.chunk({"role": "assistant", "content": ""}))
        while item is None or isinstance(item, dict):
            yield HEARTBEAT if item is None else event(envelope.chunk(item))
            item = await feed.get(self._options.heartbeat_s)
        if isinstance(item, Exception):
            # The status line has gone out: the stream itself has to say it.
            problem = problem_of(item, trace=receipt.trace)
            receipt.status, receipt.error = problem.status, item
            yield event(problem.body())
            return
        receipt.status = 200
        for chunk in _closing(item, envelope, exchange, receipt):
            yield chunk

    def _finish(self, receipt: Receipt, status: int, error: Exception | None = None) -> None:
        """Log the request now, write its row in the background: no answer waits for the disk."""
        row = receipt.row(status, error)
        # Who the caller's own user is stands in the ledger, for as long as texts are kept, and in no log.
        log.info("request", extra={"fields": {name: value for name, value in row.items() if name != "user"}})
        if receipt.exchange is not None and self._journal is not None:
            self._journal.put(record(self._parts.ledger, row), math.inf)


def _closing(answer: Answer, envelope: Envelope, exchange: Exchange, receipt: Receipt) -> list[bytes]:
    chunks = [envelope.chunk({}, answer.finish_reason)]
    if exchange.chat.stream_options.include_usage:
        chunks.append(envelope.usage_chunk(usage_body(exchange.usage)))
    chunks[-1] = receipt.disclose(chunks[-1])
    return [*map(event, chunks), DONE]


def _wanted(request: Request, chat: ChatRequest) -> list[str] | None:
    """The caller's own list of workers: of the field and the header, where both are given, both have to allow."""
    listed, header = chat.fugu.allowed_workers, request.headers.get("X-Fugu-Workers")
    if header is None:
        return listed
    named = [name.strip() for name in header.split(",") if name.strip()]
    if not named:
        raise BadInput("X-Fugu-Workers names no worker", "X-Fugu-Workers")
    return named if listed is None else [name for name in listed if name in named]
