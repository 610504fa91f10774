"""A bench on which ways to evolve a router are compared: one start, one set of rollouts, several climbs.

It is flows/evolve_router.py without Prefect and ledger: the workers answer in this process (`pools`), so that a
study of several seeds takes minutes.

    python tests/studies/evolution.py --pool house --generations 4 --questions 200

evolves one warm start on a tiny backbone and prints the gains; `study_evolution.py` is the study itself.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pools import SCOPE, DirectPool, labels, named

from models.fugu import transcript
from models.fugu import vector as vectors
from models.fugu.forward.backbone import Backbone
from models.fugu.learn import schedule
from models.fugu.learn.fitness import Tally, tally
from models.fugu.learn.halving import race
from models.fugu.learn.objective import Objective, Slot, Spent
from models.fugu.learn.search import Search, Stage, States
from models.fugu.learn.subspace import Space
from models.fugu.learn.warm_start import fit_head
from models.fugu.roles import SCHEDULE_SLOTS
from models.fugu.rollout import first_transcript
from models.fugu.router import Router
from models.fugu.vector import Vector
from models.grading.question import Question
from models.house import backbone as house_backbone
from models.house.questions import generate


@dataclass(frozen=True)
class Ascent:
    """How to evolve. `subspace_generations` of `generations` move the head along `rank` directions.

    `rungs`: of successive halving. `shuffled`: the control, whose fitnesses are told in a random order.
    """

    population: int
    generations: int
    subspace_generations: int
    rank: int
    flip_rate: float
    role_flip_rate: float
    temperature: float
    rungs: int = 1
    shuffled: bool = False


@dataclass(frozen=True)
class Climb:
    """The best parent by validation, its gain there, the candidates' rollouts, and what halving would have missed.

    `missed`: of every generation, the part of the truly better half that halving leaves out, and the mean fitness that
    its better half has less than the true one. `spent`: by its own train rollouts; what an earlier climb of the bench
    has met is known to this one.
    """

    vector: Vector
    gain: float
    rollouts: int
    missed: list[tuple[float, float]]
    spent: Spent


class Bench:
    """One pool, one draw of questions, one warm start. The objectives remember whatever any climb has met."""

    def __init__(
        self, router: Router, start: Vector, training: Objective, validation: Objective, testing: Objective
    ) -> None:
        self.router, self.start = router, start
        self.training, self.validation, self.testing = training, validation, testing

    @classmethod
    async def open(
        cls,
        direct: DirectPool,
        backbone: Backbone,
        train: Sequence[Question],
        validation: Sequence[Question],
        held_out: Sequence[Question],
        repeats: int,
        seed: int,
    ) -> Bench:
        """A bench with a warm start from one label per train cell; candidates roll out each train question `repeats`
        times. Questions are posed."""
        roles = direct.options.roles
        rows = len(direct.pool.workers) + (len(schedule.Role) if roles else 0)
        blank = np.zeros(rows * backbone.width, np.float32)
        router = Router.from_vector(backbone, blank, direct.pool.names, roles=roles, layout="head")

        def objective(asked: Sequence[Question], repeats: int) -> Objective:
            slots = [Slot(question, repeat) for question in asked for repeat in range(repeats)]
            return Objective(
                router, direct.pool, slots, direct.send, scope=SCOPE, options=direct.options, policy_seed=seed
            )

        start = await _warm_start(direct, router, train, objective(train[:SCHEDULE_SLOTS], 1))
        return cls(router, start, objective(train, repeats), objective(validation, 1), objective(held_out, 1))

    async def climb(self, ascent: Ascent, seed: int, told: Callable[[int], Awaitable[None]] | None = None) -> Climb:
        """Ask, score, tell, until the last generation. `told` is called with 1 after each."""
        before = replace(self.training.spent)
        search = await self._search(ascent, seed)
        shuffle = np.random.default_rng(seed)
        first = best = await self._validated(self.start)
        kept, rollouts, missed = self.start, 0, []
        while search.generation < search.generations:
            fitnesses, rewards, count = await self._scored(search.ask(), ascent)
            rollouts += count
            if ascent.rungs == 1:
                missed.append(await _missed(rewards))
            search.tell(shuffle.permutation(fitnesses).tolist() if ascent.shuffled else fitnesses)
            reward = await self._validated(search.parent)
            if reward > best:
                best, kept = reward, search.parent
            if told is not None:
                await told(1)
        return Climb(kept, best - first, rollouts, missed, self.training.spent - before)

    async def held_out(self, vector: Vector) -> list[float]:
        """The rewards of a vector's argmax on the held-out questions."""
        return [score.reward for score in await self.testing.scores(vector, temperature=0.0)]

    async def _validated(self, vector: Vector) -> float:
        scores = await self.validation.scores(vector, temperature=0.0)
        return float(np.mean([score.reward for score in scores]))

    async def _search(self, ascent: Ascent, seed: int) -> Search:
        states = States(self.router, await self.training.met(self.start, temperature=ascent.temperature))
        rates = {"workers": ascent.flip_rate, "roles": ascent.role_flip_rate}

        def around(rank: int) -> Callable[[Vector], Space]:
            return lambda centre: states.space(centre, rank).fitted(states.decide, rates, seed)

        stages = [
            Stage("head", ascent.subspace_generations, around(ascent.rank)),
            Stage("every parameter", ascent.generations - ascent.subspace_generations, around(0)),
        ]
        return await asyncio.to_thread(Search, self.start, stages, ascent.population, seed)

    async def _scored(
        self, population: NDArray[np.float32], ascent: Ascent
    ) -> tuple[list[float], NDArray[np.float64], int]:
        """Fitnesses, rewards [λ, slots] (0 where a candidate was not rolled out), how many rollouts."""
        rewards = np.zeros((len(population), len(self.training.slots)))

        async def score(going: Sequence[int], part: slice) -> list[Tally]:
            tallies = []
            for i in going:
                scores = await self.training.scores(population[i], temperature=ascent.temperature, part=part)
                rewards[i, part] = [score.reward for score in scores]
                tallies.append(tally(scores, len(self.router.workers)))
            return tallies

        fitnesses, totals = await race(len(rewards), rewards.shape[1], ascent.rungs, score, _reward)
        return fitnesses, rewards, sum(total.rollouts for total in totals)


RUNGS = 3
"""Of the halving whose errors are measured: on a quarter, a half, and all of the rollouts."""


async def _missed(rewards: NDArray[np.float64]) -> tuple[float, float]:
    """What halving would have missed of a generation that was evaluated in full."""

    async def score(going: Sequence[int], part: slice) -> list[Tally]:
        width = part.stop - part.start
        sums = rewards[list(going), part].sum(axis=1)
        return [Tally(rollouts=width, reward=float(s), workers=(), roles=(), cost_usd=0.0) for s in sums]

    fitnesses, _ = await race(len(rewards), rewards.shape[1], RUNGS, score, _reward)
    full, half = rewards.mean(axis=1), len(rewards) // 2
    true, taken = np.argsort(-full, kind="stable")[:half], np.argsort(-np.array(fitnesses), kind="stable")[:half]
    return float(np.mean(~np.isin(true, taken))), float(full[true].mean() - full[taken].mean())


def _reward(total: Tally) -> float:
    return total.mean_reward


async def _warm_start(direct: DirectPool, router: Router, train: Sequence[Question], rolled_out: Objective) -> Vector:
    """As flows/warm_start.py learns it: worker rows from labels, role rows from the best constant schedule."""
    first = [first_transcript(question.messages, len(router.workers), direct.options) for question in train]
    features = await asyncio.to_thread(router.backbone.features, [transcript.text(messages) for messages in first])
    scores = await labels(direct, train)
    head = await asyncio.to_thread(fit_head, features, scores, [question.task for question in train])
    if not router.roles:
        return vectors.join(np.zeros(0), head.weights)
    blank = np.zeros((len(schedule.Role), router.backbone.width))
    best = (await schedule.best(rolled_out, vectors.join(np.zeros(0), np.concatenate([head.weights, blank]))))[0]
    states, roles = zip(*best.states, strict=True)
    rows = schedule.fit_rows(router.backbone.features(states), roles)
    return vectors.join(np.zeros(0), np.concatenate([head.weights, rows]))


async def _once(pool: str, generations: int, count: int, seed: int) -> None:
    direct = named(pool, seed)
    questions = direct.pose(generate(seed, {"train": count, "validation": count, "test": count}))
    parts = ([each for each in questions if each.split == split] for split in ("train", "validation", "test"))
    with tempfile.TemporaryDirectory() as home:
        backbone = Backbone.load(house_backbone.make(Path(home), house_backbone.TINY), device="cpu")
        bench = await Bench.open(direct, backbone, *parts, repeats=1, seed=seed)
    found = await bench.climb(Ascent(8, generations, generations // 2, 16, 0.1, 0.2, 0.0), seed)
    start, end = [np.mean(await bench.held_out(vector)) for vector in (bench.start, found.vector)]
    print(f"validation {found.gain:+.4f}; held out {start:.4f}, {end - start:+.4f}; {found.rollouts} rollouts")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--pool", choices=("house", "simulated"), default="house")
    for name, default in (("generations", 4), ("questions", 200), ("seed", 0)):
        arguments.add_argument(f"--{name}", type=int, default=default)
    chosen = arguments.parse_args()
    asyncio.run(_once(chosen.pool, chosen.generations, chosen.questions, chosen.seed))


if __name__ == "__main__":
    main()
