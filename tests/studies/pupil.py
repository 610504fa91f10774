"""The examiner of house conductors: one that is trained and examined in this process, and what its rivals score."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np

from models.conductor.learn.grpo import Course, train
from models.conductor.learn.offers import Pair, exercise_for
from models.conductor.learn.practice import Execute, Exercise, Outcome, Sample, Trial, attempted, rehearse
from models.conductor.plan.checkpoint import load
from models.conductor.plan.writers import CheckpointWriter
from models.grading.grade import grade
from models.grading.question import Question
from models.house import conductor
from models.house.lessons import kind_of, mean_score
from models.house.plans import one_step, two_steps
from models.house.questions import generate
from models.house.rehearsal import WORKERS, chance, replies

DRAWS = 4
"""Of the workers' chance, over which scores are means."""


def directly(questions: Sequence[Question]) -> Execute:
    """Carries workflows out in this process: unpaid, unrecorded, and without outages."""
    known = {question.id: question for question in questions}

    def execute(trials: Sequence[Trial]) -> list[Outcome | None]:
        return [_carried_out(trial, known[trial.exercise.question]) for trial in trials]

    return execute


def _carried_out(trial: Trial, question: Question) -> Outcome:
    exercise = trial.exercise
    previous = exercise.request.previous
    if trial.workflow.steps:
        seed = chance(question, exercise.replicate, second=exercise.second)
        answer = replies(trial.workflow, question, seed, exercise.workers, previous)[-1]
    else:
        answer = previous or ""
    return Outcome(grade(question, answer).score, answer)


def single_scores(question: Question, draws: int = 1) -> list[float]:
    """What each worker scores by itself, in the pool's order."""
    kind = kind_of(question)
    return [mean_score(one_step(kind, ordinal), question, draws=draws) for ordinal in range(len(WORKERS))]


def best_workflow(question: Question, draws: int = 1) -> float:
    """The highest mean score of all plans of at most two steps, by trying each."""
    kind, everyone = kind_of(question), range(len(WORKERS))
    plans = [one_step(kind, ordinal) for ordinal in everyone]
    plans += [two_steps(kind, *pair) for pair in product(everyone, everyone)]
    return max(mean_score(plan, question, draws=draws) for plan in plans)


def held_out(two_hop: int, single: int) -> list[Question]:
    """Questions that neither the shipped conductor nor a training here has seen."""
    tests = [q for q in conductor.questions(conductor.DEFAULT, test=2200) if q.split == "test"]
    return [q for q in tests if q.task == "two_hop"][:two_hop] + [q for q in tests if q.task != "two_hop"][:single]


def training_questions(seed: int, count: int, two_hop: float, unseen: Sequence[Question]) -> list[Question]:
    """`two_hop`: their share."""
    taken = {q.id for q in unseen}  # an id is a digest of the text
    drawn = generate(9_000 + seed, {"train": count + count // 5}, two_hop)
    return [q for q in drawn if q.id not in taken][:count]


def never_together(workers: Sequence[str], apart: Sequence[Pair], size: int) -> list[tuple[str, ...]]:
    """The subsets of a size that hold a pair kept apart: nobody was ever offered one of them."""
    return [subset for subset in combinations(workers, size) if any(pair <= frozenset(subset) for pair in apart)]


def everyone(questions: Sequence[Question]) -> list[Exercise]:
    """All workers are offered, under their own ordinals."""
    return [exercise_for(q, WORKERS, WORKERS, {}) for q in questions]


def scores(samples: Sequence[Sample], questions: Sequence[Question]) -> np.ndarray:
    """Each plan's mean score over the draws."""
    found = np.zeros((DRAWS, len(samples)))
    for draw in range(DRAWS):
        again = [replace(sample.exercise, replicate=draw) for sample in samples]
        done = attempted([sample.text for sample in samples], again, directly(questions))
        found[draw] = [sample.score for sample in done]
    return found.mean(axis=0)


@dataclass
class Pupil:
    """A conductor in memory. `prompt`: how it is asked."""

    model: Any
    tokenizer: Any
    prompt: str = "compact"

    @classmethod
    def of(cls, folder: Path, prompt: str = "compact") -> Pupil:
        return cls(*load(folder), prompt)

    def greedy(self, given: Sequence[Exercise], questions: Sequence[Question]) -> list[Sample]:
        return rehearse(self._policy(0.0).write_many, given, directly(questions))

    def sampled(self, given: Sequence[Exercise], questions: Sequence[Question], times: int = 8) -> list[Sample]:
        return rehearse(self._policy(1.0).write_many, given, directly(questions), times=times)

    def train(self, given: Sequence[Exercise], questions: Sequence[Question], course: Course) -> list[dict[str, float]]:
        """GRPO, told every tenth iteration."""

        def told(iteration: int, figures: Mapping[str, float]) -> None:
            if iteration % 10 == 0:
                shown = {name: round(figures[name], 3) for name in ("earned", "parsed", "mixed", "steps")}
                print(f"  iteration {iteration}: {shown}", flush=True)

        with tempfile.TemporaryDirectory() as folder:
            self.model, history = train(
                self.model,
                self.tokenizer,
                given,
                directly(questions),
                course,
                Path(folder),
                prompt=self.prompt,
                report=told,
            )
        return history

    def _policy(self, temperature: float) -> CheckpointWriter:
        limits: dict[str, Any] = {"max_tokens": conductor.MAX_TOKENS, "temperature": temperature}
        return CheckpointWriter(self.model, self.tokenizer, name="pupil", prompt=self.prompt, **limits)


def second_rounds(pupil: Pupil, first: Sequence[Sample], questions: Sequence[Question]) -> list[Sample]:
    """Greedy second rounds that are shown the answers of first ones; without a step where the answer is accepted."""
    answers = [sample.outcome.answer if sample.outcome else "" for sample in first]
    again = [
        replace(each.exercise, second=True, request=replace(each.exercise.request, previous=answer))
        for each, answer in zip(first, answers, strict=True)
    ]
    return pupil.greedy(again, questions)


def accepts(sample: Sample) -> bool:
    """Whether a plan takes the previous answer as it is."""
    return sample.workflow is not None and not sample.workflow.steps
