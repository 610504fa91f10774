"""The request runs of this endpoint: their plan writer, loaded in a thread, and the router's order of workers."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import TypeVar

from deployments.endpoint.answer.champions import RETRY_S, Champions
from deployments.endpoint.answer.question import Question, is_pin_of, pin_of
from deployments.endpoint.parts import CONDUCTING, Options, Parts
from deployments.endpoint.wire.problems import not_ready, unknown_version
from deployments.endpoint.wire.response import FUGU, ULTRA
from deployments.endpoint.wire.words import plain
from models.conductor.plan.identity import digest_of
from models.conductor.run.request import ConductParts, ConductRequest
from models.conductor.run.request_run import RequestRuns
from models.errors import BadInput, LedgerAway
from models.fugu.decision import best_first
from models.fugu.rollout import ranking_transcript
from models.workers.ask import Message

log = logging.getLogger(__name__)

T = TypeVar("T")


class Conductor:
    """Belongs to one event loop. Where the plan writer cannot be loaded, only `fugu-ultra` is not served."""

    def __init__(self, parts: Parts, options: Options, champions: Champions) -> None:
        self._parts, self._options, self._champions = parts, options, champions
        self._executor: RequestRuns | None = None
        self._reason = "it is not loaded yet"
        self.digest: str | None = None

    @property
    def ready(self) -> bool:
        return self._executor is not None

    @property
    def pin(self) -> str | None:
        """The name by which exactly this conductor is asked for; `None` while there is none."""
        return None if self.digest is None else pin_of(ULTRA, self.digest)

    def check_pin(self, model: str, pin: str) -> None:
        """Raises Problem 404 where `pin` begins the digest of another conductor than this endpoint's, 503 for none."""
        self.request_runs()
        if self.digest is None or not is_pin_of(self.digest, pin):
            raise unknown_version(model, "this endpoint has another conductor", self.pin)

    def check(self, question: Question, allowed: Sequence[str]) -> None:
        """Raises BadInput for what this conductor cannot do with the question, Problem 503 while there is none."""
        made = {"id": question.id, "messages": tuple(question.messages), "shuffle": question.fugu.shuffle}
        try:
            self.request_runs().check(ConductRequest(allowed=tuple(allowed), **made))
        except BadInput as error:
            raise BadInput(str(error), f"fugu.{error.field}") from None

    def request_runs(self) -> RequestRuns:
        """Raises Problem 503, with the reason, while there is none."""
        if self._executor is None:
            raise not_ready(f"the model {ULTRA!r} cannot answer: {plain(self._reason)}")
        return self._executor

    async def load(self) -> None:
        """Try until there is a plan writer; each reason why there is none is logged once."""
        while self._executor is None:
            try:
                writer, cards = await _aside(self._parts.open_conductor)
            except Exception as error:
                reason = str(error).partition("\n")[0] or type(error).__name__
                if reason != self._reason:
                    log.error("%s cannot answer: %s", ULTRA, reason)
                self._reason = reason
                await asyncio.sleep(self._options.poll_s if isinstance(error, LedgerAway) else RETRY_S)
                continue
            self._executor = RequestRuns(
                ConductParts(
                    self._parts.ledger,
                    self._parts.pool,
                    self._parts.dispatcher,
                    writer,
                    self.rank,
                    cards,
                    self._parts.plan,
                    retry=CONDUCTING,
                    tools_s=self._options.tools_s,
                )
            )
            self.digest = digest_of(writer)
            log.info("%s is planned by %s", ULTRA, writer.name)

    async def rank(self, messages: Sequence[Message], allowed: Sequence[str]) -> Sequence[str]:
        """The allowed workers in the order of the `fugu` champion, best first; without a champion, in the pool's."""
        seat = self._champions.seat(FUGU)
        if seat is None:
            return allowed
        if seat.router is None:
            return best_first(allowed, [str(seat.worker)], [0.0])
        router = seat.router
        read = ranking_transcript(messages, router)
        try:
            decision = await router.decide(read)
        except Exception as error:
            log.error("the router ranks nobody: %s", type(error).__name__)
            return allowed
        return best_first(allowed, router.workers, decision.worker_logits)

    async def close(self) -> None:
        """Cancel the runs under way."""
        if self._executor is not None:
            await self._executor.close()


async def _aside(function: Callable[[], T]) -> T:
    """Call it in a thread that the end of the process does not wait for: a plan writer may take minutes to load."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            result = function()
        except BaseException as error:
            # Suppressed: the future is cancelled when the endpoint has stopped meanwhile.
            with suppress(Exception):
                future.set_exception(error)
        else:
            with suppress(Exception):
                future.set_result(result)

    threading.Thread(target=run, daemon=True, name="conductor").start()
    return await asyncio.wrap_future(future)
