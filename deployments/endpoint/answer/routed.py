"""`fugu` and `trinity`: answers through the router's loop, or by the one worker that was promoted."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from deployments.endpoint.answer.abilities import ALLOWED, candidates
from deployments.endpoint.answer.champions import Seats
from deployments.endpoint.answer.question import Question
from deployments.endpoint.answer.result import Calls, Emit, Report, Result, Text, emit_whole
from deployments.endpoint.parts import Parts
from deployments.endpoint.wire.problems import not_ready
from deployments.endpoint.wire.response import FUGU, TRINITY
from models.errors import NoWorkerAllowed
from models.fugu.loop import Turn
from models.fugu.roles import Role
from models.fugu.rollout import answer, options_of
from models.ledger.journal import Journal
from models.ledger.outage import PATIENCE_S, when_back
from models.ledger.requests import Row, record
from models.workers.ask import Ask, Message, Reply, Sampling, Usage, total

SHARED_SAMPLING = ("temperature", "top_p", "seed", "reasoning_effort")
"""What reaches a THINKER and a VERIFIER too; limits and formats are meant for the answer, a SOLVER's."""


@dataclass(frozen=True)
class Step:
    """One ask of a request. `role` and `margin` are `None` where no router decided them; `repeat` is that of `Turn`."""

    worker: str
    role: Role | None
    margin: float | None
    repeat: int = 0
    reply: Reply | None = None


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
    ) -> None:
        """`journal`: gets the row of the request; `None`: no row is kept. `turns`: at most, of `trinity`.

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
        self.steps: list[Step] = []
        self._accepted: bool | None = None  # None: no loop with roles has ended
        self._parts, self._turns, self._journal, self._question, self._seat = parts, turns, journal, question, seat

    async def answer(self, emit: Emit | None) -> Result:
        """Deltas are emitted as they come (`fugu`) or once a reply is accepted (`trinity`)."""
        live = emit if self._question.model == FUGU else None
        result = await (self._worker_answers(live) if self._seat.router is None else self._router_answers(live))
        if emit is not None and live is None:
            await emit_whole(result, emit)
        return result

    def report(self) -> Report:
        answering, usage = self._answering, self._usage
        cost_usd = sum(step.reply.cost_usd for step in self.steps if step.reply)
        work = {
            "worker": answering.worker if answering else None,
            "turns": len(self.steps),
            "accepted": self._accepted,
            "cost_usd": cost_usd,
            "steps": [_traced(step) for step in self.steps],
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
        roles = () if answering.role is None else tuple(step.role.name for step in self.steps if step.role is not None)
        paid = cost_usd if answering.reply is not None else None
        margin = _finite(answering.margin)
        return replace(
            report, worker=answering.worker, turns=len(self.steps), roles=roles, margin=margin, cost_usd=paid
        )

    def keep(self, row: Row) -> None:
        if self._journal is not None:
            self._journal.put(record(self._parts.ledger, row), math.inf)

    @property
    def _usage(self) -> Usage:
        return total([step.reply.usage for step in self.steps if step.reply])

    @property
    def _answering(self) -> Step | None:
        """Whose reply is the answer, as far as is known: the last SOLVER's or, without roles, the worker's."""
        return next((step for step in reversed(self.steps) if step.role in (None, Role.SOLVER)), None)

    async def _worker_answers(self, live: Emit | None) -> Result:
        best = self._seat.worker
        worker = best if best in self._allowed else self._allowed[0]
        assert worker is not None
        return self._result(await self._ask(Step(worker, None, None), self._question.messages, live))

    async def _router_answers(self, live: Emit | None) -> Result:
        router = self._seat.router
        assert router is not None
        allowed = [name for name in router.workers if name in self._allowed]
        if not allowed:
            raise NoWorkerAllowed("the router knows none of the allowed workers", ALLOWED)
        roles = router.roles and self._question.model == TRINITY
        options = options_of(router, roles=roles, turns=self._turns)

        async def ask(turn: Turn) -> Reply:
            step = Step(turn.worker, turn.role, turn.decision.margin, turn.repeat)
            return await self._ask(step, turn.messages, live)

        outcome = await answer(self._question.messages, router, ask, options, allowed)
        self._accepted = outcome.accepted if roles else None
        assert self._answering is not None and self._answering.reply is not None
        result = self._result(self._answering.reply)
        return replace(result, text=outcome.text, tool_calls=()) if roles else result

    def _result(self, reply: Reply) -> Result:
        return Result(reply.text, reply.tool_calls, reply.finish_reason, self._usage)

    async def _ask(self, step: Step, messages: Sequence[Message], live: Emit | None) -> Reply:
        parts, sampling = self._parts, self._question.sampling
        ask = Ask(
            scope=self.id,
            worker=step.worker,
            revision=parts.pool.worker(step.worker).revision,
            messages=tuple(dict(message) for message in messages),
            sampling=sampling if step.role in (None, Role.SOLVER) else _shared(sampling),
        ).again(step.repeat)  # as in the rollouts that the router was learned and judged by
        paid = any(earlier.reply for earlier in self.steps)
        self.steps.append(step)
        if live is not None:
            reply = await self._stream(ask, live)
        else:  # once something is paid for, a ledger that is away is waited for
            reply = await when_back(lambda: parts.dispatcher.ask(ask), PATIENCE_S if paid else 0.0)
        self.steps[-1] = replace(step, reply=reply)
        return reply

    async def _stream(self, ask: Ask, live: Emit) -> Reply:
        reply: Reply | None = None
        # Closed immediately, not by the garbage collector, when this task is cancelled between two chunks.
        async with aclosing(self._parts.dispatcher.stream(ask)) as chunks:
            async for chunk in chunks:
                if chunk.text:
                    await live(Text(chunk.text))
                if chunk.tool_calls:
                    await live(Calls(tuple(chunk.tool_calls)))
                reply = chunk.reply or reply
        assert reply is not None, "a stream ends with its reply"
        return reply


def _shared(sampling: Sampling) -> Sampling:
    return Sampling(**{name: getattr(sampling, name) for name in SHARED_SAMPLING})


def _traced(step: Step) -> dict[str, Any]:
    reply = step.reply
    return {
        "worker": step.worker,
        "role": step.role.name if step.role is not None else None,
        "margin": _finite(step.margin),
        "call_id": reply.call_id if reply else None,
        "prompt_tokens": reply.usage.prompt_tokens if reply else None,
        "completion_tokens": reply.usage.completion_tokens if reply else None,
        "estimated": reply.usage.estimated if reply else None,
        "cost_usd": reply.cost_usd if reply else None,
        "seconds": reply.seconds if reply else None,
    }


def _finite(margin: float | None) -> float | None:
    """A lone worker's margin is infinite, which JSON has no number for."""
    return float(margin) if margin is not None and math.isfinite(margin) else None
