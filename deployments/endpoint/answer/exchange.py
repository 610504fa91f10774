"""One request from its values to its answer: who may be asked, who is asked, what came back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from deployments.endpoint.answer.abilities import ALLOWED
from deployments.endpoint.answer.champions import Seat
from deployments.endpoint.parts import Parts
from deployments.endpoint.wire.request import ChatRequest
from deployments.endpoint.wire.response import FUGU, PIECE, TRINITY
from models.errors import NoWorkerAllowed
from models.fugu.loop import LoopOptions, Turn
from models.fugu.roles import Role
from models.fugu.rollout import answer
from models.ledger.outage import PATIENCE_S, when_back
from models.workers.ask import Ask, Message, Reply, Sampling, Usage, total

Emit = Callable[[dict[str, Any]], Awaitable[None]]
"""Takes one delta of a streamed answer; waits while the client is slow."""

SHARED_SAMPLING = ("temperature", "top_p", "seed", "reasoning_effort")
"""What reaches a THINKER and a VERIFIER too; limits and formats are meant for the answer, a SOLVER's."""


@dataclass(frozen=True)
class Step:
    """One ask of a request. `role` and `margin` are `None` where no router decided them."""

    worker: str
    role: Role | None
    margin: float | None
    reply: Reply | None = None


@dataclass(frozen=True)
class Answer:
    text: str | None
    tool_calls: tuple[dict[str, Any], ...]
    finish_reason: str


class Exchange:
    """`steps` grows while the request is answered, so that an answer cut short is accounted for too."""

    def __init__(
        self, id: str, chat: ChatRequest, seat: Seat, parts: Parts, allowed: tuple[str, ...], turns: int
    ) -> None:
        self.id, self.chat, self.seat = id, chat, seat
        self.steps: list[Step] = []
        self._parts, self._allowed, self._turns = parts, allowed, turns
        self._sampling = chat.sampling()

    @property
    def usage(self) -> Usage:
        return total([step.reply.usage for step in self.steps if step.reply])

    @property
    def cost_usd(self) -> float:
        return sum(step.reply.cost_usd for step in self.steps if step.reply)

    @property
    def answering(self) -> Step | None:
        """Whose words the answer is, as far as is known: the last SOLVER or, without roles, the worker."""
        return next((step for step in reversed(self.steps) if step.role in (None, Role.SOLVER)), None)

    async def answer(self, emit: Emit | None = None) -> Answer:
        """The answer; with `emit`, its deltas as they come (`fugu`) or once it is accepted (`trinity`)."""
        live = emit if self.chat.model == FUGU else None
        result = await (self._worker_answers(live) if self.seat.router is None else self._router_answers(live))
        if emit is not None and live is None:
            text = result.text or ""
            for start in range(0, len(text), PIECE):
                await emit({"content": text[start : start + PIECE]})
        return result

    async def _worker_answers(self, live: Emit | None) -> Answer:
        best = self.seat.worker
        worker = best if best in self._allowed else self._allowed[0]
        assert worker is not None
        return _whole(await self._ask(Step(worker, None, None), self.chat.messages, live))

    async def _router_answers(self, live: Emit | None) -> Answer:
        router = self.seat.router
        assert router is not None
        allowed = [name for name in router.workers if name in self._allowed]
        if not allowed:
            raise NoWorkerAllowed("the router knows none of the allowed workers", ALLOWED)
        roles = router.roles and self.chat.model == TRINITY
        options = LoopOptions(turns=self._turns, roles=roles, dispatcher=router.roles)

        async def ask(turn: Turn) -> Reply:
            step = Step(turn.worker, turn.role, turn.decision.margin)
            return await self._ask(step, turn.messages, live)

        outcome = await answer(self.chat.messages, router, ask, options, allowed)
        assert self.answering is not None and self.answering.reply is not None
        reply = self.answering.reply
        if not roles:
            return _whole(reply)
        return Answer(outcome.text, (), reply.finish_reason)

    async def _ask(self, step: Step, messages: Sequence[Message], live: Emit | None) -> Reply:
        whole = step.role in (None, Role.SOLVER)
        ask = Ask(
            scope=self.id,
            worker=step.worker,
            revision=self._parts.pool.worker(step.worker).revision,
            messages=tuple(dict(message) for message in messages),
            sampling=self._sampling if whole else _shared(self._sampling),
            # No replicate: a turn that says the same to the same worker again is answered by the ledger, unpaid, as in
            # the rollouts that the router was learned and judged by.
        )
        paid = any(earlier.reply for earlier in self.steps)
        self.steps.append(step)
        if live is not None:
            reply = await self._stream(ask, live)
        else:  # once something is paid for, a ledger that is away is waited for
            reply = await when_back(lambda: self._parts.dispatcher.ask(ask), PATIENCE_S if paid else 0.0)
        self.steps[-1] = Step(step.worker, step.role, step.margin, reply)
        return reply

    async def _stream(self, ask: Ask, live: Emit) -> Reply:
        reply: Reply | None = None
        # Closed at once, not by the garbage collector, when this task is cancelled between two chunks.
        async with aclosing(self._parts.dispatcher.stream(ask)) as chunks:
            async for chunk in chunks:
                if chunk.text:
                    await live({"content": chunk.text})
                if chunk.tool_calls:
                    await live({"tool_calls": list(chunk.tool_calls)})
                reply = chunk.reply or reply
        assert reply is not None, "a stream ends with its reply"
        return reply


def _whole(reply: Reply) -> Answer:
    return Answer(reply.text, reply.tool_calls, reply.finish_reason)


def _shared(sampling: Sampling) -> Sampling:
    return Sampling(**{name: getattr(sampling, name) for name in SHARED_SAMPLING})
