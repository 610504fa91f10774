"""The end-to-end objective of a router's vector: `Objective.scores` rolls it out over fixed slots (question, repeat).

Common random numbers are used throughout: the worker's seed is a function of the slot, and so is the Gumbel noise by
which the policy samples in training (argmax(logits + T · Gumbel) samples softmax(logits / T)), so that two candidates
differ by their vectors alone. Candidates with the same choices share one rollout (models/fugu/learn/tree.py).
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from models.errors import FuguError, UpstreamRefused
from models.fugu.forward.batches import MEMO_BYTES
from models.fugu.learn.fitness import RolloutScore
from models.fugu.learn.tree import Choices, Choose, End, Indices, Tree
from models.fugu.loop import LoopOptions, Turn
from models.fugu.microbatch import MicroBatcher
from models.fugu.rollout import first_transcript
from models.fugu.router import Router
from models.grading.grade import grade
from models.grading.question import Question
from models.workers.ask import Ask, Message, Reply, Sampling, seed_for
from models.workers.pool import Pool

Send = Callable[[Sequence[Ask]], Awaitable[Sequence[Reply | FuguError]]]

ALL = slice(None)


@dataclass(frozen=True)
class Slot:
    """A question asked for the `repeat`-th time."""

    question: Question
    repeat: int


@dataclass
class Spent:
    """Totals of all rollouts: `turns` taken, `asks` sent (the other turns were cached), and the asks' cost in USD."""

    turns: int = 0
    asks: int = 0
    usd: float = 0.0

    def __sub__(self, other: Spent) -> Spent:
        return Spent(self.turns - other.turns, self.asks - other.asks, self.usd - other.usd)


def gumbel(slots: Sequence[Slot], turns: int, width: int, seed: int) -> NDArray[np.float32]:
    """Noise [slots, turns, logits], each row a function of (seed, question, repeat) alone."""
    rows = []
    for slot in slots:
        name = f"{seed}#{slot.question.id}#{slot.repeat}".encode()
        generator = np.random.default_rng(int.from_bytes(hashlib.sha256(name).digest()[:8]))
        rows.append(generator.gumbel(size=(turns, width)))
    return np.asarray(rows, dtype=np.float32).reshape(len(rows), turns, width)


def offered(slots: Sequence[Slot], turns: int, workers: int, share: float, seed: int) -> NDArray[np.bool_]:
    """Which workers each turn may choose, [slots, turns, workers]: with probability `share` a random k of them, two at
    least where there are two and fewer than all, else all. Each row a function of (seed, question, repeat, turn) alone,
    so that every candidate meets the same. Source: the random pools of Conductor (arXiv 2512.04388), for a router."""
    masks = np.ones((len(slots), turns, workers), np.bool_)
    if workers < 2:
        return masks
    for place, slot in enumerate(slots):
        for turn in range(turns):
            name = f"offered/{seed}#{slot.question.id}#{slot.repeat}#{turn}".encode()
            generator = np.random.default_rng(int.from_bytes(hashlib.sha256(name).digest()[:8]))
            if generator.random() < share:
                count = int(generator.integers(min(2, workers - 1), workers))
                masks[place, turn] = np.isin(np.arange(workers), generator.permutation(workers)[:count])
    return masks


class Rows:
    """Rows of an array by index, each computed at its first use.

    Rows with the lowest indices are kept, up to `limit` bytes: texts are numbered in order of appearance, and every
    candidate reads the first ones. All others are computed at each use.
    """

    def __init__(self, width: int, compute: Callable[[Indices], NDArray[np.float32]], limit: int = sys.maxsize) -> None:
        self._compute, self._most = compute, limit // (width * np.dtype(np.float32).itemsize)
        self._rows, self._known = np.zeros((0, width), np.float32), np.zeros(0, np.bool_)

    @property
    def nbytes(self) -> int:
        """Bytes of the kept rows and of space reserved for more."""
        return self._rows.nbytes

    def of(self, ids: Indices) -> NDArray[np.float32]:
        """The rows [len(ids), width]."""
        if (size := min(int(ids.max(initial=-1)) + 1, self._most)) > len(self._known):
            self._grow(int(min(max(size, 2 * len(self._known)), self._most)))
        wanted, place = np.unique(ids, return_inverse=True)
        kept = wanted[wanted < len(self._known)]
        known = np.zeros(len(wanted), np.bool_)
        known[: len(kept)] = self._known[kept]  # `wanted` ascends: rows that may be kept come first
        rows = np.empty((len(wanted), self._rows.shape[1]), np.float32)
        rows[known] = self._rows[wanted[known]]
        if not known.all():
            rows[~known] = self._compute(wanted[~known])
            self._rows[kept], self._known[kept] = rows[: len(kept)], True
        return rows[place]

    def _grow(self, size: int) -> None:
        more = size - len(self._known)
        self._rows, self._known = np.pad(self._rows, ((0, more), (0, 0))), np.pad(self._known, (0, more))


class Objective:
    """The end-to-end reward of a router's vector over fixed slots, through real (memoised) worker calls.

    Candidates scored concurrently share forwards, each text under its own candidate's scales. `memo_bytes`: limit of
    the hidden states kept for candidates that change only the head. `random_pools`: the share of turns that may choose
    among some of the workers only (`offered`).
    """

    def __init__(
        self,
        router: Router,
        pool: Pool,
        slots: Sequence[Slot],
        send: Send,
        *,
        scope: str,
        options: LoopOptions,
        policy_seed: int = 42,
        memo_bytes: int = MEMO_BYTES,
        random_pools: float = 0.0,
    ) -> None:
        self.router, self.pool, self.slots, self.options = router, pool, list(slots), options
        self.spent = Spent()
        self.scope, self._send, self._policy_seed, self._random_pools = scope, send, policy_seed, random_pools
        self._tree = Tree([slot.question.messages for slot in self.slots], pool.names, options)
        self._replies: dict[str, Reply] = {}
        self._grades: dict[tuple[str, str], float] = {}
        self._start = router.candidate(router.vector)
        self._states = Rows(
            router.backbone.width, lambda ids: router.states(self._texts_of(ids), self._start), memo_bytes
        )
        self._reading = threading.Lock()
        self._forwards = MicroBatcher(router)

    async def scores(
        self, vector: NDArray[np.floating], *, temperature: float, part: slice = ALL
    ) -> list[RolloutScore]:
        """One score per slot of the part. `temperature`: of the policy's sampling; 0 is the argmax, as in serving."""
        return await self.scores_of(self.policy(vector, temperature), part)

    async def scores_of(self, choose: Choose, part: slice = ALL) -> list[RolloutScore]:
        """One score per slot of the part, under any policy."""
        slots = np.arange(len(self.slots))[part]
        ends = await self._tree.walk(slots, choose, self._replied)
        reached = [self._tree.ends[end] for end in ends]
        self.spent.turns += sum(len(end.workers) for end in reached)
        rewards = await asyncio.to_thread(self._rewards, reached)
        return [
            RolloutScore(reward, end.workers, end.cost_usd, end.roles)
            for reward, end in zip(rewards, reached, strict=True)
        ]

    def policy(self, vector: NDArray[np.floating], temperature: float) -> Choose:
        """The router's choices under `vector`, sampled with each slot's own noise if `temperature` is not 0."""
        workers, logits_of = len(self.router.workers), self._logits_of(vector)
        known = Rows(self.router.logit_count, logits_of)

        def choose(states: Indices, slots: Indices, turn: int) -> Choices:
            logits = known.of(self._tree.text_ids(states))
            if temperature:
                logits = logits + temperature * self._noise[slots, turn]
            roles = logits[:, workers:].argmax(axis=1) if self.router.roles else None
            own = logits[:, :workers]
            if self._random_pools:
                own = np.where(self._offered[slots, turn], own, -np.inf)
            return Choices(own.argmax(axis=1), roles)

        return choose

    def _logits_of(self, vector: NDArray[np.floating]) -> Callable[[Indices], NDArray[np.float32]]:
        """A function from indices of texts to their logits under `vector`.

        Hidden states under the router's own offsets are kept: candidates that change only the head share them.
        """
        candidate = self.router.candidate(vector)
        if candidate.offsets != self._start.offsets:
            return lambda ids: self._forwards.submit(self._texts_of(ids), candidate).result()

        def logits(ids: Indices) -> NDArray[np.float32]:
            with self._reading:
                states = self._states.of(ids)
            with torch.no_grad():
                return candidate.head(torch.from_numpy(states).to(self.router.backbone.device)).cpu().numpy()

        return logits

    def _texts_of(self, ids: Indices) -> list[str]:
        return [self._tree.texts[i] for i in ids]

    async def met(self, vector: NDArray[np.floating], *, temperature: float, part: slice = ALL) -> list[str]:
        """The texts that the router reads in the rollouts of the part, each once."""
        policy, read = self.policy(vector, temperature), dict[str, None]()

        def choose(states: Indices, slots: Indices, turn: int) -> Choices:
            read.update(dict.fromkeys(self.texts(states)))
            return policy(states, slots, turn)

        await self.scores_of(choose, part)
        return list(read)

    def texts(self, states: Indices) -> list[str]:
        """The text that the router reads in each of the tree's states."""
        return self._texts_of(self._tree.text_ids(states))

    def first_transcript(self, slot: Slot) -> Sequence[Message]:
        """The messages that the router reads before a slot's first turn."""
        return first_transcript(slot.question.messages, len(self.pool.workers), self.options)

    @cached_property
    def _noise(self) -> NDArray[np.float32]:
        return gumbel(self.slots, self.options.turns, self.router.logit_count, self._policy_seed)

    @cached_property
    def _offered(self) -> NDArray[np.bool_]:
        workers = len(self.router.workers)
        return offered(self.slots, self.options.turns, workers, self._random_pools, self._policy_seed)

    async def _replied(self, turns: list[tuple[int, Turn]]) -> list[Reply]:
        """The replies to (slot, turn) pairs; an ask that was sent once is not sent again."""
        asks = [self._ask(slot, turn) for slot, turn in turns]
        new = {ask.identity: ask for ask in asks if ask.identity not in self._replies}
        for identity, reply in zip(new, await self._send(list(new.values())) if new else (), strict=True):
            if isinstance(reply, UpstreamRefused) and reply.of_the_request:
                reply = Reply(worker="", revision="", text="")  # as in serving: the worker has no answer
            if not isinstance(reply, Reply):
                raise reply  # an outage is no sample: the caller retries the whole score
            if identity not in self._replies:
                self._replies[identity] = reply
                self.spent.asks, self.spent.usd = self.spent.asks + 1, self.spent.usd + reply.cost_usd
        return [self._replies[ask.identity] for ask in asks]

    def _ask(self, index: int, turn: Turn) -> Ask:
        slot, worker = self.slots[index], self.pool.workers[turn.worker_index]
        first = Ask(
            scope=self.scope,
            worker=worker.name,
            revision=worker.revision,
            messages=tuple(turn.messages),
            sampling=Sampling(seed=seed_for(slot.question.id, slot.repeat)),
            replicate=slot.repeat,
        )
        return first.again(turn.repeat)

    def _rewards(self, ends: Sequence[End]) -> list[float]:
        """The rollouts' grades; called in a thread, because a grader may run code in a sandbox."""
        return [self._reward(self.slots[end.slot].question, end.text) for end in ends]

    def _reward(self, question: Question, text: str) -> float:
        key = (question.id, text)
        if key not in self._grades:
            self._grades[key] = grade(question, text).score
        return self._grades[key]
