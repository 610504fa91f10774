"""What watches an application: each request and each call is counted, timed and traced, without a word of theirs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any

from deployments.endpoint.answer.question import Question
from deployments.endpoint.answer.result import Report, Result
from deployments.endpoint.watching.metrics import OTHER, Metrics
from deployments.endpoint.watching.traces import CallTrace, RequestTrace, Traces
from deployments.endpoint.wire.response import ULTRA
from models.errors import FuguError
from models.workers.ask import Ask, Reply
from models.workers.client import Chunk
from models.workers.dispatch import Sender
from models.workers.pool import Pool

_VISIT: ContextVar[Visit | None] = ContextVar("visit", default=None)


class Watch:
    """Belongs to one event loop. `names`: the served models. `traces`: `None` makes none."""

    def __init__(self, pool: Pool, names: Collection[str], traces: Traces | None = None) -> None:
        self.pool, self.metrics = pool, Metrics()
        self.visits: dict[str, Visit] = {}
        self._names, self._traces = frozenset(names), traces

    def arrived(self, path: str, headers: Mapping[str, str]) -> Visit:
        """A request has come."""
        trace = None if self._traces is None else RequestTrace(self._traces.tracer, path, headers)
        visit = Visit(self, path, trace)
        _VISIT.set(visit)  # for the calls that are made for it
        return visit

    def sending(self, sender: Sender) -> Sender:
        """The sender, watched."""
        return _Watched(sender, self)

    def label(self, model: str) -> str:
        """The served model that a request names, without its pin."""
        name = model.partition("@")[0]
        return name if name in self._names else OTHER

    async def close(self) -> None:
        """Send the last spans."""
        if self._traces is not None:
            await asyncio.to_thread(self._traces.close)


class Visit:
    """One request, from its arrival to its end or until another process takes it."""

    def __init__(self, watch: Watch, path: str, trace: RequestTrace | None) -> None:
        self.trace = trace
        self.result: Result | None = None
        self._watch, self._path, self._began = watch, path, time.monotonic()
        self._model, self._stream, self._begun, self._here, self._over = OTHER, False, False, True, False
        self._id: str | None = None
        watch.metrics.requests_now.labels(path).inc()

    @property
    def trace_id(self) -> str | None:
        return None if self.trace is None else self.trace.id

    def asked(self, question: Question) -> None:
        """The question is read."""
        self._model, self._stream = self._watch.label(question.model), question.stream
        if self.trace is not None:
            self.trace.asked(self._model, self._stream, self._model == ULTRA)

    def routed(self, id: str) -> None:
        """It is being answered, under this id."""
        self._id = id
        self._watch.visits[id] = self

    def begun(self) -> None:
        """A part of the stream is sent; the first one counts."""
        if not self._begun:
            self._begun = True
            self._watch.metrics.request_first.labels(self._model, self._path).observe(time.monotonic() - self._began)

    def left(self) -> None:
        """It is no longer in this process: it is over, or another process answers and counts."""
        if self._here:
            self._here = False
            self._watch.metrics.requests_now.labels(self._path).dec()

    def ended(self, status: int, error: Exception | None, report: Report | None) -> None:
        """It is over; called again, this does nothing."""
        if self._over:
            return
        self._over = True
        self.left()
        if self._id is not None and self._watch.visits.get(self._id) is self:
            del self._watch.visits[self._id]
        metrics, log = self._watch.metrics, {} if report is None else report.log
        metrics.requests.labels(self._model, self._path, status, str(self._stream).lower()).inc()
        metrics.request_seconds.labels(self._model, self._path).observe(time.monotonic() - self._began)
        for kind, name in (("input", "prompt_tokens"), ("output", "completion_tokens")):
            metrics.request_tokens.labels(self._model, kind).inc(log.get(name) or 0)
        metrics.request_usd.labels(self._model).inc(log.get("cost_usd") or 0.0)
        if self.trace is not None:
            self.trace.end(status, type(error).__name__ if error else None, self._told(report, log))

    def _told(self, report: Report | None, log: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "gen_ai.response.id": self._id,
            "gen_ai.response.model": None if self._id is None else self._model,
            "gen_ai.response.finish_reasons": None if self.result is None else [self.result.finish_reason],
            "gen_ai.usage.input_tokens": log.get("prompt_tokens"),
            "gen_ai.usage.output_tokens": log.get("completion_tokens"),
            "fugu.worker": None if report is None else report.worker,
            "fugu.margin": None if report is None else report.margin,
            "fugu.turns": None if report is None else report.turns,
            "fugu.cost_usd": log.get("cost_usd"),
        }


class _Watched:
    """A `Sender` whose calls are counted, timed and traced."""

    def __init__(self, sender: Sender, watch: Watch) -> None:
        self._sender, self._watch = sender, watch

    async def complete(self, ask: Ask) -> Reply:
        call = _Call(self._watch, ask, stream=False)
        try:
            reply = await self._sender.complete(ask)
        except BaseException as error:
            call.ended(None, error)
            raise
        call.ended(reply, None)
        return reply

    async def stream(self, ask: Ask) -> AsyncGenerator[Chunk]:
        call, reply = _Call(self._watch, ask, stream=True), None
        try:
            async with aclosing(self._sender.stream(ask)) as chunks:
                async for chunk in chunks:
                    call.begun()
                    reply = chunk.reply or reply
                    yield chunk
        except BaseException as error:
            call.ended(reply, error)
            raise
        call.ended(reply, None)


class _Call:
    """One try of a call, from its sending to its end."""

    def __init__(self, watch: Watch, ask: Ask, *, stream: bool) -> None:
        self._metrics, self._worker, self._began = watch.metrics, ask.worker, time.monotonic()
        self._first: float | None = None
        self._metrics.calls_now.labels(ask.worker).inc()
        # Who shows a step in Prefect may be the first to ask for it, outside of the request.
        visit = _VISIT.get() or watch.visits.get(ask.scope.partition("/")[0])
        self._trace: RequestTrace | None = None if visit is None else visit.trace
        self._span: CallTrace | None = None
        if self._trace is not None:
            self._span = self._trace.begin_call(ask, watch.pool.worker(ask.worker), stream)

    def begun(self) -> None:
        if self._first is None:
            self._first = time.monotonic() - self._began
            self._metrics.call_first.labels(self._worker).observe(self._first)

    def ended(self, reply: Reply | None, error: BaseException | None) -> None:
        metrics, worker = self._metrics, self._worker
        metrics.calls_now.labels(worker).dec()
        metrics.calls.labels(worker, _outcome(reply, error)).inc()
        metrics.call_seconds.labels(worker).observe(time.monotonic() - self._began)
        if reply is not None:
            metrics.call_tokens.labels(worker, "input").inc(reply.usage.prompt_tokens)
            metrics.call_tokens.labels(worker, "output").inc(reply.usage.completion_tokens)
            metrics.call_usd.labels(worker).inc(reply.cost_usd)
        if self._trace is not None and self._span is not None:
            self._trace.end_call(self._span, reply, None if reply is not None else error)


def _outcome(reply: Reply | None, error: BaseException | None) -> str:
    """ "ok", the class of an error of ours, or what else ended the call."""
    if reply is not None:
        return "ok"
    if isinstance(error, FuguError):
        return type(error).__name__
    return "fault" if isinstance(error, Exception) else "cancelled"
