"""One live conversation through the loop: decisions share forwards with other conversations, asks are sent here.

models/fugu/learn/tree.py runs many conversations in lockstep and caches their rollouts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from models.fugu.loop import LoopOptions, Observe, Outcome, Turn, loop
from models.workers.ask import Message, Reply

if TYPE_CHECKING:
    from models.fugu.decision import Decision


class Reading(Protocol):
    """What a router chooses and reads; `Router` and all that decide by one have these."""

    @property
    def workers(self) -> tuple[str, ...]: ...

    @property
    def roles(self) -> bool: ...

    @property
    def released(self) -> str | None: ...


class Decider(Reading, Protocol):
    """Makes the decisions: `models.fugu.microbatch.MicroBatcher` over a router, in shared forwards."""

    async def decide(self, messages: Sequence[Message], allowed: Sequence[str] | None = None) -> Decision:
        """The best allowed worker, and its role."""
        ...


def first_transcript(conversation: Sequence[Message], worker_count: int, options: LoopOptions) -> Sequence[Message]:
    """The messages that the router reads before a conversation's first turn."""
    first = next(loop(conversation, worker_count, options))
    assert isinstance(first, Observe)
    return first.messages


def options_of(router: Reading, *, roles: bool = True, turns: int = LoopOptions.turns) -> LoopOptions:
    """The loop that a router is learned and served in. `roles`: TRINITY's, if it has role rows; else the product's."""
    used = roles and router.roles
    return LoopOptions(turns=turns, roles=used, dispatcher=router.roles, released=router.released)


def ranking_transcript(conversation: Sequence[Message], router: Reading) -> Sequence[Message]:
    """What the router reads where its logits rank the workers for one whole answer."""
    return first_transcript(conversation, len(router.workers), options_of(router, roles=False))


async def answer(
    conversation: Sequence[Message],
    decider: Decider,
    ask: Callable[[Turn], Awaitable[Reply]],
    options: LoopOptions,
    allowed: Sequence[str] | None = None,
) -> Outcome:
    """Drive one loop to its end; every decision takes the argmax over the `allowed` workers (default: all).

    An error of `ask` ends the loop and is raised here; a cancellation also cancels the pending ask.
    """
    steps = loop(conversation, len(decider.workers), options)
    try:
        event = next(steps)
        while True:
            if isinstance(event, Observe):
                event = steps.send(await decider.decide(event.messages, allowed))
            else:
                event = steps.send((await ask(event)).text or "")
    except StopIteration as end:
        return end.value
