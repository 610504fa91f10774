"""Random pools: the workers that each exercise offers, and their ordinals (as in Conductor, arXiv 2512.04388)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from models.conductor.learn.practice import Exercise
from models.conductor.plan.prompt import Card
from models.conductor.plan.writers import PlanRequest
from models.grading.question import Question

Pair = frozenset[str]


@dataclass(frozen=True)
class Offers:
    """`least` to `most` workers of the pool (`most` 0: all of them); with probability `whole`, all.

    By default the ordinals are the pool's and the other workers are masked. `shuffled`: the offered workers get new
    ordinals in random order, each with its card. `apart`: pairs that are never offered together.
    """

    least: int = 1
    most: int = 0
    whole: float = 0.0
    shuffled: bool = False
    apart: tuple[Pair, ...] = ()

    def draw(self, rng: Random, workers: Sequence[str]) -> list[str]:
        """Some of the workers, in the pool's order."""
        if rng.random() < self.whole:
            return list(workers)
        most = min(self.most or len(workers), len(workers))
        while True:
            chosen = set(rng.sample(list(workers), rng.randint(min(self.least, most), most)))
            if not any(pair <= chosen for pair in self.apart):
                return [name for name in workers if name in chosen]


def exercise_for(
    question: Question,
    offered: Sequence[str],
    workers: Sequence[str],
    cards: Mapping[str, str],
    *,
    shuffle: Random | None = None,
    max_steps: int = 5,
    replicate: int = 0,
) -> Exercise:
    """The exercise in which `offered` may be asked: masked among `workers`, or with `shuffle` under new ordinals."""
    names = list(workers)
    if shuffle is not None:
        names = list(offered)
        shuffle.shuffle(names)
    shown = tuple(Card(i, cards.get(name, "")) for i, name in enumerate(names) if name in offered)
    return Exercise(question.id, PlanRequest(question.messages, shown, max_steps), tuple(names), replicate)


def exercises(
    questions: Sequence[Question],
    workers: Sequence[str],
    cards: Mapping[str, str],
    offers: Offers,
    *,
    count: int,
    seed: int,
    max_steps: int = 5,
) -> list[Exercise]:
    """`count` exercises. Every question is used once before any is used again, then as the next replicate."""
    return [
        exercise_for(
            question,
            offers.draw(rng, workers),
            workers,
            cards,
            shuffle=rng if offers.shuffled else None,
            max_steps=max_steps,
            replicate=visit,
        )
        for question, visit, rng in _visits(questions, count, seed)
    ]


def _visits(questions: Sequence[Question], count: int, seed: int) -> Iterator[tuple[Question, int, Random]]:
    for number in range(count):
        visit, place = divmod(number, len(questions))
        if place == 0:
            order = list(questions)
            Random(f"exercises/{seed}/{visit}").shuffle(order)
        yield order[place], visit, Random(f"offer/{seed}/{number}")
