"""Practice: exercises, the plans sampled for them, and the plans' rewards. Training and `checks` use these.

A plan is parsed and linted, run if it is legal, and rewarded with 0, 0.5 or 1 as in Conductor (arXiv 2512.04388). A
worker's outage is no sample: then the outcome and the plan's reward are `None`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from models.conductor.plan.workflow import PlanLimits, Workflow, pruned, review
from models.conductor.plan.writers import PlanRequest

DISCOUNT = 0.2
"""γ, the weight of rounds without recursion: the value in Conductor's released code (the paper's text says 0.25)."""


@dataclass(frozen=True)
class Exercise:
    """A question to plan for. `workers`: the names by ordinal; those with a card in the request may be asked.

    `replicate`: number of the workers' sample. `second`: a round after a first one, whose answer is the request's
    `previous`.
    """

    question: str
    request: PlanRequest
    workers: tuple[str, ...]
    replicate: int = 0
    second: bool = False

    @property
    def allowed(self) -> list[bool]:
        """By ordinal, whether the worker may be asked."""
        offered = {card.ordinal for card in self.request.cards}
        return [ordinal in offered for ordinal in range(len(self.workers))]

    @property
    def ordinals(self) -> list[int]:
        """The ordinals of the workers that may be asked."""
        return [ordinal for ordinal, allowed in enumerate(self.allowed) if allowed]

    @property
    def offered(self) -> tuple[str, ...]:
        """The names of the workers that may be asked."""
        return tuple(name for name, allowed in zip(self.workers, self.allowed, strict=True) if allowed)


@dataclass(frozen=True)
class Trial:
    """A legal workflow, without unread steps, to be run; without any step it accepts `previous`.

    `numbers`: each step's index as it was written.
    """

    exercise: Exercise
    workflow: Workflow
    numbers: tuple[int, ...]


@dataclass(frozen=True)
class Outcome:
    """A workflow's answer, and the grader's score of it, in [0, 1]."""

    score: float
    answer: str


Execute = Callable[[Sequence[Trial]], Sequence[Outcome | None]]
"""Runs the trials' workflows, in order; `None` where a worker had an outage."""

Write = Callable[[Sequence[PlanRequest]], Sequence[str]]
"""The completions of several requests, in order."""


@dataclass(frozen=True)
class Sample:
    """One completion. `workflow`: as written, if it parses; `fault`: why it cannot be run ("" if it can)."""

    exercise: Exercise
    text: str
    workflow: Workflow | None
    fault: str
    outcome: Outcome | None = None

    @property
    def reward(self) -> float | None:
        """0, 0.5 or 1 (partial credit between); `None` after an outage."""
        if self.fault:
            return 0.0
        return None if self.outcome is None else reward(True, self.outcome.score)

    @property
    def score(self) -> float:
        """The grader's score, 0 where nothing was run."""
        return 0.0 if self.outcome is None else self.outcome.score

    @property
    def asked(self) -> tuple[str, ...]:
        """The names of its steps' workers, if it can be run."""
        if self.fault or self.workflow is None:
            return ()
        return tuple(self.exercise.workers[step.model] for step in self.workflow.steps)


def reward(ran: bool, score: float) -> float:
    """0 for a plan that could not be run (malformed, or a fatal finding), 0.5 for a wrong answer, 1 for a right one.

    `score`: the grader's, in [0, 1]; partial credit lies between.
    """
    return 0.5 + 0.5 * score if ran else 0.0


def attempted(texts: Sequence[str], exercises: Sequence[Exercise], execute: Execute) -> list[Sample]:
    """Judge the completions, and run the legal ones, all in one call of `execute`."""
    samples = [judged(text, exercise) for text, exercise in zip(texts, exercises, strict=True)]
    legal = [i for i, sample in enumerate(samples) if not sample.fault]
    for i, outcome in zip(legal, execute([trial(samples[i]) for i in legal]), strict=True):
        samples[i] = replace(samples[i], outcome=outcome)
    return samples


def judged(text: str, exercise: Exercise) -> Sample:
    """Parse and lint a completion without running it."""
    found = review(
        text,
        skills=exercise.request.skills,
        allowed=exercise.allowed,
        limits=PlanLimits(max_steps=exercise.request.max_steps),
        accepting=exercise.request.previous is not None,
    )
    return Sample(exercise, text, found.workflow, found.complaint)


def trial(sample: Sample) -> Trial:
    """The part of a legal sample that is run."""
    assert sample.workflow is not None
    return Trial(sample.exercise, *pruned(sample.workflow))


def rehearse(
    write: Write, exercises: Sequence[Exercise], execute: Execute, *, times: int = 1, seed: int = 0
) -> list[Sample]:
    """Sample and run `times` plans of each exercise; samples of one exercise are adjacent."""
    repeated = [exercise for exercise in exercises for _ in range(times)]
    requests = [replace(exercise.request, seed=seed + number) for number, exercise in enumerate(repeated)]
    return attempted(write(requests), repeated, execute)


def in_groups(samples: Sequence[Sample]) -> list[list[Sample]]:
    """Adjacent samples of one exercise, as groups."""
    return [list(group) for _, group in groupby(samples, key=lambda sample: id(sample.exercise))]


def rewards_of(samples: Sequence[Sample]) -> list[float]:
    """The rewards of the samples that have one (not after an outage)."""
    return [sample.reward for sample in samples if sample.reward is not None]


def mixed(group: Sequence[Sample]) -> bool:
    """Whether a group's rewards differ: only then does GRPO learn from it."""
    return len(set(rewards_of(group))) > 1
