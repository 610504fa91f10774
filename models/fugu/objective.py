"""What a router's vector is worth: `Objective.scores` rolls it out over fixed slots, a slot being a (question,
repeat). Common random numbers reach everything: the worker's seed is a function of the slot, and so is the
Gumbel noise by which the policy samples in training (argmax(logits + Gumbel) samples the softmax), so that two
candidates differ by their vectors alone.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.errors import FuguError, UpstreamRefused
from models.fugu.fitness import RolloutScore
from models.fugu.loop import LoopOptions, Outcome, Turn
from models.fugu.rollout import Decide, first_transcript, run_loops
from models.fugu.router import Decision, Router
from models.grading.grade import grade
from models.grading.question import Question
from models.workers.ask import Ask, Message, Reply, Sampling, seed_for
from models.workers.pool import Pool

Send = Callable[[Sequence[Ask]], Awaitable[Sequence[Reply | FuguError]]]


@dataclass(frozen=True)
class Slot:
    """A question asked for the `repeat`-th time."""

    question: Question
    repeat: int


def gumbel(slots: Sequence[Slot], turns: int, width: int, seed: int) -> NDArray[np.float32]:
    """Noise [slots, turns, logits], each row a function of (seed, question, repeat) alone."""
    rows = []
    for slot in slots:
        name = f"{seed}#{slot.question.id}#{slot.repeat}".encode()
        generator = np.random.default_rng(int.from_bytes(hashlib.sha256(name).digest()[:8]))
        rows.append(generator.gumbel(size=(turns, width)))
    return np.asarray(rows, dtype=np.float32).reshape(len(rows), turns, width)


class Objective:
    """The end-to-end reward of a router's vector over fixed slots, through real (memoised) worker calls."""

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
    ) -> None:
        self.router, self.pool, self.slots, self.options = router, pool, list(slots), options
        self._send, self._scope, self._policy_seed = send, scope, policy_seed
        self._grades: dict[tuple[str, str], float] = {}

    async def scores(self, vector: NDArray[np.floating], *, sample: bool) -> list[RolloutScore]:
        """One score per slot. `sample`: the policy samples (training), else it takes the argmax (serving)."""
        return await self.scores_of(self.policy(vector, sample=sample))

    async def scores_of(self, decide: Decide) -> list[RolloutScore]:
        """One score per slot, under any policy."""
        outcomes, costs = await self.outcomes(decide)
        grades = await asyncio.to_thread(self._grades_of, [outcome.text for outcome in outcomes])
        return [
            RolloutScore(score, tuple(turn.worker_index for turn in outcome.turns), cost)
            for score, outcome, cost in zip(grades, outcomes, costs, strict=True)
        ]

    def policy(self, vector: NDArray[np.floating], *, sample: bool) -> Decide:
        """The router's decisions under `vector`, with the slots' own noise where it samples."""
        noise = gumbel(self.slots, self.options.turns, self.router.logit_count, self._policy_seed) if sample else None
        # A THINKER's or VERIFIER's turn leaves the router's text as it was: its logits are those of the turn before.
        memo: dict[str, NDArray[np.float32]] = {}

        def decide(transcripts: list[Sequence[Message]], which: NDArray[np.intp], turn: int) -> list[Decision]:
            rows = None if noise is None else noise[which, turn]
            return self.router.decide_many(transcripts, noise=rows, vector=vector, memo=memo)

        return decide

    async def outcomes(self, decide: Decide) -> tuple[list[Outcome], list[float]]:
        """The loops' outcomes, and what each cost in USD."""
        costs = [0.0] * len(self.slots)

        async def send(asked: list[tuple[int, Turn]]) -> list[Reply]:
            replies = []
            for (i, _), reply in zip(asked, await self._send([self._ask(i, t) for i, t in asked]), strict=True):
                if isinstance(reply, UpstreamRefused) and reply.of_the_request:
                    reply = Reply(worker="", revision="", text="")  # as in use: this worker has no answer to it
                if not isinstance(reply, Reply):
                    raise reply  # a worker's outage is no sample: the whole score is tried again
                costs[i] += reply.cost_usd
                replies.append(reply)
            return replies

        conversations = [slot.question.messages for slot in self.slots]
        return await run_loops(conversations, len(self.pool.workers), self.options, decide, send), costs

    def first_transcript(self, slot: Slot) -> Sequence[Message]:
        """What the router reads of a slot before the first turn."""
        return first_transcript(slot.question.messages, len(self.pool.workers), self.options)

    def _ask(self, index: int, turn: Turn) -> Ask:
        slot, worker = self.slots[index], self.pool.workers[turn.worker_index]
        return Ask(
            scope=self._scope,
            worker=worker.name,
            revision=worker.revision,
            messages=tuple(turn.messages),
            sampling=Sampling(seed=seed_for(slot.question.id, slot.repeat)),
            replicate=slot.repeat,
        )

    def _grades_of(self, texts: Sequence[str]) -> list[float]:
        """The slots' grades; in a thread, because a grader may run code in a sandbox."""
        return [self._grade(slot, text) for slot, text in zip(self.slots, texts, strict=True)]

    def _grade(self, slot: Slot, text: str) -> float:
        key = (slot.question.id, text)
        if key not in self._grades:
            self._grades[key] = grade(slot.question, text).score
        return self._grades[key]
