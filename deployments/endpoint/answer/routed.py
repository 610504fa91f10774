"""`fugu` and `trinity`: answers through the router's loop, or by the one worker that was promoted."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from deployments.endpoint.answer.abilities import ALLOWED, candidates
from deployments.endpoint.answer.champions import Seats
from deployments.endpoint.answer.keeping import Keeper, Keeping
from deployments.endpoint.answer.question import Question
from deployments.endpoint.answer.result import Calls, Emit, Report, Result, Text, Thought, emit_whole
from deployments.endpoint.answer.steps import Step, finite, shared, traced
from deployments.endpoint.parts import Parts
from deployments.endpoint.wire.problems import no_worker, not_ready
from deployments.endpoint.wire.response import FUGU, TRINITY
from models.errors import FuguError, LimitReached, NoWorkerAllowed, another_may_answer
from models.fugu.decision import best_first
from models.fugu.loop import Turn
from models.fugu.roles import Role
from models.fugu.rollout import answer, options_of
from models.ledger.journal import Journal
from models.ledger.outage import PATIENCE_S, when_back
from models.ledger.requests import Row, record
from models.workers.ask import Ask, Message, Reply, Usage, total

PATIENCE_OPEN_S = 10.0
"""How long a request waits where the breakers of all workers are open."""


class Routed:
    """`steps` grows while the request is answered, so that an answer cut short is accounted for too."""

    def __init__(
        self,
        parts: Parts,
        seats: Seats,
        turns: int,
        journal: Journal | None,
        question: Question,
        digest: Callable[[], str],
        failover: bool = True,
        keeping: Keeping | None = None,
        max_seconds: float | None = None,
    ) -> None:
        """`journal`: gets the row of the request; `None`: no row is kept. `turns`: at most, of `trinity`. `failover`:
        whether another worker is asked where one fails, unless the caller forbids it. `max_seconds`: the deadline of
        a request that sets none.

        `digest` is neither called nor kept: it holds the body.
        """
        question.refuse_conducting()
        if question.model == TRINITY:
            question.refuse_tools()
        self._allowed = candidates(parts.pool, question, question.wanted())
        seat = seats.seat(question.model)
        if seat is None:
            raise not_ready(f"the model {question.model!r} is not loaded yet")
        self.id, self.created = question.id, int(time.time())
        self.slow = question.model == TRINITY
        self.steps: list[Step] = []
        self._shown: list[str] | None = [] if self.slow and question.show_work else None
        self._emit: Emit | None = None
        self._keeping = keeping if question.model == FUGU else None  # `trinity` chooses anew at each turn
        self._max_seconds = question.fugu.max_seconds or max_seconds
        self._begun, self._failover = False, failover and question.fugu.failover
        self._accepted: bool | None = None  # None: no loop with roles has ended
        self._parts, self._turns, self._journal, self._question, self._seat = parts, turns, journal, question, seat

    async def answer(self, emit: Emit | None) -> Result:
        """Deltas are emitted as they come (`fugu`) or once a reply is accepted (`trinity`).

        Raises LimitReached at the request's deadline, which all waits and tries share.
        """
        clock = asyncio.timeout(self._max_seconds)
        try:
            async with clock:
                return await self._answer(emit)
        except TimeoutError:
            if not clock.expired():
                raise
            raise LimitReached("the request's time is over", "max_seconds") from None

    async def _answer(self, emit: Emit | None) -> Result:
        live = emit if self._question.model == FUGU else None
        self._emit = emit
        askable = await self._not_open()
        answers = self._worker_answers if self._seat.router is None else self._router_answers
        result = await answers(askable, live)
        if emit is not None and live is None:
            await emit_whole(result, emit)
        return result if emit is not None or not self._shown else replace(result, thoughts="".join(self._shown))

    def report(self) -> Report:
        answering, usage = self._answering, self._usage
        cost_usd = sum(step.reply.cost_usd for step in self.steps if step.reply)
        work = {
            "worker": answering.worker if answering else None,
            "turns": self._asked,
            "accepted": self._accepted,
            "cost_usd": cost_usd,
            "steps": [traced(step) for step in self.steps],
        }
        log = {
            "champion": self._seat.champion.target,
            "champion_version": self._seat.champion.version,
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            **work,
        }
        report = Report(log, {"request_id": self.id, **work})
        if answering is None:
            return report
        said = [step for step in self.steps if step.error is None]
        roles = () if answering.role is None else tuple(step.role.name for step in said if step.role is not None)
        paid = cost_usd if answering.reply is not None else None
        margin = finite(answering.margin)
        return replace(report, worker=answering.worker, turns=self._asked, roles=roles, margin=margin, cost_usd=paid)

    def keep(self, row: Row) -> None:
        answering = self._answering
        if self._keeping is not None and answering is not None and answering.reply is not None:
            self._keeping.note(self._question, answering.worker)
        if self._journal is not None:
            self._journal.put(record(self._parts.ledger, row), math.inf)

    @property
    def _asked(self) -> int:
        """Turns of the loop: asks but those that another worker took over."""
        return sum(step.error is None for step in self.steps) or len(self.steps[:1])

    @property
    def _usage(self) -> Usage:
        return total([step.reply.usage for step in self.steps if step.reply])

    @property
    def _answering(self) -> Step | None:
        """Whose reply is the answer, as far as is known: the last SOLVER's or, without roles, the worker's."""
        solvers = [step for step in self.steps if step.role in (None, Role.SOLVER)]
        return next((step for step in reversed(solvers) if step.error is None), solvers[-1] if solvers else None)

    async def _worker_answers(self, askable: Sequence[str], live: Emit | None) -> Result:
        order = best_first(askable, [str(self._seat.worker)], [0.0])
        step = Step(order[0], None, None)
        return self._result(await self._ask_in_order(step, order[1:], self._question.messages, live))

    async def _router_answers(self, askable: Sequence[str], live: Emit | None) -> Result:
        router = self._seat.router
        assert router is not None
        allowed = [name for name in router.workers if name in askable]
        if not allowed:
            raise NoWorkerAllowed("the router knows none of the allowed workers", ALLOWED)
        roles = router.roles and self._question.model == TRINITY
        options = options_of(router, roles=roles, turns=self._turns)

        async def ask(turn: Turn) -> Reply:
            step = Step(turn.worker, turn.role, turn.decision.margin, turn.repeat, kept=kept.kept)
            order = best_first(allowed, router.workers, turn.decision.worker_logits)
            others = [name for name in order if name != turn.worker]
            return await self._ask_in_order(step, others, turn.messages, live)

        kept = Keeper(router, None, 0.0) if self._keeping is None else await self._keeping.of(self._question, router)
        outcome = await answer(self._question.messages, kept, ask, options, allowed)
        if roles:
            await self._show("The answer is accepted.\n" if outcome.accepted else "No turn is left.\n")
        self._accepted = outcome.accepted if roles else None
        assert self._answering is not None and self._answering.reply is not None
        result = self._result(self._answering.reply)
        return replace(result, text=outcome.text, tool_calls=()) if roles else result

    def _result(self, reply: Reply) -> Result:
        return Result(reply.text, reply.tool_calls, reply.finish_reason, self._usage)

    async def _not_open(self) -> tuple[str, ...]:
        """The allowed workers but those whose breakers are open; where all are, the first to close is waited for."""
        deadline = time.monotonic() + PATIENCE_OPEN_S
        while True:
            found = await self._parts.dispatcher.open_workers()
            left = tuple(name for name in self._allowed if name not in found)
            if left:
                return left
            now = datetime.now(UTC)
            wait = min(found[name].wait_s(now) for name in self._allowed)
            if time.monotonic() + wait > deadline:
                raise no_worker(wait)
            await asyncio.sleep(wait)

    async def _ask_in_order(
        self, step: Step, others: Sequence[str], messages: Sequence[Message], live: Emit | None
    ) -> Reply:
        """The step's worker's reply or, where it fails before anything was emitted, the next one's of the others."""
        failed: FuguError | None = None
        for worker in (step.worker, *(others if self._failover else ())):
            try:
                return await self._ask(replace(step, worker=worker), messages, live)
            except FuguError as error:
                self.steps[-1] = replace(self.steps[-1], error=type(error).__name__)
                failed = failed or error
                if self._begun or not another_may_answer(error):
                    raise
        assert failed is not None
        raise failed

    async def _ask(self, step: Step, messages: Sequence[Message], live: Emit | None) -> Reply:
        parts, sampling = self._parts, self._question.sampling
        ask = Ask(
            scope=self.id,
            worker=step.worker,
            revision=parts.pool.worker(step.worker).revision,
            messages=tuple(dict(message) for message in messages),
            sampling=sampling if step.role in (None, Role.SOLVER) else shared(sampling),
        ).again(step.repeat)  # as in the rollouts that the router was learned and judged by
        paid = any(earlier.reply for earlier in self.steps)
        self.steps.append(step)
        if live is not None:
            reply = await self._stream(ask, live)
        else:  # once something is paid for, a ledger that is away is waited for
            way = partial(parts.dispatcher.ask, ask) if self._shown is None else partial(self._heard, ask, step.title)
            reply = await when_back(way, PATIENCE_S if paid else 0.0)
        self.steps[-1] = replace(step, reply=reply)
        return reply

    async def _heard(self, ask: Ask, title: str) -> Reply:
        """The reply of a turn, whose words are shown as they come."""
        reply: Reply | None = None
        await self._show(title)
        async with aclosing(self._parts.dispatcher.stream(ask)) as chunks:
            async for chunk in chunks:
                await self._show(chunk.text)
                reply = chunk.reply or reply
        await self._show("\n\n")
        assert reply is not None, "a stream ends with its reply"
        return reply

    async def _show(self, text: str) -> None:
        """Show a piece of the work, where that is wanted."""
        if self._shown is None or not text:
            return
        self._shown.append(text)
        if self._emit is not None:
            await self._emit(Thought(text))

    async def _stream(self, ask: Ask, live: Emit) -> Reply:
        reply: Reply | None = None
        # Closed immediately, not by the garbage collector, when this task is cancelled between two chunks.
        async with aclosing(self._parts.dispatcher.stream(ask)) as chunks:
            async for chunk in chunks:
                self._begun |= bool(chunk.text or chunk.tool_calls)
                if chunk.text:
                    await live(Text(chunk.text))
                if chunk.tool_calls:
                    await live(Calls(tuple(chunk.tool_calls)))
                reply = chunk.reply or reply
        assert reply is not None, "a stream ends with its reply"
        return reply
