"""`Idempotency-Key` for the answers that have no workflow: one key is one request, as often as it is sent.

The request's row is in the ledger before anything is paid for it, and in the end it has the answer. Who sends the key
again gets that, whole or as a stream; while it is made in this process, its deltas from the first one on. Its calls
have the key's request as their scope, so that another process, or this one after a kill, pays none of them again; it
goes on with the version of the model with which the request began, whatever was promoted since. A client that goes
away does not end the request.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter

from deployments.endpoint.answer.jobs import PROMPT_S, same_request
from deployments.endpoint.answer.question import Key, Question
from deployments.endpoint.answer.result import Answering, Delta, Emit, Report, Result, Route, Thought, emit_whole
from deployments.endpoint.orphans import own_mark
from deployments.endpoint.wire.problems import CLIENT_GONE, not_ready, problem_of
from deployments.endpoint.wire.response import TRINITY
from models.errors import NotFound, Pruned
from models.ledger.journal import Journal
from models.ledger.requests import Row, begin, finish, get_request
from models.ledger.text import storable_json

_RESULT, _REPORT = TypeAdapter(Result), TypeAdapter(Report)


class Run:
    """One request on its way. `deltas`: so far, where its first sender wanted a stream; `row`: of a finished one."""

    def __init__(self, question: Question, digest: str, live: bool) -> None:
        self.question, self.digest, self.live = question, digest, live
        self.deltas: list[Delta] = []
        self.answering: Answering | None = None
        self.row: Row | None = None
        self.created: int | None = None
        self.task: asyncio.Task[Result] | None = None
        self._changed = asyncio.Event()

    async def emit(self, delta: Delta) -> None:
        self.deltas.append(delta)
        self.wake()

    def wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def follow(self, emit: Emit | None) -> Result:
        """The result; its deltas are emitted first, as they come. Raises what the request failed with."""
        assert self.task is not None
        count = 0
        while emit is not None:
            while count < len(self.deltas):
                await emit(self.deltas[count])
                count += 1
            if self.task.done():
                break
            await self._changed.wait()
        await asyncio.wait([self.task])
        if self.task.cancelled():
            raise not_ready("the endpoint is stopping")
        result = self.task.result()
        if emit is not None and not count:
            await emit_whole(result, emit)
        return result


class Runs:
    """Those of this process, by request id. `route`: obtains an answer and keeps no row."""

    def __init__(self, journal: Journal, route: Route) -> None:
        self._journal, self._route, self._mark = journal, route, own_mark()
        self._running: dict[str, Run] = {}
        self._closing = False

    def open(self, question: Question, digest: str, live: bool) -> Run:
        """The run of the question's key. Raises Problem 409 where the key was sent with another request."""
        run = self._running.get(question.id)
        if run is None:
            run = self._running[question.id] = Run(question, digest, live)
            run.task = asyncio.create_task(self._run(run))
            run.task.add_done_callback(lambda task: task.cancelled() or task.exception())
        same_request({"id": question.id, "digest": run.digest}, digest)
        return run

    async def close(self) -> None:
        """Stop them all. Their rows keep the status "running": the same key continues them."""
        self._closing = True
        tasks = [run.task for run in self._running.values() if run.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, run: Run) -> Result:
        try:
            return await self._answered(run)
        finally:
            self._running.pop(run.question.id, None)  # before a failure is reported: who tries again needs a new run
            run.wake()

    async def _answered(self, run: Run) -> Result:
        known = await asyncio.to_thread(self._known, run)
        if known is not None and known.get("body") is not None:
            return _finished(run, known)
        answering = run.answering = self._route(run.question, lambda: run.digest)
        started = time.monotonic()
        row = await self._begin(run, answering, known)
        if row.get("body") is not None:  # another process was faster
            return _finished(run, row)
        began = row.get("pin")
        if run.question.pin is None and began not in (None, _pin(answering)):
            # Another process began it with a champion that was replaced since, whose calls may be paid.
            answering = run.answering = self._route(replace(run.question, model=began), lambda: run.digest)
        run.created = int(row["created"])
        try:
            result = await answering.answer(run.emit if run.live else None)
        except (Exception, asyncio.CancelledError) as error:
            if not self._closing:
                status = problem_of(error).status if isinstance(error, Exception) else CLIENT_GONE
                await self._finish(run, started, {"status": status, "error": type(error).__name__})
            raise
        body, report = _RESULT.dump_python(result, mode="json"), _REPORT.dump_python(answering.report(), mode="json")
        await self._finish(run, started, {"status": 200, "error": None, "body": body, "report": report})
        return result

    def _known(self, run: Run) -> Row | None:
        try:
            row = get_request(self._journal.ledger, run.question.id)
        except Pruned:
            raise
        except NotFound:
            return None
        return same_request(row, run.digest)

    async def _begin(self, run: Run, answering: Answering, known: Row | None) -> Row:
        """The row, on disk before anything is paid for the request."""
        question, ledger = run.question, self._journal.ledger
        if known is not None:
            anew = {} if known["status"] == "running" else {"pin": _pin(answering)}
            changes = {"status": "running", "process": self._mark, **anew}
            return await self._journal.put(finish(question.id, changes), 0.0)
        assert question.key is not None
        row = {
            "id": question.id,
            "model": question.model,
            "status": "running",
            "created": answering.created,
            "key": question.key.digest,
            "digest": run.digest,
            "stream": question.stream,
            "user": question.user,
            "owner": question.caller.key,
            "process": self._mark,
            "pin": _pin(answering),
            "body": None,
        }
        return same_request(await self._journal.put(begin(ledger, row), 0.0), run.digest)

    async def _finish(self, run: Run, started: float, changes: Row) -> None:
        """An answer that is paid for is given also while the ledger is away; its row is written when it is back."""
        assert run.answering is not None
        run.answering.keep({})
        seconds = round(time.monotonic() - started, 4)
        row = storable_json({**run.answering.report().log, "seconds": seconds, **changes})
        written = self._journal.put(finish(run.question.id, row), math.inf)
        if changes["status"] != 503:
            await asyncio.wait([written], timeout=PROMPT_S)


class Once:
    """The answer to a question with a key."""

    def __init__(self, runs: Runs, question: Question, key: Key, digest: Callable[[], str]) -> None:
        self.id = key.id
        self._runs, self._question, self._digest = runs, replace(question, id=key.id), digest()
        self.slow = question.name == TRINITY
        self._run: Run | None = None
        self._begun = int(time.time())

    @property
    def created(self) -> int:
        """A request that is answered again keeps the time of its first try."""
        return self._begun if self._run is None or self._run.created is None else self._run.created

    async def answer(self, emit: Emit | None) -> Result:
        """What is shown of the work is no part of the request: each delivery has what its own request asks for."""
        question = self._question
        self._run = self._runs.open(question, self._digest, emit is not None)
        shown = question.shows_work if self.slow else question.reasons

        async def visible(delta: Delta) -> None:
            if emit is not None and (shown or not isinstance(delta, Thought)):
                await emit(delta)

        result = await self._run.follow(None if emit is None else visible)
        return result if shown else replace(result, thoughts=None)

    def report(self) -> Report:
        run = self._run
        if run is not None and run.row is not None:
            return _REPORT.validate_python(run.row["report"])
        return Report({}, {}) if run is None or run.answering is None else run.answering.report()

    def keep(self, row: Row) -> None:
        """Nothing to do: this row is of one delivery of the answer, and a request may have several."""


def once_per_key(plain: Route, runs: Runs) -> Route:
    """`plain`, or for a question with a key its one run."""

    def route(question: Question, digest: Callable[[], str]) -> Answering:
        return plain(question, digest) if question.key is None else Once(runs, question, question.key, digest)

    return route


def _pin(answering: Answering) -> str | None:
    """The version of the model that it would be answered by."""
    pin: str | None = answering.report().log.get("pin")
    return pin


def _finished(run: Run, row: dict[str, Any]) -> Result:
    run.row, run.created = row, int(row["created"])
    return _RESULT.validate_python(row["body"])
