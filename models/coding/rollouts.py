"""The second source of terminal reward: a coding agent works on a repository and uses the router under test.

A rollout runs an agent on a copy of a task's repository, in a workshop whose only network is an endpoint served by the
candidate's router; when the agent has ended, the verifying command gives 1 or 0. Common random numbers are used as with
questions: a call's seed is a function of (task, repeat, call), the policy's noise of (task, repeat, decision). Rollouts
are cached by the router's choices, so that candidates with the same choices share one.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, aclosing, contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from socket import socket
from typing import Protocol

import numpy as np

from models.coding.agent import Agent
from models.errors import FuguError, LimitReached, NoWorkerAllowed, UpstreamRefused, UpstreamTimeout
from models.fugu import transcript
from models.fugu.decision import Decision
from models.fugu.learn.fitness import RolloutScore
from models.fugu.learn.objective import Spent
from models.fugu.rollout import Decider
from models.grading import command
from models.grading.repository import RepositoryTask
from models.isolation import workshop
from models.ledger.accounts import Allowance
from models.workers.ask import Ask, Message, Reply, seed_for
from models.workers.client import Chunk

OUT_OF_TIME = "out of time"
"""As in `models.isolation.workshop.CommandResult.ended`."""

MAX_DECISIONS = 256  # of one rollout: an agent that needs more is stuck, and gets errors from then on


class Asking(Protocol):
    """The part of a dispatcher that the calls of rollouts are sent through."""

    async def ask(self, ask: Ask) -> Reply: ...

    def stream(self, ask: Ask) -> AsyncGenerator[Chunk]: ...


Serve = Callable[[socket, Decider, "Calls", str], AbstractAsyncContextManager[None]]
"""(listening socket, decider, its calls, model name) -> an OpenAI-compatible endpoint while the context is open."""

Names = tuple[str, ...] | None
"""Names of the allowed workers; `None`: all."""

Choose = Callable[[str, Names, int], Decision]
"""(text that the router reads, allowed workers, number of the decision from 0) -> the router's choice."""

Choice = tuple[int, int]
"""A worker's index, and a role's id (0 where roles do not count)."""


@dataclass(frozen=True)
class TaskSlot:
    """A task rolled out for the `repeat`-th time."""

    task: RepositoryTask
    repeat: int


@dataclass(frozen=True)
class RolloutEnd:
    """`turns`: the choices; `calls`: number of asks; `detail`: of the verdict; `agent`: how it ended, and its end."""

    reward: float
    turns: tuple[Choice, ...]
    calls: int
    cost_usd: float
    detail: str
    agent: str
    in_roles: bool

    @property
    def score(self) -> RolloutScore:
        roles = tuple(role for _, role in self.turns) if self.in_roles else ()
        return RolloutScore(self.reward, tuple(worker for worker, _ in self.turns), self.cost_usd, roles)


@dataclass
class Node:
    """A pending decision: the text that is read, the allowed workers, and where each choice led."""

    text: str
    allowed: Names
    led: dict[Choice, Node | RolloutEnd] = field(default_factory=dict)


class Player:
    """A policy as the endpoint's router in one rollout; it records its decisions. Threads may share it.

    `roles`: whether it was trained with role rows; `in_roles`: whether they are used, as in the model `trinity`.
    """

    def __init__(
        self, workers: tuple[str, ...], choose: Choose, *, roles: bool = False, in_roles: bool = False
    ) -> None:
        self.workers, self.roles, self.in_roles, self._choose = workers, roles, in_roles, choose
        self.released: str | None = None  # as the router's
        self.made: list[tuple[Node, Choice]] = []
        self._turn = threading.Lock()

    async def decide(self, messages: Sequence[Message], allowed: Sequence[str] | None = None) -> Decision:
        """The policy's choice, in a thread. Raises LimitReached after `MAX_DECISIONS`."""
        return await asyncio.to_thread(self._decide, messages, None if allowed is None else tuple(allowed))

    def _decide(self, messages: Sequence[Message], names: Names) -> Decision:
        with self._turn:
            if len(self.made) == MAX_DECISIONS:
                raise LimitReached(f"a rollout has {MAX_DECISIONS} decisions", "max_calls")
            text = transcript.text(messages)
            decision = self._choose(text, names, len(self.made))
            self.made.append((Node(text, names), self._counted(decision)))
        return decision

    def again(self, node: Node) -> Choice:
        """The choice at a known decision; it counts as a decision of this rollout."""
        choice = self._counted(self._choose(node.text, node.allowed, len(self.made)))
        self.made.append((node, choice))
        return choice

    def _counted(self, decision: Decision) -> Choice:
        role = decision.role if self.in_roles else None
        return decision.worker_index, int(role) if role is not None else 0


class Calls:
    """A rollout's asks, sent under the rollout's scope, replicate and seeds: what the endpoint has for a dispatcher.

    `outage`: the first failure that is not a refusal of the request; then the rollout is no sample. `unanswered_s`:
    seconds that the agent has waited in vain since the last answer. No `allowance`: the flow's budget pays.
    """

    def __init__(self, through: Asking, slot: TaskSlot, scope: str) -> None:
        self._through, self._slot, self._scope = through, slot, scope
        self.number, self.usd = 0, 0.0
        self.outage: FuguError | None = None
        self.unanswered_s = 0.0

    async def ask(self, ask: Ask, allowance: object = None) -> Reply:
        with self._noted():
            reply = await self._through.ask(self._own(ask))
        self.usd += reply.cost_usd
        return reply

    async def askable(self, names: Sequence[str], patience_s: float = 0.0) -> tuple[str, ...]:
        return tuple(names)  # the choices are those of the router that is tried, whatever becomes of them

    def together(self, asks: Sequence[Ask], allowance: Allowance | None) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    async def stream(self, ask: Ask, allowance: object = None) -> AsyncGenerator[Chunk]:
        last: Chunk | None = None
        with self._noted():
            async with aclosing(self._through.stream(self._own(ask))) as chunks:
                async for chunk in chunks:
                    if chunk.reply is None:
                        yield chunk
                    else:
                        last = chunk
        if last is not None and last.reply is not None:
            self.usd += last.reply.cost_usd
            yield last  # outside: a consumer that closes here has the whole reply

    def _own(self, ask: Ask) -> Ask:
        seed = seed_for(f"{self._slot.task.id}/{self.number}", self._slot.repeat)
        self.number += 1
        sampling = ask.sampling.model_copy(update={"seed": seed})
        replicate = self._slot.repeat + ask.replicate  # the loop's own where it asks the same again
        update = {"scope": self._scope, "replicate": replicate, "sampling": sampling}
        return ask.model_copy(update=update)

    @contextmanager
    def _noted(self) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
            self.unanswered_s = 0.0
        except FuguError as error:
            refused = isinstance(error, UpstreamRefused) and error.of_the_request
            if not refused and self.outage is None:
                self.outage = error
            raise
        except (asyncio.CancelledError, GeneratorExit):
            self.unanswered_s += time.monotonic() - began
            raise


@dataclass(frozen=True)
class Bench:
    """What all rollouts share. `model`: the model name that the agent uses; `hides`: folders of its tasks."""

    agent: Agent
    serve: Serve
    asking: Asking
    scope: str
    model: str = "fugu"
    hides: tuple[Path, ...] = ()


async def roll_out(bench: Bench, slot: TaskSlot, player: Player) -> RolloutEnd:
    """Run the agent, then the verifying command. Raises IsolationUnavailable, and a worker's outage.

    It is also an outage if the agent ran out of time after waiting in vain, since the last answer, for at least half of
    it. An agent that used up its time by itself, or in calls that were answered, has failed.
    """
    agent, task, calls = bench.agent, slot.task, Calls(bench.asking, slot, bench.scope)
    files = {path: text.encode() for path, text in task.options.files.items()}
    with ExitStack() as stack:
        opening = workshop.opened(agent.limits(), reads=agent.paths(), hides=bench.hides, port=True)
        shop = await asyncio.to_thread(stack.enter_context, opening)
        assert shop.listening is not None
        commands = [agent.at_work(task, bench.model)]
        async with bench.serve(shop.listening, player, calls, bench.model):
            environment, home = agent.environment(bench.model), agent.at_home(bench.model)
            worked = await asyncio.to_thread(shop.work, files, commands, environment, home)
    if calls.outage is not None:
        raise calls.outage
    if worked.runs[0].ended == OUT_OF_TIME and calls.unanswered_s >= agent.limits().wall_s / 2:
        raise UpstreamTimeout(f"task {task.id!r}: the agent's time was over before a worker answered", maybe_paid=True)
    verdict = await asyncio.to_thread(command.judge, task.options, worked.files, bench.hides)
    said = f"{worked.runs[0].ended}: {worked.runs[0].text.strip()[-500:]}"
    turns = tuple(choice for _, choice in player.made)
    return RolloutEnd(verdict.score, turns, calls.number, calls.usd, verdict.detail, said, player.in_roles)


class Rollouts:
    """The rollouts of fixed slots, cached by the choices that led to them."""

    def __init__(self, bench: Bench, slots: Sequence[TaskSlot], at_once: int = 2) -> None:
        self.bench, self.slots = bench, list(slots)
        self.spent = Spent()
        self._starts: dict[int, Node | RolloutEnd] = {}
        self._one_by_one = [asyncio.Lock() for _ in self.slots]  # equal choices wait, then use the first's rollout
        self._turn = asyncio.Semaphore(at_once)

    async def ends(self, players: Callable[[int], Player], indices: Sequence[int]) -> list[RolloutEnd]:
        """The ends of these slots under a policy. `players`: slot's index -> the policy, for one use."""
        return list(await asyncio.gather(*(self._end(players, index) for index in indices)))

    async def _end(self, players: Callable[[int], Player], index: int) -> RolloutEnd:
        async with self._one_by_one[index], self._turn:
            ended = await asyncio.to_thread(self._known, players(index), index)
            if ended is None:
                player = players(index)
                ended = await roll_out(self.bench, self.slots[index], player)
                self._keep(index, player, ended)
                self.spent.asks, self.spent.usd = self.spent.asks + ended.calls, self.spent.usd + ended.cost_usd
            self.spent.turns += len(ended.turns)
            return ended

    def _known(self, player: Player, index: int) -> RolloutEnd | None:
        """The end to which the policy's choices lead, if it is known."""
        at = self._starts.get(index)
        while isinstance(at, Node):
            at = at.led.get(player.again(at))
        return at

    def _keep(self, index: int, player: Player, ended: RolloutEnd) -> None:
        """Add a rollout to the cache; where an agent asked something else than before, the new one counts."""
        path = player.made
        if not path:
            self._starts[index] = ended
            return
        at = self._starts.get(index)
        if not isinstance(at, Node) or not _same(at, path[0][0]):
            at = self._starts[index] = path[0][0]
        for (_, choice), (node, _) in pairwise(path):
            following = at.led.get(choice)
            if not isinstance(following, Node) or not _same(following, node):
                following = at.led[choice] = node
            at = following
        at.led[path[-1][1]] = ended


def _same(first: Node, second: Node) -> bool:
    return (first.text, first.allowed) == (second.text, second.allowed)


def constant(workers: tuple[str, ...], worker: str) -> Callable[[int], Player]:
    """The policy that always asks one worker, without roles."""
    index, logits = workers.index(worker), np.zeros(len(workers), np.float32)

    def choose(text: str, allowed: Names, number: int) -> Decision:
        if allowed is not None and worker not in allowed:
            raise NoWorkerAllowed(f"{worker!r} does not support the agent's request")
        return Decision(worker, index, None, logits, None, 0.0, 0.0)

    return lambda slot: Player(workers, choose)
