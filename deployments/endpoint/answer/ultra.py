"""`fugu-ultra`: a conducted request, answered whole or as a stream when its last step is settled."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any
from uuid import uuid4

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from deployments.endpoint.answer.abilities import candidates
from deployments.endpoint.answer.receipt import place
from deployments.endpoint.answer.works import CLIENT_GONE, Wanted, Work, Works
from deployments.endpoint.parts import Options, Parts
from deployments.endpoint.wire.identity import digest_of, id_of, key_of
from deployments.endpoint.wire.problems import problem_of, problem_response
from deployments.endpoint.wire.request import ChatRequest
from deployments.endpoint.wire.response import DONE, HEARTBEAT, Envelope, encode, event, pieces
from deployments.endpoint.wire.streaming import EventStream, unless_gone
from deployments.endpoint.wire.words import traced
from models.conductor.run.request import ConductRequest
from models.conductor.run.toolcalls import asked_by, continue_with, conversation_of, is_ours
from models.errors import BadInput
from models.ledger.requests import Row

log = logging.getLogger(__name__)

TOLD = ("worker", "calls", "cost_usd", "prompt_tokens", "completion_tokens", "continues")
"""What the log's line of a request has of its row."""


class Ultra:
    """The answers of one endpoint's `works`."""

    def __init__(self, parts: Parts, options: Options, works: Works) -> None:
        self._parts, self._options, self._works = parts, options, works

    async def respond(
        self, request: Request, chat: ChatRequest, body: bytes, workers: Sequence[str] | None
    ) -> Response:
        """`workers`: the caller's own list of who may be asked."""
        delivery = Delivery(chat, request.headers.get("X-Fugu-Trace") == "1")
        try:
            key = key_of(request)
            if key is not None:
                delivery.id = id_of(key)
            digest = digest_of(body, request.headers.get("X-Fugu-Workers"))
            make = self._maker(delivery.id, chat, workers)
            work = await self._works.open(Wanted(delivery.id, key, digest, chat, make))
            return await (self._stream if chat.stream else self._whole)(request, work, delivery)
        except ClientDisconnect:
            delivery.log(CLIENT_GONE)
            return Response(status_code=CLIENT_GONE)
        except Exception as error:
            problem = problem_of(error, trace=delivery.trace)
            delivery.log(problem.status, error)
            return problem_response(problem, delivery.headers())

    def _maker(self, id: str, chat: ChatRequest, workers: Sequence[str] | None) -> Callable[[], ConductRequest]:
        """What makes the request to conduct, in a thread. Raises BadInput for what can be told without the ledger."""
        results, ledger, wish = chat.tool_results(), self._parts.ledger, chat.fugu
        limits = wish.limits(self._options.limits)
        if results:
            # The workflow that asked for them goes on; its first request's limits go on counting.
            def go_on() -> ConductRequest:
                _refuse_changes(asked_by(ledger, list(results)), chat, workers)
                return continue_with(ledger, id, results, chat.sampling())

            return go_on
        answered = [message["tool_call_id"] for message in chat.messages if message["role"] == "tool"]
        earlier = [name for name in answered if is_ours(name)]
        own = {
            "id": id,
            "messages": tuple(chat.messages),
            "allowed": candidates(self._parts.pool, chat, workers),
            "sampling": chat.sampling(),
            "limits": limits,
            "shuffle": wish.shuffle,
            "recursive": bool(wish.recursive),
            "wanted": workers,
        }

        def make() -> ConductRequest:
            conversation = wish.conversation or (conversation_of(ledger, earlier) if earlier else None)
            return ConductRequest(conversation=conversation, **own)

        return make

    async def _whole(self, request: Request, work: Work, delivery: Delivery) -> Response:
        try:
            row = await unless_gone(request, work.wait())
        finally:
            await work.leave()
        assert row is not None
        delivery.row = row
        delivery.log(200)
        return Response(encode(delivery.disclose(row["body"])), 200, delivery.headers(), "application/json")

    async def _stream(self, request: Request, work: Work, delivery: Delivery) -> Response:
        try:
            # What fails before the first byte keeps its own HTTP status.
            delivery.row = await unless_gone(request, work.wait(self._options.heartbeat_s))
        except BaseException:
            await work.leave()
            raise

        async def close() -> None:
            await work.leave()
            delivery.log(delivery.status or CLIENT_GONE, delivery.error)

        return EventStream(self._events(work, delivery), close, delivery.headers())

    async def _events(self, work: Work, delivery: Delivery) -> AsyncIterator[bytes]:
        try:
            while delivery.row is None:
                yield HEARTBEAT
                delivery.row = await work.wait(self._options.heartbeat_s)
        except Exception as error:
            # The status line has gone out: the stream itself has to say it.
            problem = problem_of(error, trace=delivery.trace)
            delivery.status, delivery.error = problem.status, error
            yield event(problem.body())
            return
        body = delivery.row["body"]
        chunks = pieces(body)
        if delivery.chat.stream_options.include_usage:
            chunks.append(Envelope(body["id"], body["created"], body["model"]).usage_chunk(body["usage"]))
        chunks[-1] = delivery.disclose(chunks[-1])
        for chunk in chunks:
            yield event(chunk)
        delivery.status = 200
        yield DONE


class Delivery:
    """One answer on its way to one client; `row`: the finished request, once it is there."""

    def __init__(self, chat: ChatRequest, trace: bool) -> None:
        self.id, self.chat, self.trace = f"chatcmpl-{uuid4().hex}", chat, trace
        self.row: Row | None = None
        self.status: int | None = None
        self.error: Exception | None = None
        self._started = time.monotonic()

    def disclose(self, body: dict[str, Any]) -> dict[str, Any]:
        """The body, with the object `fugu` where the caller asked for it."""
        return {**body, "fugu": traced(self.row["trace"])} if self.trace and self.row else body

    def headers(self) -> dict[str, str]:
        """The request's id; on demand who answered, where that is known before the first byte."""
        headers = {"X-Request-Id": self.id}
        if self.trace and self.row is not None:
            headers |= {"X-Fugu-Turns": str(self.row["calls"]), "X-Fugu-Cost": f"{self.row['cost_usd']:.9f}"}
            if self.row["worker"] is not None:
                headers["X-Fugu-Worker"] = self.row["worker"]
        return headers

    def log(self, status: int, error: Exception | None = None) -> None:
        """One line for each time that an answer was asked for. No prompt and no reply is in it."""
        line = {
            "id": self.id,
            "status": status,
            "seconds": round(time.monotonic() - self._started, 4),
            "model": self.chat.model,
            "stream": self.chat.stream,
            "error": type(error).__name__ if error else None,
            **place(error),
            **{name: (self.row or {}).get(name) for name in TOLD},
        }
        log.info("request", extra={"fields": line})


def _refuse_changes(first: ConductRequest | None, chat: ChatRequest, workers: Sequence[str] | None) -> None:
    """Raises BadInput for a wish that is not the one of the request that handed the tool calls out.

    Told before the results are kept. What is not said again stays as it was; `None`: no such request is known, which
    the results themselves will be refused for.
    """
    if first is None:
        return
    wish = chat.fugu
    kept: dict[str, Any] = {name: getattr(first.limits, name) for name in type(first.limits).model_fields}
    kept |= {name: getattr(first, name) for name in ("conversation", "shuffle", "recursive")}
    changed = [f"fugu.{name}" for name, value in kept.items() if getattr(wish, name) not in (None, value)]
    if workers is not None and (first.wanted is None or set(workers) != set(first.wanted)):
        changed.append("X-Fugu-Workers" if wish.allowed_workers is None else "fugu.allowed_workers")
    if changed:
        raise BadInput(f"{changed[0]} cannot change while a workflow waits for its tools", changed[0])
