"""Pools whose workers answer in this process, unpaid and unrecorded: for studies of the learning itself.

Besides the house's there is a simulated pool: twenty workers, each with a chance of its own at every question, which
is a smooth function of the question's words. No worker computes anything; its reply is "right" or "wrong".

    python tests/studies/pools.py --pool simulated --questions 500

prints each worker's mean score, and that of the best worker of each question.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from random import Random
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.evaluation.measure import ask_for
from models.fugu.loop import LoopOptions
from models.grading.grade import grade
from models.grading.question import Question
from models.house.questions import generate
from models.house.workers import answer
from models.house.workers.profiles import PROFILES
from models.workers.ask import Ask, Reply
from models.workers.pool import Pool, Worker

SCOPE = "study"


class DirectPool(Protocol):
    """A pool, the loop it is asked in, and its workers themselves."""

    pool: Pool
    options: LoopOptions

    def pose(self, questions: Sequence[Question]) -> list[Question]:
        """The questions in the form in which these workers' replies are graded."""

    async def send(self, asks: Sequence[Ask]) -> list[Reply]:
        """The workers' replies."""


class HousePool:
    """The house's workers in the loop with roles."""

    def __init__(self) -> None:
        self.pool = _pool("house", tuple(PROFILES))
        self.options = LoopOptions()

    def pose(self, questions: Sequence[Question]) -> list[Question]:
        """As they are."""
        return list(questions)

    async def send(self, asks: Sequence[Ask]) -> list[Reply]:
        """What the house's programs say."""
        return [_reply(ask, answer(ask.worker, ask.messages, ask.sampling.seed)) for ask in asks]


class SimulatedPool:
    """Twenty workers that are asked once; `seed` draws their skills.

    A question's words fall on `SKILLS` latent skills by a random projection, squashed; a worker's chance is a logistic
    function of these. Its luck is drawn from the ask's seed and its name, as a house worker's is.
    """

    WORKERS, SKILLS, WORDS = 20, 12, 4096

    def __init__(self, seed: int) -> None:
        self.pool = _pool("simulated", tuple(f"worker {i + 1}" for i in range(self.WORKERS)))
        self.options = LoopOptions(roles=False)
        draws = np.random.default_rng(seed)
        self._projection = 1.5 * draws.standard_normal((self.WORDS, self.SKILLS))
        self._skills = 3.0 * draws.standard_normal((self.SKILLS, self.WORKERS)) / np.sqrt(self.SKILLS)
        self._levels = draws.normal(-0.3, 0.5, self.WORKERS)
        self._place = {name: i for i, name in enumerate(self.pool.names)}

    def pose(self, questions: Sequence[Question]) -> list[Question]:
        """Their texts, with "right" for an answer."""
        update = {"grader": "exact", "reference": "right", "options": {}}
        return [question.model_copy(update=update) for question in questions]

    async def send(self, asks: Sequence[Ask]) -> list[Reply]:
        """Right or wrong."""
        if not asks:
            return []
        chances = self.chances([str(ask.messages[-1]["content"]) for ask in asks])
        return [
            _reply(ask, "right" if _luck(ask) < chance[self._place[ask.worker]] else "wrong")
            for ask, chance in zip(asks, chances, strict=True)
        ]

    def chances(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Every worker's chance at every text, [Q, 20]."""
        from sklearn.feature_extraction.text import HashingVectorizer

        words = HashingVectorizer(n_features=self.WORDS, alternate_sign=False, token_pattern=r"[A-Za-z]+|\d")
        latent = np.tanh(words.transform(texts) @ self._projection)
        return 1 / (1 + np.exp(-(latent @ self._skills + self._levels)))


async def labels(direct: DirectPool, questions: Sequence[Question], repeats: int = 1) -> NDArray[np.float64]:
    """Every worker's mean score on every question, [Q, L]."""
    cells = [
        (question, ask_for(question, worker.name, worker.revision, repeat, SCOPE))
        for question in questions
        for worker in direct.pool.workers
        for repeat in range(repeats)
    ]
    replies = await direct.send([ask for _, ask in cells])
    scores = [grade(question, reply.text or "").score for (question, _), reply in zip(cells, replies, strict=True)]
    return np.array(scores).reshape(len(questions), len(direct.pool.workers), repeats).mean(axis=2)


def _pool(name: str, workers: Sequence[str]) -> Pool:
    return Pool(name=name, workers=tuple(Worker(name=worker, model=f"house/{worker}") for worker in workers))


def _reply(ask: Ask, text: str) -> Reply:
    return Reply(worker=ask.worker, revision=ask.revision, text=text)


def _luck(ask: Ask) -> float:
    return Random(f"{ask.worker}/{ask.sampling.seed}").random()


def named(name: str, seed: int) -> DirectPool:
    """The pool called "house" or "simulated"; `seed` is the simulated one's."""
    return HousePool() if name == "house" else SimulatedPool(seed)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--pool", choices=("house", "simulated"), default="house")
    arguments.add_argument("--questions", type=int, default=500)
    arguments.add_argument("--seed", type=int, default=0)
    chosen = arguments.parse_args()
    direct = named(chosen.pool, chosen.seed)
    scores = asyncio.run(labels(direct, direct.pose(generate(chosen.seed, {"train": chosen.questions}))))
    for name, score in zip(direct.pool.names, scores.mean(axis=0), strict=True):
        print(f"{name}: {score:.4f}")
    print(f"best worker of each question: {scores.max(axis=1).mean():.4f}")


if __name__ == "__main__":
    main()
