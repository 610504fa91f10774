"""The client: sends one call to one worker, with timeouts, bounded replies and this project's errors, without retries.

A worker with OpenAI's protocol at its own address is called directly, one that is a program of this process answers by
itself, and all others are asked through litellm, which also determines the fields that each model takes. All replies
are parsed by `saying`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

from models.errors import FuguError, UpstreamTimeout
from models.workers import wire
from models.workers.ask import Ask, Reply
from models.workers.breakers import Breakers
from models.workers.fitting.fit import fitted
from models.workers.local import reached
from models.workers.pool import Pool, Worker
from models.workers.saying import Piece, Saying
from models.workers.translation import Program, body_of, prepared, program_of, speaks_openai
from models.workers.upstream import translated
from models.workers.usage import cost_of, usage_of


@dataclass(frozen=True)
class Chunk:
    """A piece of a streamed reply; the last one holds the whole `reply` (also after an empty text).

    `thoughts`: of the worker's visible reasoning, which is no part of its answer.
    """

    text: str = ""
    tool_calls: tuple[dict[str, Any], ...] = ()
    logprobs: tuple[dict[str, Any], ...] = ()
    reply: Reply | None = None
    thoughts: str = ""

    @property
    def answers(self) -> bool:
        """Whether something of the answer is in it, after which no other try may follow."""
        return bool(self.text or self.tool_calls or self.logprobs)


class Client:
    """Sends asks to the pool's workers. Each method sends once; the dispatcher retries.

    `breakers`, where there are any, choose the key of a call and count its result. Belongs to one event loop.
    """

    def __init__(self, pool: Pool, breakers: Breakers | None = None) -> None:
        self._pool, self._breakers = pool, breakers
        self._wire = wire.Wire()

    async def close(self) -> None:
        await self._wire.close()

    async def complete(self, ask: Ask) -> Reply:
        """The worker's whole reply, with usage and cost.

        Raises MissingKey, RecordedWorker, WorkerOpen, and the errors of `reached`,
        `upstream.translated` and `Saying`.
        """
        worker = self._pool.worker(ask.worker)
        async with self._asking(worker) as key:
            return await self._complete(worker, ask, key)

    def _asking(self, worker: Worker) -> AbstractAsyncContextManager[str | None]:
        return nullcontext() if self._breakers is None else self._breakers.asking(worker)

    async def _complete(self, worker: Worker, ask: Ask, key: str | None) -> Reply:
        sent = await fitted(worker, ask)
        worker = reached(worker)
        litellm, fields = await prepared(worker, sent, key)
        saying = _saying(worker, ask)
        started = time.monotonic()
        try:
            async with asyncio.timeout(worker.timeouts.total_s):
                if (program := program_of(worker)) is not None:
                    [body] = program(worker, fields, False)
                elif speaks_openai(worker):
                    async with self._wire.post(worker, body_of(worker, fields), fields["api_key"]) as response:
                        body, saying.cut = await wire.whole(response, worker, saying.most)
                else:
                    body = _as_openai(await litellm.acompletion(**fields))
            saying.add(body)
            saying.end(complete=True)
        except FuguError:
            raise
        except Exception as error:
            raise translated(error, worker) from error
        return _reply(worker, ask, saying, time.monotonic() - started)

    async def stream(self, ask: Ask) -> AsyncGenerator[Chunk]:
        """The reply as it arrives. Closing the iterator closes the upstream's connection.

        The total limit covers the whole stream; others its first event and each later one. A stream that ends without
        an end mark was cut: UpstreamUnavailable.
        """
        worker = self._pool.worker(ask.worker)
        async with self._asking(worker) as key, aclosing(self._stream(worker, ask, key)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _stream(self, worker: Worker, ask: Ask, key: str | None) -> AsyncGenerator[Chunk]:
        sent = await fitted(worker, ask)
        worker = reached(worker)
        litellm, fields = await prepared(worker, sent, key)
        fields |= {"stream": True, "stream_options": {"include_usage": True}}
        saying = _saying(worker, ask)
        started = time.monotonic()
        clock = _Clock(worker)
        parts = self._parts(litellm, worker, fields, saying)
        complete = False
        try:
            async with aclosing(parts):
                # The limit is set around each wait only: a `timeout` held across a yield would cancel the consumer.
                while not saying.cut:
                    async with clock.next_event():
                        part = await anext(parts, _END)
                    if part is _END or part is None:
                        complete = part is None
                        break
                    for chunk in _chunks(saying.add(part)):
                        yield chunk
            for chunk in _chunks(saying.end(complete)):
                yield chunk
            yield Chunk(reply=_reply(worker, ask, saying, time.monotonic() - started))
        except FuguError:
            raise
        except Exception as error:
            raise translated(error, worker) from error

    def _parts(self, litellm: Any, worker: Worker, fields: dict[str, Any], saying: Saying) -> AsyncGenerator[Any]:
        """The stream's events; `None` at its end mark, where it has one."""
        if (program := program_of(worker)) is not None:
            return _program_events(program, worker, fields)
        return self._events(worker, fields, saying) if speaks_openai(worker) else _translated_events(litellm, fields)

    async def _events(self, worker: Worker, fields: dict[str, Any], saying: Saying) -> AsyncGenerator[Any]:
        """The stream's events, and `None` at its end mark. A worker that does not stream sends one whole reply."""
        async with self._wire.post(worker, body_of(worker, fields), fields["api_key"]) as response:
            if response.headers.get("content-type", "").startswith(("application/json", "text/html")):
                body, saying.cut = await wire.whole(response, worker, saying.most)
                yield body
                yield None
                return
            async with aclosing(wire.events(response, worker, saying.most, saying.tokens)) as events:
                async for event, cut in events:
                    saying.cut |= cut
                    if event is None:
                        await _drain(events)
                    yield event


class _Clock:
    """How long a stream's next event may take."""

    def __init__(self, worker: Worker) -> None:
        self._worker, self._begun = worker, False
        self._deadline = asyncio.get_running_loop().time() + worker.timeouts.total_s

    @asynccontextmanager
    async def next_event(self) -> AsyncIterator[None]:
        """Raises UpstreamTimeout, naming the limit of this event, and TimeoutError for that of the whole."""
        times = self._worker.timeouts
        limit = times.between_tokens_s if self._begun else times.first_token_s
        now = asyncio.get_running_loop().time()
        own = limit is not None and now + limit < self._deadline
        try:
            async with asyncio.timeout_at(now + limit if own and limit is not None else self._deadline):
                yield
        except TimeoutError:
            if not own:
                raise
            what = "no more came" if self._begun else "its reply did not begin"
            raise UpstreamTimeout(f"worker {self._worker.name!r}: {what} within {limit:g} s", maybe_paid=True) from None
        self._begun = True


_END = object()
_DRAIN_S = 0.02


async def _drain(events: AsyncGenerator[Any]) -> None:
    """Read the rest after the end mark, mostly nothing: a connection must be read to its end to be reused."""
    with suppress(Exception):
        async with asyncio.timeout(_DRAIN_S):
            async for _ in events:
                pass


async def _program_events(program: Program, worker: Worker, fields: dict[str, Any]) -> AsyncGenerator[Any]:
    for event in program(worker, fields, True):
        yield event
    yield None


async def _translated_events(litellm: Any, fields: dict[str, Any]) -> AsyncGenerator[Any]:
    """litellm's chunks in OpenAI's format, ending with the upstream's finish reason and usage.

    litellm ends every stream with a finish reason and a usage, and makes them up where the upstream gave none, so that
    the upstream's are read from the stream's state instead.
    """
    response = await litellm.acompletion(**fields)
    try:
        async for part in response:
            chunk = _as_openai(part) | {"usage": None}
            for choice in chunk.get("choices") or ():
                choice["finish_reason"] = None
            yield chunk
        counted = [usage for part in response.chunks if (usage := getattr(part, "usage", None)) is not None]
        word = response.received_finish_reason or response.intermittent_finish_reason
        choices = [] if word is None else [{"delta": {}, "finish_reason": word}]
        yield {"choices": choices, "usage": counted[-1].model_dump(warnings=False) if counted else None}
    finally:
        with suppress(Exception):
            await response.aclose()


def _as_openai(response: Any) -> dict[str, Any]:
    """litellm's response in OpenAI's format, with the upstream's finish reason, which litellm replaces."""
    body: dict[str, Any] = response.model_dump(warnings=False)
    for choice in body.get("choices") or ():
        native = (choice.get("provider_specific_fields") or {}).get("native_finish_reason")
        choice["finish_reason"] = native or choice.get("finish_reason")
    return body


def _saying(worker: Worker, ask: Ask) -> Saying:
    entries = 1 + (ask.sampling.top_logprobs or 0) if ask.sampling.logprobs else 0
    return Saying(worker, worker.output_tokens(ask.sampling.max_tokens), entries)


def _reply(worker: Worker, ask: Ask, saying: Saying, seconds: float) -> Reply:
    usage = usage_of(saying.usage, worker, ask, saying.generated)
    return Reply(
        worker=worker.name,
        revision=ask.revision,
        text=saying.text,
        finish_reason=saying.finish_reason,
        stopped_at=saying.stopped_at,
        tool_calls=saying.tool_calls,
        usage=usage,
        cost_usd=cost_of(usage, worker, ask),
        seconds=seconds,
        logprobs=saying.logprobs,
        thoughts=saying.thoughts,
    )


def _chunks(piece: Piece) -> list[Chunk]:
    chunk = Chunk(piece.text, piece.tool_calls, piece.logprobs, thoughts=piece.thoughts)
    return [chunk] if chunk.answers or chunk.thoughts else []
