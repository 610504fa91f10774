"""`fugu` and `trinity`: answers through the router's loop, or by the one worker that was promoted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from deployments.endpoint.access.money import held
from deployments.endpoint.answer.abilities import ALLOWED, candidates
from deployments.endpoint.answer.asking import Asking, Step, finite, traced
from deployments.endpoint.answer.champions import Seats
from deployments.endpoint.answer.keeping import Keeper, Keeping
from deployments.endpoint.answer.question import Question
from deployments.endpoint.answer.result import Emit, Report, Result, emit_whole
from deployments.endpoint.answer.shadow import Seen, Shadow
from deployments.endpoint.parts import Parts
from deployments.endpoint.wire.problems import not_ready
from deployments.endpoint.wire.response import FUGU, TRINITY
from models.errors import LimitReached, NoWorkerAllowed
from models.fugu.decision import best_first
from models.fugu.loop import Turn
from models.fugu.rollout import answer, options_of
from models.ledger.journal import Journal
from models.ledger.requests import Row, record
from models.workers.ask import Reply
from models.workers.retry import PATIENCE_OPEN_S


class Routed:
    """An answer cut short is accounted for, too: its asks are in `asking.py` as soon as they are sent."""

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
        shadow: Shadow | None = None,
    ) -> None:
        """`journal`: gets the row of the request; `None`: no row is kept. `turns`: at most, of `trinity`. `failover`:
        whether another worker is asked where one fails, unless the caller forbids it. `max_seconds`: the deadline of
        a request that sets none. `shadow`: sees what `fugu` has answered.

        `digest` is neither called nor kept: it holds the body.
        """
        question.refuse_conducting()
        if question.name == TRINITY:
            question.refuse_tools()
            question.refuse_samples()
        self._allowed = candidates(parts.pool, question, question.wanted())
        self._askable: Sequence[str] = self._allowed  # but those whose breakers are open
        self._seats, seat = seats, seats.seat(question.name)
        if seat is None:
            raise not_ready(f"the model {question.model!r} is not loaded yet")
        self.id, self.created = question.id, int(time.time())
        self.slow = question.name == TRINITY
        self._keeping = keeping if question.name == FUGU else None  # `trinity` chooses anew at each turn
        self._shadow = shadow if question.name == FUGU else None
        self._max_seconds = question.limit("max_seconds", max_seconds)
        failover = failover and question.fugu.failover
        self._accepted: bool | None = None  # None: no loop with roles has ended
        shown = {"shows": question.shows_work} if self.slow else {"reasons": question.reasons}
        self._asking = Asking(parts, question, failover, self._allowed, **shown)
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
        live = emit if self._question.name == FUGU else None
        self._asking.emit = emit
        if self._question.pin is not None:
            self._seat = await self._seats.pinned(self._question.name, self._question.pin)
        self._askable = askable = await self._parts.dispatcher.askable(self._allowed, PATIENCE_OPEN_S)
        answers = self._worker_answers if self._seat.router is None else self._router_answers
        async with held(self._question, self._parts, askable, self._turns if self._has_roles else 1):
            result = await answers(askable, live)
        if emit is not None and not self._asking.begun:
            await emit_whole(result, emit)
        return replace(result, thoughts="".join(self._asking.shown or ()) or None)

    def report(self) -> Report:
        asking = self._asking
        answering, usage, cost_usd = asking.answering, asking.usage, asking.cost_usd
        work = {
            "worker": answering.worker if answering else None,
            "turns": asking.turns,
            "accepted": self._accepted,
            "cost_usd": cost_usd,
            "not_asked": [name for name in self._allowed if name not in self._askable],
            "steps": [traced(step) for step in asking.steps],
        }
        log = {
            "champion": self._seat.champion.target,
            "champion_version": self._seat.champion.version,
            "pin": self._seat.pin,
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            **work,
        }
        report = Report(log, {"request_id": self.id, "pin": self._seat.pin, **work})
        report = replace(report, notes=(*self._left_out, *asking.notes))
        if answering is None:
            return report
        said = [step for step in asking.steps if step.error is None]
        roles = () if answering.role is None else tuple(step.role.name for step in said if step.role is not None)
        paid = cost_usd if answering.reply is not None else None
        margin = finite(answering.margin)
        return replace(report, worker=answering.worker, turns=asking.turns, roles=roles, margin=margin, cost_usd=paid)

    @property
    def _has_roles(self) -> bool:
        """Whether the turns are taken in roles."""
        router = self._seat.router
        return router is not None and router.roles and self._question.name == TRINITY

    @property
    def _left_out(self) -> tuple[str, ...]:
        if self._question.fugu.cost_weight is None or self._seat.knob is not None:
            return ()
        who = "one worker answers everything" if self._seat.router is None else "the router has learned no costs"
        return (f"fugu.cost_weight was left out: {who}",)

    def keep(self, row: Row) -> None:
        answering = self._asking.answering
        if self._keeping is not None and answering is not None and answering.reply is not None:
            self._keeping.note(self._question, answering.worker)
        if self._journal is not None:
            self._journal.later(record(row))
        first = next(iter(self._asking.steps), None)
        if self._shadow is not None and first is not None and not first.kept:
            question, margin = self._question, finite(first.margin)
            self._shadow.saw(Seen(self.id, question.messages, self._askable, first.worker, margin))

    async def _worker_answers(self, askable: Sequence[str], live: Emit | None) -> Result:
        order, had = best_first(askable, [str(self._seat.worker)], [0.0]), None
        if self._keeping is not None and (had := await self._keeping.had(self._question)) in order:
            order = best_first(order, [str(had)], [0.0])
        step = Step(order[0], None, None, kept=order[0] == had != self._seat.worker)
        await self._asking.in_order(step, order[1:], self._question.messages, live)
        return self._asking.result()

    async def _router_answers(self, askable: Sequence[str], live: Emit | None) -> Result:
        router = self._seat.thrifty(self._question.fugu.cost_weight)
        allowed = [name for name in router.workers if name in askable]
        if not allowed:
            raise NoWorkerAllowed("the router knows none of the allowed workers", ALLOWED)
        roles = self._has_roles
        options = options_of(router, roles=roles, turns=self._turns)

        async def ask(turn: Turn) -> Reply:
            step = Step(turn.worker, turn.role, turn.decision.margin, turn.repeat, kept=kept.kept)
            order = best_first(allowed, router.workers, turn.decision.worker_logits)
            others = [name for name in order if name != turn.worker]
            return await self._asking.in_order(step, others, turn.messages, live)

        kept = Keeper(router, None, 0.0) if self._keeping is None else await self._keeping.of(self._question, router)
        outcome = await answer(self._question.messages, kept, ask, options, allowed)
        if roles:
            await self._asking.show("The answer is accepted.\n" if outcome.accepted else "No turn is left.\n")
        self._accepted = outcome.accepted if roles else None
        result = self._asking.result()
        return replace(result, text=outcome.text, tool_calls=()) if roles else result
