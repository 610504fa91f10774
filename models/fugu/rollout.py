"""Conversations through the loop: the router decides in a thread, asks are sent in this event loop.

`answer` drives one, live. `run_loops` drives many in lockstep: a turn of all is one batched forward of the router
and one batch of asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models.fugu.loop import LoopOptions, Observe, Outcome, Turn, loop
from models.workers.ask import Message, Reply

if TYPE_CHECKING:
    from models.fugu.router import Decision, Router

Decide = Callable[[list[Sequence[Message]], NDArray[np.intp], int], "list[Decision]"]
"""(transcripts, which loops they are of, turn from 0) -> decisions."""


def first_transcript(conversation: Sequence[Message], worker_count: int, options: LoopOptions) -> Sequence[Message]:
    """What the router reads of a conversation before the first turn."""
    first = next(loop(conversation, worker_count, options))
    assert isinstance(first, Observe)
    return first.messages


async def answer(
    conversation: Sequence[Message],
    router: Router,
    ask: Callable[[Turn], Awaitable[Reply]],
    options: LoopOptions,
    allowed: Sequence[str] | None = None,
) -> Outcome:
    """Drive one loop to its end; every decision takes the argmax over the `allowed` workers (default: all).

    What `ask` raises ends the loop and is raised here; a cancellation reaches the ask that is under way.
    """
    steps = loop(conversation, len(router.workers), options)
    try:
        event = next(steps)
        while True:
            if isinstance(event, Observe):
                event = steps.send(await asyncio.to_thread(router.decide, event.messages, allowed))
            else:
                event = steps.send((await ask(event)).text or "")
    except StopIteration as end:
        return end.value


async def run_loops(
    conversations: Sequence[Sequence[Message]],
    worker_count: int,
    options: LoopOptions,
    decide: Decide,
    send: Callable[[list[tuple[int, Turn]]], Awaitable[Sequence[Reply]]],
) -> list[Outcome]:
    """Drive one loop per conversation to its end. `decide` runs in a thread, `send` in this event loop."""
    loops = [loop(conversation, worker_count, options) for conversation in conversations]
    outcomes: list[Outcome | None] = [None] * len(loops)
    waiting: dict[int, Observe | Turn] = {i: next(each) for i, each in enumerate(loops)}
    turn = 0
    while waiting:
        observed = [(i, step) for i, step in waiting.items() if isinstance(step, Observe)]
        asked = [(i, step) for i, step in waiting.items() if isinstance(step, Turn)]
        answers: list[tuple[int, Decision | str]] = []
        if observed:
            which = np.array([i for i, _ in observed])
            decisions = await asyncio.to_thread(decide, [step.messages for _, step in observed], which, turn)
            answers += zip(which.tolist(), decisions, strict=True)
        if asked:
            replies = await send(asked)
            answers += [(i, reply.text or "") for (i, _), reply in zip(asked, replies, strict=True)]
            turn += 1
        waiting = {}
        for i, value in answers:
            try:
                waiting[i] = loops[i].send(value)
            except StopIteration as end:
                outcomes[i] = end.value
    return [outcome for outcome in outcomes if outcome is not None]
