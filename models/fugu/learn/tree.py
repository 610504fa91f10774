"""Rollout cache: a tree of states and choices that candidates share, so that no worker call is repeated.

A slot's workers are seeded by the slot, so that a rollout is a function of its choices alone. Nodes are states; a
choice leads to another state or to an end. All slots advance in lockstep, in arrays; only a choice that no candidate
made before is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.fugu import transcript
from models.fugu.loop import Loop, LoopOptions, Observe, Outcome, Turn, loop
from models.fugu.roles import Role
from models.workers.ask import Message, Reply

Indices = NDArray[np.intp]

_UNKNOWN = np.iinfo(np.intp).min
"""In `_next`: a choice not made yet. An end is stored as ~index, a state as its index."""


_CHOOSING = ThreadPoolExecutor(64, thread_name_prefix="choices")
"""Threads in which candidates wait for shared forwards; the event loop's default executor has too few."""


class Choices(NamedTuple):
    """A worker's index for each state, and a role's id if the router has roles."""

    workers: Indices
    roles: Indices | None


Choose = Callable[[Indices, Indices, int], Choices]
"""(states, their slots, turn from 0) -> choices."""

Send = Callable[[list[tuple[int, Turn]]], Awaitable[Sequence[Reply]]]
"""[(slot, turn)] -> replies."""


@dataclass(frozen=True)
class Chosen:
    """The part of a decision that the loop reads."""

    worker: str
    worker_index: int
    role: Role | None


@dataclass(frozen=True)
class State:
    """A slot's rollout before a turn: the choice and the reply that led here from `parent` (-1: the start)."""

    slot: int
    parent: int
    chosen: Chosen | None
    reply: Reply | None


@dataclass(frozen=True)
class End:
    """A finished rollout: its slot, the answer, each turn's worker and role, and the cost in USD."""

    slot: int
    text: str
    workers: tuple[int, ...]
    roles: tuple[int, ...]
    cost_usd: float


class Tree:
    """The rollouts of fixed slots. Bound to one event loop; candidates may walk it concurrently.

    `texts`: the distinct texts that the router reads in its states. `ends`: indexed by what `walk` returns.
    """

    def __init__(
        self, conversations: Sequence[Sequence[Message]], workers: Sequence[str], options: LoopOptions
    ) -> None:
        self._conversations, self._workers, self._options = list(conversations), tuple(workers), options
        self._states: list[State] = []
        self._text_of: list[int] = []
        self._places: dict[str, int] = {}
        self.texts: list[str] = []
        self._next = np.zeros((0, len(self._workers), len(Role)), np.intp)
        self._children: dict[tuple[int, int, Role | None], int] = {}
        self._exploring: dict[tuple[int, ...], asyncio.Future[None]] = {}
        self.ends: list[End] = []
        for slot in range(len(self._conversations)):
            observed = next(self._loop(slot))
            assert isinstance(observed, Observe)
            self._add(State(slot, -1, None, None), observed)

    def text_ids(self, states: Indices) -> Indices:
        """Each state's index in `texts`."""
        return np.fromiter((self._text_of[state] for state in states), np.intp, len(states))

    async def walk(self, slots: Indices, choose: Choose, send: Send) -> Indices:
        """Indices of the ends [len(slots)] that the choices lead to. `choose` runs in a thread, `send` in this loop."""
        at = np.array(slots, np.intp)  # slot i starts in state i
        active, turn, running = np.arange(len(at)), 0, asyncio.get_running_loop()
        while len(active):
            workers, roles = await running.run_in_executor(_CHOOSING, choose, at[active], slots[active], turn)
            choice = workers, np.zeros_like(workers) if roles is None else roles
            unknown = self._next[at[active], *choice] == _UNKNOWN
            if unknown.any():
                new = np.stack([at[active], *choice], axis=1)[unknown]
                await self._resolve(np.unique(new, axis=0), roles is not None, send)
            at[active] = self._next[at[active], *choice]
            active, turn = active[at[active] >= 0], turn + 1
        return ~at

    async def _resolve(self, rows: Indices, with_roles: bool, send: Send) -> None:
        """Explore the rows that no one explores yet, then wait for the others; repeat for those that failed."""
        while len(rows := rows[self._next[tuple(rows.T)] == _UNKNOWN]):
            keys = [tuple(row) for row in rows.tolist()]
            theirs = {self._exploring[key] for key in keys if key in self._exploring}
            mine = [key for key in keys if key not in self._exploring]
            if mine:
                done = asyncio.get_running_loop().create_future()
                self._exploring |= dict.fromkeys(mine, done)
                try:
                    await self._explore(np.array(mine, np.intp), with_roles, send)
                finally:
                    done.set_result(None)
                    for key in mine:
                        del self._exploring[key]
            if theirs:
                await asyncio.wait(theirs)

    async def _explore(self, rows: Indices, with_roles: bool, send: Send) -> None:
        """Find where each (state, worker, role) leads. Choices that result in the same turn are asked once."""
        turns: dict[tuple[int, int, Role | None], tuple[Loop, Turn, Chosen]] = {}
        keys = []
        for state, worker, role in rows.tolist():
            chosen = Chosen(self._workers[worker], worker, Role(role) if with_roles else None)
            steps = self._resumed(state)
            turn = steps.send(chosen)
            assert isinstance(turn, Turn)
            keys.append((state, worker, turn.role))  # the loop may have replaced the chosen role
            turns[keys[-1]] = steps, turn, chosen
        new = [key for key in turns if key not in self._children]
        replies = await send([(self._states[key[0]].slot, turns[key][1]) for key in new])
        for key, reply in zip(new, replies, strict=True):
            if key not in self._children:  # another candidate may have added it meanwhile
                steps, _, chosen = turns[key]
                self._children[key] = self._arrive(key[0], steps, chosen, reply)
        for (state, worker, role), key in zip(rows.tolist(), keys, strict=True):
            self._next[state, worker, role] = self._children[key]

    def _arrive(self, parent: int, steps: Loop, chosen: Chosen, reply: Reply) -> int:
        before = self._states[parent]
        try:
            observed = steps.send(reply.text or "")
        except StopIteration as stop:
            self.ends.append(_end(before.slot, stop.value, self._paid(parent) + reply.cost_usd))
            return ~(len(self.ends) - 1)
        assert isinstance(observed, Observe)
        return self._add(State(before.slot, parent, chosen, reply), observed)

    def _add(self, state: State, observed: Observe) -> int:
        number = len(self._states)
        if number == len(self._next):
            more = np.full((max(number, len(self._conversations)), *self._next.shape[1:]), _UNKNOWN)
            self._next = np.concatenate([self._next, more])
        self._states.append(state)
        text = transcript.text(observed.messages)
        self._text_of.append(self._places.setdefault(text, len(self.texts)))
        if self._text_of[number] == len(self.texts):
            self.texts.append(text)
        return number

    def _loop(self, slot: int) -> Loop:
        return loop(self._conversations[slot], len(self._workers), self._options)

    def _resumed(self, state: int) -> Loop:
        """The loop of a state's slot, replayed to it: a generator cannot be copied, and replaying is quick."""
        steps = self._loop(self._states[state].slot)
        next(steps)
        for earlier in self._path(state):
            steps.send(earlier.chosen)
            steps.send((earlier.reply.text or "") if earlier.reply else "")
        return steps

    def _paid(self, state: int) -> float:
        return sum(earlier.reply.cost_usd for earlier in self._path(state) if earlier.reply)

    def _path(self, state: int) -> list[State]:
        """The states from the first choice up to this one."""
        path: list[State] = []
        while (at := self._states[state]).parent >= 0:
            path.append(at)
            state = at.parent
        return path[::-1]


def _end(slot: int, outcome: Outcome, cost_usd: float) -> End:
    workers = tuple(turn.worker_index for turn in outcome.turns)
    roles = tuple(int(turn.role) for turn in outcome.turns if turn.role is not None)
    return End(slot, outcome.text, workers, roles, cost_usd)
