"""The asks of one request to `fugu` or `trinity`: whom, in which order, in which format, for how many answers."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from deployments.endpoint.access.money import allowance_of, is_too_dear
from deployments.endpoint.answer.question import Question
from deployments.endpoint.answer.result import Calls, Emit, Result, Text, Thought
from deployments.endpoint.parts import Parts
from models.errors import BudgetExceeded, FuguError, LimitReached, Unfit, another_may_answer
from models.fugu.roles import Role
from models.ledger.outage import PATIENCE_S, when_back
from models.workers.ask import Ask, Message, Reply, Sampling, Usage, total
from models.workers.fitting.fit import fit, has_mode
from models.workers.fitting.formats import repaired, settled
from models.workers.usage import worst_usd

SHARED_SAMPLING = ("temperature", "top_p", "seed", "reasoning_effort")
"""What reaches a THINKER and a VERIFIER too; limits and formats are meant for the answer, a SOLVER's."""


@dataclass(frozen=True)
class Step:
    """One ask of a request. `role` and `margin` are `None` where no router decided them; `repeat` is that of `Turn`.

    `error`: why it failed. `kept`: the worker had the conversation, and the router did not clearly prefer another.
    `choice`: which of several answers it is for.
    """

    worker: str
    role: Role | None
    margin: float | None
    repeat: int = 0
    reply: Reply | None = None
    error: str | None = None
    kept: bool = False
    choice: int = 0

    @property
    def title(self) -> str:
        """Who has the turn, for a person."""
        return f"{self.role.name.capitalize() if self.role is not None else 'Worker'} ({self.worker}): "


class Asking:
    """`steps` grows while the request is answered. `begun`: whether something of the answer has been streamed.

    `allowed`: the workers that may be asked. `shows`: whether the turns are shown, to `emit` as they are done;
    `reasons`: whether the answering worker's visible reasoning is. `shown` keeps both.
    """

    def __init__(
        self,
        parts: Parts,
        question: Question,
        failover: bool,
        allowed: Sequence[str],
        *,
        shows: bool = False,
        reasons: bool = False,
    ) -> None:
        self.emit: Emit | None = None
        self.shown: list[str] | None = [] if shows or reasons else None
        self._turn_by_turn = shows
        self.steps: list[Step] = []
        self.begun = False
        self._replies: dict[int, Reply] = {}  # by choice
        self._parts, self._question, self._failover, self._allowed = parts, question, failover, allowed
        self._allowance = allowance_of(question)

    @property
    def turns(self) -> int:
        """Turns of the loop: asks but those that another worker took over, that were repaired, and for more answers."""
        return sum(step.error is None and step.choice == 0 for step in self.steps) or len(self.steps[:1])

    @property
    def usage(self) -> Usage:
        return total([step.reply.usage for step in self.steps if step.reply])

    @property
    def cost_usd(self) -> float:
        return sum(step.reply.cost_usd for step in self.steps if step.reply)

    @property
    def answering(self) -> Step | None:
        """Whose reply is the answer, as far as is known: the last SOLVER's or, without roles, the worker's."""
        solvers = [step for step in self.steps if step.role in (None, Role.SOLVER) and step.choice == 0]
        # Of none that fits, the last that was paid: its repair may not have been.
        said = [step for step in solvers if step.error is None] or [step for step in solvers if step.reply] or solvers
        return said[-1] if said else None

    @property
    def notes(self) -> tuple[str, ...]:
        """How the request was fitted to the workers that were asked."""
        asked = dict.fromkeys(step.worker for step in self.steps)
        pool, sampling = self._parts.pool, self._question.sampling
        return tuple(note for name in asked for note in fit(pool.worker(name), sampling).notes)

    def result(self) -> Result:
        """All answers, by choice. To be called once they are there."""
        first, *others = [
            Result(
                reply.text,
                reply.tool_calls,
                reply.finish_reason,
                self.usage,
                logprobs=reply.logprobs,
                stopped_at=reply.stopped_at,
            )
            for _, reply in sorted(self._replies.items())
        ]
        return replace(first, others=tuple(others))

    async def in_order(
        self, step: Step, others: Sequence[str], messages: Sequence[Message], live: Emit | None
    ) -> Reply:
        """The step's worker's reply or, where it fails before anything was emitted, the next one's of the others.

        A worker that is too dear for what may be spent is replaced by the cheapest one, where the key wants that.
        """
        failed: FuguError | None = None
        left = [step.worker, *(others if self._failover else ())]
        while left:
            worker = left.pop(0)
            try:
                asked = step if worker == step.worker else replace(step, worker=worker)
                return await self._for_all(asked, messages, live)
            except FuguError as error:
                failed = failed or error
                if is_too_dear(error) and (cheap := self._cheapest(worker, messages)) is not None:
                    left = [cheap]
                elif self.begun or not another_may_answer(error):
                    raise
        assert failed is not None
        raise failed

    def _cheapest(self, instead_of: str, messages: Sequence[Message]) -> str | None:
        """The worker to ask instead of one that is too dear; `None` where the key does not want that, or it is this."""
        question, pool = self._question, self._parts.pool
        if question.caller.policy.on_exceeded != "cheapest" or self.begun:
            return None
        best = min(self._allowed, key=lambda name: worst_usd(pool.worker(name), messages, question.sampling))
        return None if best == instead_of else best

    async def _for_all(self, step: Step, messages: Sequence[Message], live: Emit | None) -> Reply:
        """The worker's reply; where several answers are wanted, all of them at once, of which the first is returned."""
        if self._question.choices == 1:
            return await self._ask(step, messages, live)
        steps = [replace(step, choice=number) for number in range(self._question.choices)]
        asks = [self._first(each, messages) for each in steps]
        async with self._parts.dispatcher.together(asks, self._allowance):
            # A failure does not cancel the others, which are paid for.
            found = await asyncio.gather(*(self._ask(each, messages, live) for each in steps), return_exceptions=True)
        for reply in found:
            if isinstance(reply, BaseException):
                raise reply
        return self._replies[0]

    async def _ask(self, step: Step, messages: Sequence[Message], live: Emit | None) -> Reply:
        """The worker's reply in the format that is asked for; where it does not fit, asked for once more.

        Raises Unfit where that does not fit either, or what may be spent leaves no room for it. What has been streamed
        cannot be asked for again.
        """
        worker, ask = self._parts.pool.worker(step.worker), self._first(step, messages)
        live = live if has_mode(worker, ask.sampling) else None  # what may have to be repaired is held back
        reply, wrong = await self._try(step, ask, live)
        if (misfit := wrong) is not None and not self.begun:
            try:
                reply, wrong = await self._try(step, repaired(ask, reply, misfit), None)
            except (BudgetExceeded, LimitReached):  # there is an answer, and it does not fit
                raise misfit from None
        if wrong is not None:
            raise wrong
        self._replies[step.choice] = reply
        return reply

    def _first(self, step: Step, messages: Sequence[Message]) -> Ask:
        """What the worker is asked before any repair."""
        wanted = self._question.sampling
        ask = Ask(
            scope=self._question.id,
            worker=step.worker,
            revision=self._parts.pool.worker(step.worker).revision,
            messages=tuple(dict(message) for message in messages),
            sampling=wanted if step.role in (None, Role.SOLVER) else _shared(wanted),
        )
        # A repeat is as in the rollouts that the router was learned and judged by.
        return ask.again(step.repeat).sample(step.choice)

    async def _try(self, step: Step, ask: Ask, live: Emit | None) -> tuple[Reply, Unfit | None]:
        """Ask once, as a step; the reply, and what is wrong with its format."""
        paid, place = any(earlier.reply for earlier in self.steps), len(self.steps)
        self.steps.append(step)
        try:
            if live is not None:
                reply = await self._stream(ask, live, step.choice)
            else:  # once something is paid for, a ledger that is away is waited for
                asking = partial(self._parts.dispatcher.ask, ask, self._allowance)
                way = partial(self._heard, ask, step.title) if self._turn_by_turn else asking
                reply = await when_back(way, PATIENCE_S if paid else 0.0)
                if not self._turn_by_turn and step.choice == 0:
                    await self.show(reply.thoughts or "")
        except FuguError as error:
            self.steps[place] = replace(step, error=type(error).__name__)
            raise
        self.steps[place] = replace(step, reply=reply)
        try:
            return settled(reply, ask.sampling), None
        except Unfit as error:
            self.steps[place] = replace(step, reply=reply, error=type(error).__name__)
            return reply, error

    async def show(self, text: str) -> None:
        """Show a piece of the work, where that is wanted."""
        if self.shown is None or not text:
            return
        self.shown.append(text)
        if self.emit is not None:
            await self.emit(Thought(text))

    async def _heard(self, ask: Ask, title: str) -> Reply:
        """The reply of a turn, whose words are shown as they come."""
        reply: Reply | None = None
        await self.show(title)
        async with aclosing(self._parts.dispatcher.stream(ask, self._allowance)) as chunks:
            async for chunk in chunks:
                await self.show(chunk.thoughts + chunk.text)
                reply = chunk.reply or reply
        await self.show("\n\n")
        assert reply is not None, "a stream ends with its reply"
        return reply

    async def _stream(self, ask: Ask, live: Emit, choice: int) -> Reply:
        reply: Reply | None = None
        # Closed immediately, not by the garbage collector, when this task is cancelled between two chunks.
        async with aclosing(self._parts.dispatcher.stream(ask, self._allowance)) as chunks:
            async for chunk in chunks:
                self.begun |= chunk.answers
                if choice == 0:
                    await self.show(chunk.thoughts)
                if chunk.text or chunk.logprobs:
                    await live(Text(chunk.text, choice, chunk.logprobs))
                if chunk.tool_calls:
                    await live(Calls(tuple(chunk.tool_calls), choice))
                reply = chunk.reply or reply
        assert reply is not None, "a stream ends with its reply"
        return reply


def _shared(sampling: Sampling) -> Sampling:
    return Sampling(**{name: getattr(sampling, name) for name in SHARED_SAMPLING})


def traced(step: Step) -> dict[str, Any]:
    reply = step.reply
    return {
        "worker": step.worker,
        "role": step.role.name if step.role is not None else None,
        "margin": finite(step.margin),
        "kept": step.kept,
        "error": step.error,
        "call_id": reply.call_id if reply else None,
        "prompt_tokens": reply.usage.prompt_tokens if reply else None,
        "completion_tokens": reply.usage.completion_tokens if reply else None,
        "estimated": reply.usage.estimated if reply else None,
        "cost_usd": reply.cost_usd if reply else None,
        "seconds": reply.seconds if reply else None,
    }


def finite(margin: float | None) -> float | None:
    """A lone worker's margin is infinite, which JSON has no number for."""
    return float(margin) if margin is not None and math.isfinite(margin) else None
