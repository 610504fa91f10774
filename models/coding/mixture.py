"""Questions and repositories as one objective: the questions' slots come first, then the repositories'.

Under successive halving the first rungs hold only questions, so that only promising candidates cost agent rollouts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.coding.rollouts import MAX_DECISIONS, Names, Player, Rollouts, TaskSlot
from models.fugu.decision import Decision
from models.fugu.learn.fitness import RolloutScore
from models.fugu.learn.objective import ALL, Objective, Slot, Spent, gumbel
from models.fugu.loop import LoopOptions
from models.fugu.router import Router
from models.workers.pool import Pool

Vector = NDArray[np.floating]


class Rewarding(Protocol):
    """The interface that evolution needs of an objective; see `Objective`."""

    @property
    def pool(self) -> Pool: ...
    @property
    def options(self) -> LoopOptions: ...
    @property
    def scope(self) -> str: ...
    @property
    def spent(self) -> Spent: ...
    @property
    def slots(self) -> Sequence[Slot]: ...

    async def scores(self, vector: Vector, *, temperature: float, part: slice = ALL) -> list[RolloutScore]: ...
    async def met(self, vector: Vector, *, temperature: float, part: slice = ALL) -> list[str]: ...


class Mixture:
    """An objective with rollouts on repositories after its questions; each counts as much as a question."""

    def __init__(self, questions: Objective, rollouts: Rollouts, policy_seed: int) -> None:
        self.questions, self.rollouts, self._seed = questions, rollouts, policy_seed
        self.pool, self.options, self.scope = questions.pool, questions.options, questions.scope
        self.slots = [*questions.slots, *(Slot(slot.task.question, slot.repeat) for slot in rollouts.slots)]

    @property
    def spent(self) -> Spent:
        """The totals of both. A cached rollout has turns, but no asks."""
        first, second = self.questions.spent, self.rollouts.spent
        return Spent(first.turns + second.turns, first.asks + second.asks, first.usd + second.usd)

    async def scores(self, vector: Vector, *, temperature: float, part: slice = ALL) -> list[RolloutScore]:
        """One score per slot of the part, in the slots' order."""
        count = len(self.questions.slots)
        chosen = range(len(self.slots))[part]
        few = [index for index in chosen if index < count]
        playing = players(self.questions.router, vector, temperature, self.rollouts, self._seed)
        answered, ended = await asyncio.gather(
            self.questions.scores(vector, temperature=temperature, part=_slice(few)),
            self.rollouts.ends(playing, [index - count for index in chosen if index >= count]),
        )
        return [*answered, *(end.score for end in ended)]

    async def met(self, vector: Vector, *, temperature: float, part: slice = ALL) -> list[str]:
        """The texts that the router reads in the part's questions, from which search coordinates are computed."""
        few = [index for index in range(len(self.slots))[part] if index < len(self.questions.slots)]
        return await self.questions.met(vector, temperature=temperature, part=_slice(few))


def _slice(indices: Sequence[int]) -> slice:
    return slice(indices[0], indices[-1] + 1) if indices else slice(0, 0)


def players(
    router: Router, vector: Vector, temperature: float, rollouts: Rollouts, seed: int
) -> Callable[[int], Player]:
    """The router under `vector` as the policy of rollouts, with each slot's noise; at temperature 0 the argmax."""
    candidate = router.candidate(vector)
    known: dict[str, NDArray[np.float32]] = {}
    in_roles = router.roles and rollouts.bench.model == "trinity"

    def player(index: int) -> Player:
        slot: TaskSlot = rollouts.slots[index]
        noise = gumbel([Slot(slot.task.question, slot.repeat)], MAX_DECISIONS, router.logit_count, seed)[0]

        def choose(text: str, allowed: Names, number: int) -> Decision:
            if text not in known:
                known[text] = router.logits_of([text], [candidate])[0]
            drawn = temperature * noise[number : number + 1] if temperature else None
            return router.decisions(known[text][None], router.mask(allowed, 1), drawn)[0]

        played = Player(router.workers, choose, roles=router.roles, in_roles=in_roles)
        played.released = router.released
        return played

    return player
